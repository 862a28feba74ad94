"""Turns to write a file: who has had one has no other while another process waits for one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections import deque
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from ecross_server.kit.private_files import open_lock_file


class Turn:
    """A turn, from when it was had until its `end`, or the process's."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def end(self) -> None:
        """Let others have theirs. Without effect when repeated, and in a forked child."""
        with _Open.guard:
            if self not in _Open.turns:
                return
            _Open.turns.discard(self)
            # Unlocked before it is closed: a child that is being started may have a copy of the descriptor.
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)


class _Open:
    """What this process has or waits for. The guard keeps a fork from falling between an opening and its entry here."""

    guard = threading.RLock()
    turns: Final[set[Turn]] = set()

    @classmethod
    def forked(cls) -> None:
        """In the child: it has nothing, so that a turn ends with the process that took it."""
        cls.guard = threading.RLock()
        while cls.turns:
            os.close(cls.turns.pop()._descriptor)  # noqa: SLF001 - the two belong together

    @classmethod
    def before_fork(cls) -> None:
        cls.guard.acquire()

    @classmethod
    def after_fork(cls) -> None:
        cls.guard.release()


os.register_at_fork(before=_Open.before_fork, after_in_parent=_Open.after_fork, after_in_child=_Open.forked)


class Turns:
    """The turns of all threads and processes that write one file. Forked processes must not share it."""

    def __init__(self, file: Path) -> None:
        """Two files beside the given one are locked: by whose turn it is, and by who is next."""
        real = Path(os.path.realpath(file))
        self._current = real.with_name(f".{real.name}.turn.lock")
        self._next = real.with_name(f".{real.name}.next.lock")
        self._guard = threading.Lock()
        self._waiting: deque[SimpleQueue[Turn | None]] = deque()
        self._is_asking = False

    def take(self, seconds: float) -> Turn | None:
        """A turn; nothing if it does not come within so long, or if there can be none here."""
        place: SimpleQueue[Turn | None] = SimpleQueue()
        with self._guard:
            if not self._is_asking:
                try:
                    if (turn := self._ask(fcntl.LOCK_EX | fcntl.LOCK_NB)) is not None:
                        return turn
                    # flock(2) knows no time-out: a thread waits in our stead, and for those who come meanwhile.
                    threading.Thread(target=self._ask_for_all, name="turns", daemon=True).start()
                except (OSError, RuntimeError):  # no file can be locked, or no thread started
                    return None
                self._is_asking = True
            self._waiting.append(place)
        try:
            return place.get(timeout=seconds)
        except Empty:
            return self._leave(place)
        except BaseException:
            if (turn := self._leave(place)) is not None:
                turn.end()
            raise

    def _leave(self, place: SimpleQueue[Turn | None]) -> Turn | None:
        with self._guard, contextlib.suppress(ValueError):
            self._waiting.remove(place)
        with contextlib.suppress(Empty):
            return place.get_nowait()  # it came at the last moment
        return None

    def _ask(self, how: int) -> Turn | None:
        # Who ends a turn and wants another one finds somebody else to be next, and does not get past him.
        following = _lock(self._next, how)
        if following is None:
            return None
        try:
            return _lock(self._current, how)
        finally:
            following.end()

    def _ask_for_all(self) -> None:
        is_wanted = True
        while is_wanted:
            try:
                turn = self._ask(fcntl.LOCK_EX)
            except OSError:
                turn = None
            with self._guard:
                if self._waiting:
                    self._waiting.popleft().put(turn)
                elif turn is not None:
                    turn.end()
                is_wanted = self._is_asking = bool(self._waiting)


def _lock(path: Path, how: int) -> Turn | None:
    """The file, locked; nothing if another has it and `how` says not to wait."""
    # Opened each time: threads exclude each other only by descriptors of their own.
    with _Open.guard:
        turn = Turn(open_lock_file(path))
        _Open.turns.add(turn)
    try:
        fcntl.flock(turn._descriptor, how)  # noqa: SLF001 - as above
    except BlockingIOError:
        turn.end()
        return None
    except OSError:
        turn.end()
        raise
    return turn

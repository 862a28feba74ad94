"""The supervisor: opens the sockets, starts the workers, replaces dead ones, owns the signals, and ends with 0.

Workers are forked from a process that has imported everything and started nothing, so they share its memory and start
at once. The sockets are the supervisor's: while a worker is replaced, its connections wait instead of being refused.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

import structlog

from ecross_server.app.listening import listen
from ecross_server.app.worker import GRACE_SECONDS, run_worker
from ecross_server.auth.limits.local import BudgetTable
from ecross_server.kit.errors import DomainError, UnavailableError
from ecross_server.settings import Settings

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
FIRST_DELAY_SECONDS: Final = 0.1
LONGEST_DELAY_SECONDS: Final = 30.0

log = structlog.get_logger("ecross_server.supervisor")


class StartError(UnavailableError):
    """A worker could not start; its own log lines say why."""

    code = "start_failed"

    def __init__(self) -> None:
        super().__init__("The server could not start; the log lines above say why.")


@dataclass(slots=True)
class Slot:
    """The place of one worker: its socket, and the process that serves it now."""

    listening: socket.socket
    pid: int = 0
    ready: int = -1
    is_ready: bool = False
    failures: int = 0
    start_at: float = 0.0


class Supervisor:
    """Runs the workers of one server."""

    def __init__(self, settings: Settings, on_ready: Callable[[int], None]) -> None:
        self._settings = settings
        # A worker that replaces a dead one goes on with what was spent.
        self._budgets = BudgetTable()
        self._on_ready = on_ready
        self._announced = False
        self._stopping = False
        self._signals = 0

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM; what is in flight then is answered. A second signal ends it at once.

        `on_ready` is called with the port once all workers answer.

        Raises:
            PortTakenError, UnusableAddressError: if the address cannot be listened on.
            StartError: if a worker ends before it ever answered.
        """
        sockets = listen(self._settings.host, self._settings.port, self._settings.workers)
        self._port = sockets[0].getsockname()[1]
        self._slots = [Slot(listening) for listening in sockets]
        self._alive_read, self._alive_write = os.pipe()
        wake_read, wake_write = os.pipe()
        for descriptor in (wake_read, wake_write):
            os.set_blocking(descriptor, False)
        self._wake_read = wake_read
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake_read, selectors.EVENT_READ)
        previous = {number: signal.signal(number, self._on_stop_signal) for number in STOP_SIGNALS}
        previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()  # shared pages stay shared: the workers' collector leaves them alone
        try:
            self._watch()
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._selector.close()
            for descriptor in (wake_read, wake_write, self._alive_read, self._alive_write):
                os.close(descriptor)

    def _watch(self) -> None:
        while True:
            self._reap()
            if self._stopping and not any(slot.pid for slot in self._slots):
                return
            if not self._stopping:
                self._start_due()
            for key, _ in self._selector.select(self._seconds_to_next_start()):
                if key.fd == self._wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                else:
                    self._on_worker_ready(key.data)
            if self._signals and not self._stopping:
                self._stop()
            if self._signals > 1:
                self._signal_workers(signal.SIGKILL)

    def _on_stop_signal(self, _number: int, _frame: object) -> None:
        self._signals += 1  # all else is the loop's, which the wake-up descriptor wakes

    def _stop(self) -> None:
        log.info("stopping", grace_seconds=GRACE_SECONDS)
        self._stopping = True
        # The workers' copies are the last ones then: once they close them, new connections are refused.
        for slot in self._slots:
            slot.listening.close()
        self._signal_workers(signal.SIGTERM)

    def _signal_workers(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.pid:  # ours until it is reaped, so the number cannot be another process's
                os.kill(slot.pid, number)

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if not slot.pid and slot.start_at <= now:
                self._start(slot)

    def _seconds_to_next_start(self) -> float | None:
        waiting = [slot.start_at for slot in self._slots if not slot.pid]
        return max(0.0, min(waiting) - time.monotonic()) if waiting and not self._stopping else None

    def _start(self, slot: Slot) -> None:
        ready_read, ready_write = os.pipe()
        # A stop signal that came between the fork and the child's own handlers would be lost, and the stop never end.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        pid = os.fork() or self._become_worker(slot, ready_write)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        os.close(ready_write)
        slot.pid, slot.ready, slot.is_ready = pid, ready_read, False
        self._selector.register(ready_read, selectors.EVENT_READ, slot)

    def _become_worker(self, slot: Slot, ready_write: int) -> NoReturn:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to the supervisor alone
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # until it serves, there is nothing to end in good order
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            os.close(self._alive_write)  # so that the read end closes with the supervisor
            self._selector.close()
            for other in self._slots:
                if other is not slot:
                    other.listening.close()
            run_worker(self._settings, slot.listening, lambda: _notify(ready_write), self._alive_read, self._budgets)
            status = 0
        except DomainError as error:
            log.error("worker_failed", reason=error.message)  # noqa: TRY400 - the message says it all
        except BaseException:
            log.exception("worker_failed")
        finally:
            os._exit(status)

    def _on_worker_ready(self, slot: Slot) -> None:
        slot.is_ready = os.read(slot.ready, 1) == b"1"
        self._forget_ready_pipe(slot)
        if slot.is_ready:
            slot.failures = 0
            if not self._announced and all(each.is_ready for each in self._slots):
                self._announced = True
                self._on_ready(self._port)

    def _forget_ready_pipe(self, slot: Slot) -> None:
        if slot.ready >= 0:
            self._selector.unregister(slot.ready)
            os.close(slot.ready)
            slot.ready = -1

    def _reap(self) -> None:
        for slot in self._slots:
            if not slot.pid:
                continue
            pid, status = os.waitpid(slot.pid, os.WNOHANG)
            if not pid:
                continue
            self._forget_ready_pipe(slot)
            slot.pid = 0
            if self._stopping:
                continue
            if not self._announced:
                self._signal_workers(signal.SIGKILL)
                raise StartError
            delay = min(FIRST_DELAY_SECONDS * 2**slot.failures, LONGEST_DELAY_SECONDS)
            slot.failures += 1
            slot.start_at = time.monotonic() + delay
            log.error("worker_died", pid=pid, status=os.waitstatus_to_exitcode(status), replaced_in_seconds=delay)


def _notify(descriptor: int) -> None:
    os.write(descriptor, b"1")
    os.close(descriptor)

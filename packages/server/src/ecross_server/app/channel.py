"""The way of token events from the workers to the one process that writes them: datagrams over a pair of sockets.

The supervisor holds both ends. What lies in between is lost with none of the processes on either side, and whoever
replaces one of them goes on where it ended. Nobody else has a way in: the sockets have no name.
See docs/decisions/0043.
"""

from __future__ import annotations

import asyncio
import itertools
import marshal
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import structlog

from ecross_server.audit.tasks import MALFORMED, MOST_WAITING, TokenEvent

BATCH: Final = 200
"""So many events are sent at once before their time."""

SEND_SECONDS: Final = 0.05
"""What waits longer could be lost with its worker."""

STOP_SECONDS: Final = 1.0
"""Long enough for a recorder to be replaced, and short beside the time that a stop may take."""

RETRY_SECONDS: Final = 0.01
BUFFER: Final = 1024 * 1024
"""Asked for; the system may give less."""

LARGEST_DATAGRAM: Final = 64 * 1024

log = structlog.get_logger("ecross_server.channel")


class Taker(Protocol):
    """What takes events: an `AuditRecorder`."""

    def record(self, event: TokenEvent) -> None:
        """Take an event."""

    def tell_loss(self, outcomes: Mapping[str, int]) -> None:
        """Take note of events that were lost before they came here."""


class Channel:
    """Both ends, as the supervisor makes and keeps them. Each process that it forks keeps what it needs of them."""

    def __init__(self) -> None:
        self.receiving, self._sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        # Datagrams have no end. This pair has: it is there when all processes that hold the one side are gone.
        self._alone, self._with_senders = socket.socketpair()
        self._sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self.receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        for each in (self.receiving, self._sending):
            each.settimeout(0)  # whoever has nothing to receive, or no room to send, does something else

    def sender(self) -> EventSender:
        """The workers' end, in a worker."""
        self.receiving.close()
        self._alone.close()
        return EventSender(self._sending)

    def receiver(self) -> EventReceiver:
        """The end of the process that writes, in that process."""
        self.end()
        return EventReceiver(self.receiving, self._alone)

    def end(self) -> None:
        """Send nothing from this process, nor from those that it will fork."""
        self._sending.close()
        self._with_senders.close()

    def close(self) -> None:
        """Take no part: what others hold stays."""
        self.end()
        self.receiving.close()
        self._alone.close()

    def take_what_is_left(self) -> Counter[str]:
        """The outcomes of all that nobody has received; it is gone then."""
        left: Counter[str] = Counter()
        for events, _ in _received(self.receiving):
            left.update(event.outcome for event in events)
        return left


class EventSender:
    """Sends what the token path tells it to the process that writes. An `AuditRecorder` in all that a worker needs.

    `record` belongs to the event loop. `lost_by_outcome` tells which events were never sent.
    """

    def __init__(self, sending: socket.socket) -> None:
        self.lost_by_outcome: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._socket = sending
        # The system counts more than the bytes, and one datagram must never wait for all others to be gone.
        self._largest = min(LARGEST_DATAGRAM, sending.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 4)
        self._waiting: deque[TokenEvent] = deque()
        self._sending = threading.Lock()
        self._call_later: Callable[[float, Callable[[], None]], asyncio.TimerHandle] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_held_up = False

    @property
    def backlog(self) -> int:
        """How many events are still to be sent."""
        return len(self._waiting)

    @property
    def lost(self) -> int:
        """How many events were never sent."""
        return self.lost_by_outcome.total()

    def record(self, event: TokenEvent) -> None:
        """Take the event. Costs next to nothing, never waits, never fails."""
        waiting = self._waiting
        if len(waiting) >= MOST_WAITING:
            self.lost_by_outcome[event.outcome] += 1
            return
        waiting.append(event)
        if self._timer is None:
            if self._call_later is not None:
                self._timer = self._call_later(SEND_SECONDS, self._on_time)
        elif len(waiting) >= BATCH and not self._is_held_up:
            self._send()

    def start(self) -> None:
        """Begin to send, by timers of the running event loop."""
        self._call_later = asyncio.get_running_loop().call_later
        self._timer = self._call_later(SEND_SECONDS, self._on_time)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Send all that is left, for so long at most; what cannot be sent is counted and logged as lost.

        To be called in another thread than the event loop's.
        """
        self._call_later = None
        deadline = time.monotonic() + seconds
        while not self._send() and time.monotonic() < deadline:
            time.sleep(RETRY_SECONDS)
        with self._sending:
            left = Counter(event.outcome for event in self._waiting)
            self._waiting.clear()
        if left:
            self.lost_by_outcome.update(left)
            log.error("audit_events_lost", count=left.total(), outcomes=dict(left))

    def _on_time(self) -> None:
        self._timer = None
        if not self._send() and self._call_later is not None:
            self._timer = self._call_later(SEND_SECONDS, self._on_time)

    def _send(self) -> bool:
        """Whether all was sent. What was not is kept: the process that writes may be busy, or be replaced just now."""
        with self._sending:
            try:
                while self._waiting:
                    for datagram, size in self._datagrams(list(itertools.islice(self._waiting, BATCH))):
                        if datagram is not None:
                            self._socket.send(datagram)
                        else:
                            self.lost_by_outcome[MALFORMED] += size
                        for _ in range(size):
                            self._waiting.popleft()
                if lost := Counter(dict(self.lost_by_outcome)) - self._told:
                    self._socket.send(marshal.dumps(((), dict(lost))))
                    self._told += lost
            except OSError:
                self._is_held_up = True
            else:
                self._is_held_up = False
            return not self._is_held_up

    def _datagrams(self, events: Sequence[TokenEvent]) -> Iterator[tuple[bytes | None, int]]:
        """The events in as few datagrams as may be, each with how many it tells of; none for what fits no datagram."""
        try:
            datagram = marshal.dumps((tuple(zip(*events, strict=True)), {}))
        except ValueError:  # something in them can be no event's
            datagram = None
        if datagram is not None and len(datagram) <= self._largest:
            yield datagram, len(events)
        elif len(events) == 1:
            yield None, 1
        else:
            half = len(events) // 2
            yield from self._datagrams(events[:half])
            yield from self._datagrams(events[half:])


class EventReceiver:
    """Gives what was sent to whoever writes it."""

    def __init__(self, receiving: socket.socket, alone: socket.socket) -> None:
        self._socket = receiving
        self._alone = alone

    def give_to(self, taker: Taker, after_each: Callable[[], None], idle_seconds: float) -> None:
        """Give on all that comes, until nobody is left who could send, and nothing is left that was sent.

        `after_each` is called after each datagram, and after so long without any.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._alone, selectors.EVENT_READ)
            is_alone = False
            while not is_alone:
                # Known before the socket is emptied: what is there then is all that there will ever be.
                is_alone = any(key.fileobj is self._alone for key, _ in selector.select(idle_seconds))
                for events, lost in _received(self._socket):
                    for event in events:
                        taker.record(event)
                    if lost:
                        taker.tell_loss(lost)
                    after_each()
                after_each()


def _received(receiving: socket.socket) -> Iterator[tuple[Iterable[TokenEvent], Mapping[str, int]]]:
    while True:
        try:
            datagram = receiving.recv(LARGEST_DATAGRAM)
        except BlockingIOError:
            return
        # Only processes that were forked from our supervisor can have sent it.
        columns, lost = marshal.loads(datagram)  # noqa: S302 - as said
        yield map(TokenEvent._make, zip(*columns, strict=True)), lost

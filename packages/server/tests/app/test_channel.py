"""Events on their way from the workers to the process that writes them."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from ecross_server.app import channel as module
from ecross_server.app.channel import BATCH, LARGEST_DATAGRAM, Channel, EventReceiver, EventSender
from ecross_server.audit.tasks import TokenEvent

WaitFor = Callable[..., None]

WORKERS = 3
EACH = 2000


class Taken:
    """Takes events as a recorder does."""

    def __init__(self) -> None:
        self.events: list[TokenEvent] = []
        self.lost: Counter[str] = Counter()
        self.turns = 0

    def record(self, event: TokenEvent) -> None:
        self.events.append(event)

    def tell_loss(self, outcomes: Mapping[str, int]) -> None:
        self.lost.update(outcomes)

    def count(self) -> None:
        self.turns += 1

    @property
    def request_ids(self) -> list[str]:
        return [event.request_id for event in self.events]


@pytest.fixture
def channel() -> Iterator[Channel]:
    made = Channel()
    yield made
    made.close()


@pytest.fixture
def sender(channel: Channel) -> EventSender:
    """The sending end, in the process that also has the other one."""
    return EventSender(channel._sending)


@pytest.fixture
def receive(channel: Channel) -> Callable[[], Taken]:
    """Ends the sending, and receives all that is there."""

    def take() -> Taken:
        taken = Taken()
        channel.end()
        EventReceiver(channel.receiving, channel._alone).give_to(taken, taken.count, 0.01)
        return taken

    return take


def event(number: int = 0, **fields: Any) -> TokenEvent:
    usual = TokenEvent(
        1.5, "issued", "acme-x", "ACME", "203.0.113.7", str(number), "sec_1", f"token-{number}", None
    )  # fmt: skip
    return usual._replace(**fields)


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


class TestSending:
    def test_full_batches_go_at_once_and_the_rest_after_a_moment(
        self, sender: EventSender, receive: Callable[[], Taken], wait_for: WaitFor
    ) -> None:
        backlogs = []

        async def tell() -> None:
            sender.start()
            for number in range(2 * BATCH + 10):
                sender.record(event(number))
            backlogs.append(sender.backlog)
            await asyncio.to_thread(wait_for, lambda: not sender.backlog)
            backlogs.append(sender.backlog)
            sender.record(event(2 * BATCH + 10))  # a new moment begins
            await asyncio.to_thread(wait_for, lambda: not sender.backlog)

        asyncio.run(tell())
        assert backlogs == [10, 0]
        assert (sender.backlog, sender.lost) == (0, 0)
        assert receive().request_ids == numbers(2 * BATCH + 11)

    def test_what_is_told_before_the_start_is_sent_after_it(
        self, sender: EventSender, receive: Callable[[], Taken]
    ) -> None:
        async def tell() -> None:
            sender.record(event(0))
            sender.start()
            await asyncio.to_thread(sender.stop)

        asyncio.run(tell())
        assert receive().request_ids == ["0"]

    @pytest.mark.parametrize(
        "nasty", ["", 'a\n{"seq":1}\r\x1b[2J\0', "\ud800", "\U0001f600" * 300, "=1+1", None, b"\xff\0" * 40]
    )
    def test_hostile_values_come_as_they_were(
        self, sender: EventSender, receive: Callable[[], Taken], nasty: Any
    ) -> None:
        sent = event(
            outcome=str(nasty), client_id=nasty, merchant_id=nasty, address=nasty, request_id=nasty, secret_id=nasty,
            token_id=nasty, evidence=nasty, at=float("inf"),
        )  # fmt: skip
        sender.record(sent)
        sender.stop()
        assert receive().events == [sent]

    def test_large_events_are_spread_over_datagrams_and_what_fits_none_is_counted(
        self, sender: EventSender, receive: Callable[[], Taken]
    ) -> None:
        for number in range(40):
            # Not the same object, which would be sent once.
            sender.record(event(number, address=str(number % 10) * (LARGEST_DATAGRAM // 10)))
        sender.record(event(40, address="x" * LARGEST_DATAGRAM))
        sender.record(event(41))
        sender.record(event(42, address=object()))
        sender.record(event(43))
        sender.stop()
        taken = receive()
        assert taken.request_ids == [*numbers(40), "41", "43"]
        assert taken.turns > 5
        assert sender.lost_by_outcome == taken.lost == {"malformed": 2}


class TestFullSocket:
    def fill(self, sender: EventSender) -> int:
        """Tell events until there is no room in the socket; how many."""
        told = 0
        while sender._send():
            for _ in range(BATCH):
                sender.record(event(told))
                told += 1
        return told

    def test_what_finds_no_room_is_kept_and_sent_when_there_is_some(
        self, channel: Channel, sender: EventSender, receive: Callable[[], Taken], wait_for: WaitFor
    ) -> None:
        told = self.fill(sender)
        kept = sender.backlog

        async def go_on() -> None:
            sender.start()
            for number in range(2 * BATCH):
                sender.record(event(told + number))
            assert sender.backlog == kept + 2 * BATCH
            await asyncio.sleep(0.12)  # two attempts in vain
            assert sender.backlog == kept + 2 * BATCH
            early.extend(channel.receiving.recv(LARGEST_DATAGRAM) for _ in range(5))
            await asyncio.to_thread(wait_for, lambda: not sender.backlog)

        early: list[bytes] = []
        asyncio.run(go_on())
        assert (sender.backlog, sender.lost, len(early)) == (0, 0, 5)
        rest = receive().request_ids
        assert rest == numbers(told + 2 * BATCH)[-len(rest) :]
        assert len(rest) == told + 2 * BATCH - 5 * BATCH

    def test_beyond_its_room_events_are_counted_and_the_loss_is_told(
        self, sender: EventSender, receive: Callable[[], Taken], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MOST_WAITING", 3)
        for number in range(5):
            sender.record(event(number))
        sender.record(event(5, outcome="rate_limited"))
        assert (sender.backlog, sender.lost) == (3, 3)
        sender.stop()
        taken = receive()
        assert taken.request_ids == numbers(3)
        assert taken.lost == sender.lost_by_outcome == {"issued": 2, "rate_limited": 1}

    def test_a_stop_without_anybody_who_receives_counts_and_tells_what_is_lost(
        self, channel: Channel, sender: EventSender
    ) -> None:
        channel.receiving.close()
        sender.record(event(0))
        sender.record(event(1, outcome="invalid_client"))
        with capture_logs() as logs:
            sender.stop(0.05)
        assert (sender.backlog, sender.lost_by_outcome) == (0, {"issued": 1, "invalid_client": 1})
        assert [(entry["event"], entry["count"]) for entry in logs] == [("audit_events_lost", 2)]


class TestReceiving:
    def test_events_of_all_workers_come_each_in_its_order_until_the_last_one_is_gone(self, channel: Channel) -> None:
        pids = []
        for worker in range(WORKERS):
            pid = os.fork()
            if not pid:
                sender = channel.sender()
                for number in range(EACH):
                    sender.record(event(number, client_id=str(worker)))
                    if number % 50 == 0:
                        sender._send()
                sender.stop(20)
                os._exit(sender.lost)
            pids.append(pid)
        taken = Taken()
        channel.receiver().give_to(taken, taken.count, 0.01)  # ends by itself
        for pid in pids:
            assert os.waitpid(pid, 0)[1] == 0
        assert len(taken.events) == WORKERS * EACH
        for worker in range(WORKERS):
            mine = [each.request_id for each in taken.events if each.client_id == str(worker)]
            assert mine == numbers(EACH)

    def test_what_nobody_has_received_can_be_told_of(self, channel: Channel, sender: EventSender) -> None:
        sender.record(event(0))
        sender.record(event(1, outcome="invalid_client"))
        sender.stop()
        assert channel.take_what_is_left() == {"issued": 1, "invalid_client": 1}
        assert not channel.take_what_is_left()

"""A feed: what stands in its file, who else may be at it, and what a killed or lost writer leaves."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.channels.errors import ChannelNotFoundError
from ecross_server.kit.database import Database
from ecross_server.kit.private_files import UnwritableError
from ecross_server.publication import feeds, service
from ecross_server.publication.feeds import FeedFile, feed_path
from ecross_server.publication.rules import Entry
from ecross_server.publication.schemas import entry_line, to_line

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))
FORK = multiprocessing.get_context("fork")

World = Any
"""What the fixture `world` gives."""


def line(revision: int, **others: Any) -> bytes:
    return to_line({"revision": revision} | others)


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[FeedFile]:
    """A feed of the channel ECOM that nobody has written yet."""
    with FeedFile.opened(tmp_path / "feeds", "ECOM") as opened:
        yield opened


class TestFile:
    @pytest.fixture
    def path(self, feed: FeedFile, tmp_path: Path) -> Path:
        """Where it lies."""
        assert feed.revision() is None
        return feed_path(tmp_path / "feeds", "ECOM")

    def test_goes_as_far_as_its_last_line(self, feed: FeedFile, path: Path) -> None:
        assert feed.replace([line(7)]) == 1
        assert feed.revision() == 7
        assert feed.add([line(8), line(9)]) == 2
        assert feed.revision() == 9
        assert feed.replace([line(3), line(9)]) == 2
        assert feed.revision() == 9
        assert path.read_bytes() == line(3) + line(9)

    def test_is_its_users_alone(self, feed: FeedFile, path: Path) -> None:
        feed.replace([line(1)])
        assert [it.stat().st_mode & 0o777 for it in (path, path.parent)] == [0o600, 0o700]

    def test_a_line_that_was_never_ended_is_taken_off(self, feed: FeedFile, path: Path) -> None:
        feed.replace([line(1), line(2)])
        with path.open("ab") as file:
            file.write(line(3)[:-4])
        assert feed.revision() == 2
        assert path.read_bytes() == line(1) + line(2)

    @pytest.mark.parametrize("text", [b"", b"{", b"\n", b"{}\n", b"[]\n", b'{"revision":null}\n', b"\xff\n"])
    def test_one_that_is_no_feed_goes_nowhere(self, feed: FeedFile, path: Path, text: bytes) -> None:
        path.write_bytes(text)
        assert feed.revision() is None

    def test_lines_of_any_length_are_found(self, feed: FeedFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(feeds, "TAIL", 8)
        feed.replace([line(1), line(2, name="x" * 50), line(3, name="y" * 20)])
        with path.open("ab") as file:
            file.write(b"z" * 40)
        assert feed.revision() == 3

    def test_what_cannot_be_written_is_told(self, feed: FeedFile, path: Path) -> None:
        path.mkdir()
        with pytest.raises(UnwritableError, match=r"ECOM\.jsonl"):
            feed.add([line(1)])
        with pytest.raises(UnwritableError, match=r"ECOM\.jsonl"):
            feed.replace([line(1)])

    def test_what_a_killed_writer_left_is_removed(self, tmp_path: Path) -> None:
        folder = tmp_path / "others"
        folder.mkdir()
        left = folder / f".ECOM.jsonl.{'0' * 16}"
        left.touch()
        with FeedFile.opened(folder, "ECOM"):
            assert not left.exists()

    def test_no_text_ends_a_line(self) -> None:
        written = line(1, name="a\nb\u2028c\u2029d\x85e\x0bf")
        assert len(written.decode().splitlines()) == 1
        assert json.loads(written)["name"] == "a\nb\u2028c\u2029d\x85e\x0bf"

    def test_what_was_not_sent_is_left_out(self) -> None:
        content = dict.fromkeys(
            ("product_id", "is_main", "name", "description", "ean", "hs_code", "images", "sale_channel_data",
             "weight_kg", "height_cm", "width_cm", "length_cm")
        )  # fmt: skip
        assert entry_line(Entry(1, "ACME", "1", content | {"weight_kg": "0.25"}, 2)) == {
            "revision": 1, "id": "ACME-1", "merchantId": "ACME", "skuId": "1", "weight": 0.25, "available": True,
            "quantity": 2,
        }  # fmt: skip


def hold(folder: Path, told: Any) -> None:
    """Have a feed, until killed."""
    with FeedFile.opened(folder, "ECOM"):
        told.set()
        time.sleep(60)


def test_one_at_a_time_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    told = FORK.Event()
    holder = FORK.Process(target=hold, args=(tmp_path, told))
    holder.start()
    assert told.wait(30)
    taken = FORK.Event()
    waiting = FORK.Process(target=hold, args=(tmp_path, taken))
    waiting.start()
    assert not taken.wait(0.2)
    os.kill(holder.pid or 0, signal.SIGKILL)
    assert taken.wait(30)
    waiting.kill()
    for process in (holder, waiting):
        process.join()


class TestWriting:
    def test_what_changes_within_a_second_is_one_job_and_many_products_are_one_write(self, world: World) -> None:
        for number in range(5):
            world.upsert(world.sku(str(number), f"P{number}"))
        assert world.runner().run_due() == 0
        world.now += timedelta(seconds=1)
        assert world.runner().run_due() == 1
        assert world.waiting() == 1
        world.pass_time(3)
        assert [it.get("revision") for it in world.lines()] == [None, 1, 2, 3, 4, 5, 5]

    def test_changes_are_added_and_a_feed_of_mostly_waste_is_written_anew(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "WASTE", 2)
        world.upsert(world.sku("1"), world.sku("2"))
        world.pass_time()
        counts = []
        for quantity in range(1, 9):
            world.stock("1", quantity)
            world.pass_time(4)
            counts.append(len(world.lines()))
        assert counts == [5, 6, 7, 8, 9, 10, 11, 4]
        assert world.feed()["ACME-1"]["quantity"] == 8

    @pytest.mark.parametrize("harm", ["lost", "cut", "of another time", "torn"])
    def test_a_feed_that_is_not_what_was_noted_of_it_is_written_anew(self, world: World, harm: str) -> None:
        world.upsert(world.sku("1"), world.sku("2"))
        world.pass_time()
        path = feed_path(world.folder, "ECOM")
        whole = path.read_bytes()
        if harm == "lost":
            path.unlink()
        else:
            changed = {"cut": whole[: whole.rindex(b"{")], "of another time": whole + line(99), "torn": whole + b'{"'}
            path.write_bytes(changed[harm])
        world.stock("1", 3)
        world.pass_time()
        assert {it["skuId"]: it["quantity"] for it in world.feed().values()} == {"1": 3, "2": 0}
        assert all(json.loads(it) for it in path.read_bytes().splitlines())

    def test_an_operator_has_it_written_anew(self, world: World) -> None:
        world.upsert(world.sku())
        world.pass_time()
        path = feed_path(world.folder, "ECOM")
        path.write_bytes(path.read_bytes().replace(b"USB", b"usb"))
        with world.acting() as session:
            assert service.renew_feed(session, "ECOM", now=world.now, by=BY).id == "ECOM"
            with pytest.raises(ChannelNotFoundError):
                service.renew_feed(session, "LOJA", now=world.now, by=BY)
        world.pass_time(1)
        assert world.feed()["ACME-1"]["name"] == "USB charger type C"

    def test_asked_for_while_it_is_written_it_is_written_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.upsert(world.sku())
        world.pass_time()
        world.stock("1", 3)
        add, replace, replaced = FeedFile.add, FeedFile.replace, []

        def add_while_somebody_asks(feed: FeedFile, lines: Any) -> int:
            with world.acting() as session:
                service.renew_feed(session, "ECOM", now=world.now, by=BY)
            return add(feed, lines)

        def count(feed: FeedFile, lines: Any) -> int:
            replaced.append(1)
            return replace(feed, lines)

        monkeypatch.setattr(FeedFile, "add", add_while_somebody_asks)
        monkeypatch.setattr(FeedFile, "replace", count)
        world.pass_time()
        assert (len(replaced), world.feed()["ACME-1"]["quantity"]) == (1, 3)

    def test_what_was_forgotten_or_lost_is_written_at_the_next_start(self, world: World) -> None:
        def start() -> int:
            with world.acting() as session:
                service.queue_lost_feeds(session, world.folder, now=world.now)
            waiting: int = world.waiting()
            world.pass_time(1)
            return waiting

        assert start() == 0
        world.upsert(world.sku())
        world.pass_time()
        assert start() == 0
        whole = world.lines()
        path = feed_path(world.folder, "ECOM")
        path.unlink()
        assert (start(), world.lines()) == (1, whole)
        path.write_bytes(path.read_bytes().replace(b"USB", b"usb"))
        with world.acting() as session:
            service.forget_feeds(session)
        assert (start(), world.lines()) == (1, whole)

    def test_a_channel_without_skus_has_a_feed_if_it_is_asked_for(self, world: World) -> None:
        world.add_channel("LOJA", "MX", "MXN")
        with world.acting() as session:
            service.renew_feed(session, "LOJA", now=world.now, by=BY)
        world.pass_time(1)
        first, last = world.lines("LOJA")
        assert (first["channelId"], last) == ("LOJA", {"revision": 0})

    def test_a_channel_that_fails_is_tried_again_and_nobody_is_told_meanwhile(self, world: World) -> None:
        world.folder.write_bytes(b"")  # in the place of the folder
        world.upsert(world.sku())
        world.pass_time()
        assert world.status() == ("READY_FOR_SALES_CHANNEL", {})
        world.folder.unlink()
        world.pass_time(30)
        assert world.status()[1]["ECOM"][0] == "SALES_CHANNEL_APPROVED"


class Killed(BaseException):
    """In the place of SIGKILL: no handler catches it, and what was open is rolled back."""


class TestKilled:
    """At any moment: after each of the statements and writes of the whole way. What comes after is the same."""

    @pytest.mark.parametrize("moment", range(1, 13))
    def test_nothing_is_lost_and_nothing_doubled(
        self, world: World, monkeypatch: pytest.MonkeyPatch, moment: int
    ) -> None:
        moments = iter(range(1, 1000))

        def may_die() -> None:
            if next(moments) == moment:
                raise Killed

        world.upsert(world.sku("1"), world.sku("2"))
        world.stock("1", 3)
        self._watch(monkeypatch, may_die)
        with contextlib.suppress(Killed):
            world.pass_time()
        monkeypatch.undo()
        world.runner().release()  # what replaces it has the same place
        world.pass_time(10)
        told = ("SALES_CHANNEL_APPROVED", "Integration successful")
        for sku_id in ("1", "2"):
            assert world.status(sku_id) == ("READY_FOR_SALES_CHANNEL", {"ECOM": told})
        assert {it["skuId"]: it["quantity"] for it in world.feed().values()} == {"1": 3, "2": 0}
        ids = [it["id"] for it in world.lines() if "id" in it]
        assert len(ids) <= 3, "a line that was written is not written again, but where stock came after"
        assert world.is_integrated("1")
        assert world.waiting() == 0

    @staticmethod
    def _watch(monkeypatch: pytest.MonkeyPatch, may_die: Any) -> None:
        """Let it die before and after each transaction, each write of a feed, and each look at one."""
        write, add, replace, look = Database.write, FeedFile.add, FeedFile.replace, FeedFile.revision

        @contextlib.contextmanager
        def watched(database: Database) -> Iterator[Any]:
            with write(database) as session:
                yield session
                if session.info.get("ecross_server.jobs") is not None or session.in_transaction():
                    may_die()

        def watched_add(feed: FeedFile, lines: Any) -> int:
            count = add(feed, lines)
            may_die()
            return count

        def watched_replace(feed: FeedFile, lines: Any) -> int:
            may_die()
            count = replace(feed, lines)
            may_die()
            return count

        def watched_look(feed: FeedFile) -> int | None:
            may_die()
            return look(feed)

        for name, function in (
            ("add", watched_add), ("replace", watched_replace), ("revision", watched_look),
        ):  # fmt: skip
            monkeypatch.setattr(FeedFile, name, function)
        monkeypatch.setattr(Database, "write", watched)

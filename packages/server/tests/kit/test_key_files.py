from __future__ import annotations

import json
import math
import multiprocessing
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from ecross_server.kit.key_files import (
    KeyFileBusyError,
    WatchedFile,
    _identity,
    moment,
    next_moment,
    position_in_use,
    shown_moment,
    turn_to_change,
)
from ecross_server.kit.private_files import UnsafeFileError, UnwritableError, write_private_file

PAST, SOON, LATER = "2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "2040-01-01T00:00:00Z"
NOW = 1_750_000_000.0


def seconds(text: str) -> float:
    return moment({"at": text}, "at", 0)


def test_without_a_start_the_first_is_in_use() -> None:
    assert position_in_use([{}, {}], NOW) == 0


def test_until_its_start_the_one_behind_it_is_in_use() -> None:
    entries = [{"startsAt": SOON}, {"startsAt": PAST}, {}]
    assert position_in_use(entries, NOW) == 1
    assert position_in_use(entries, seconds(SOON)) == 0


def test_the_first_is_in_use_if_none_has_started() -> None:
    assert position_in_use([{"startsAt": LATER}, {"startsAt": SOON}], NOW) == 0


def test_the_next_moment_is_the_first_that_is_still_to_come() -> None:
    entries = [{"a": LATER}, {"b": SOON, "a": PAST}, {}]
    assert next_moment(entries, NOW, "a", "b") == seconds(SOON)
    assert next_moment(entries, NOW, "a") == seconds(LATER)
    assert next_moment(entries, seconds(LATER), "a", "b") == math.inf


@pytest.mark.parametrize("value", ["soon", "2030-01-01", "", 7, [], {}])
def test_what_is_no_instant_is_refused_by_name_and_not_repeated(value: object) -> None:
    with pytest.raises(ValueError, match=r"^startsAt must be an ISO 8601 date and time") as caught:
        moment({"startsAt": value}, "startsAt", 0)
    assert caught.value.__suppress_context__
    assert shown_moment({"startsAt": value}, "startsAt") is None


@given(st.lists(st.integers(1, 20).map(float)), st.integers(0, 21).map(float))
def test_between_two_moments_nothing_changes(starts: list[float], now: float) -> None:
    entries = [{"startsAt": f"2030-01-01T00:00:{int(start):02}Z"} for start in starts]
    base = seconds("2030-01-01T00:00:00Z")
    until = next_moment(entries, base + now, "startsAt")
    if until < math.inf:
        assert position_in_use(entries, until - 0.001) == position_in_use(entries, base + now)


def _count_up(path: Path, times: int) -> None:
    for _ in range(times):
        with turn_to_change(path) as file:
            file.replace({"count": file.read()["count"] + 1})


def test_processes_and_threads_take_turns_and_no_change_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write_private_file(path, '{"count": 0}')
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_count_up, args=(path, 10)) for _ in range(3)]
    for process in processes:
        process.start()
    threads = [threading.Thread(target=_count_up, args=(path, 10)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for process in processes:
        process.join(30)
    for thread in threads:
        thread.join(30)
    assert json.loads(path.read_text()) == {"count": 50}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".keys.json.lock", "keys.json"]
    assert path.with_name(".keys.json.lock").stat().st_mode & 0o777 == 0o600


def test_who_waits_too_long_is_told(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write_private_file(path, "{}")
    with (
        turn_to_change(path),
        pytest.raises(KeyFileBusyError, match=r"Another process is changing .*keys\.json"),
        turn_to_change(path, seconds=0.05),
    ):
        pytest.fail("two at once")
    with turn_to_change(path):
        pass  # the turn ended with its block


def test_a_turn_that_fails_ends_and_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write_private_file(path, '{"a": 1}')
    with pytest.raises(ZeroDivisionError), turn_to_change(path):
        raise ZeroDivisionError
    with turn_to_change(path, seconds=0) as file:
        assert file.read() == {"a": 1}


def test_what_killed_processes_have_left_of_the_file_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write_private_file(path, "{}")
    left = [".keys.json.0123456789abcdef", ".keys.json.ffffffffffffffff"]
    others = [
        ".keys.json.0123456789abcde",
        ".keys.json.0123456789ABCDEF",
        ".other.json.0123456789abcdef",
        "keys.json.bak",
    ]
    for name in (*left, *others):
        (tmp_path / name).touch()
    with turn_to_change(path):
        pass
    assert {entry.name for entry in tmp_path.iterdir()} == {"keys.json", ".keys.json.lock", *others}


def test_the_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "keys.json"
    write_private_file(real, "{}")
    link.symlink_to(real)
    with turn_to_change(link) as file:
        file.replace({"a": 1})
    assert link.is_symlink()
    assert json.loads(real.read_text()) == {"a": 1}


def test_a_link_laid_for_the_lock_is_not_followed(tmp_path: Path) -> None:
    path, target = tmp_path / "keys.json", tmp_path / "target"
    write_private_file(path, "{}")
    path.with_name(".keys.json.lock").symlink_to(target)
    with pytest.raises(UnwritableError), turn_to_change(path):
        pytest.fail("followed")
    assert not target.exists()


def test_what_is_not_there_cannot_be_changed(tmp_path: Path) -> None:
    with (
        pytest.raises(UnwritableError, match="cannot be changed: No such file") as caught,
        turn_to_change(tmp_path / "x"),
    ):
        pytest.fail("nothing to change")
    assert caught.value.__suppress_context__
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_changed_by_root_it_stays_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write_private_file(path, "{}")
    os.chown(path, 4711, 4712)
    with turn_to_change(path) as file:
        file.replace({"a": 1})
    for each in (path, path.with_name(".keys.json.lock")):
        status = each.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (4711, 4712, 0o600)


@dataclass
class Content:
    text: str
    changes_at: float = math.inf

    def __len__(self) -> int:
        return 1


class Watch:
    """A watched file, its clock, and how often it was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = NOW
        self.changes_at = math.inf
        self.reads = 0
        self.write("first")
        self.file = WatchedFile(path, self.read, name="things", clock=lambda: self.now)
        self.reads = 0

    def read(self, document: Mapping[str, Any], now: float) -> Content:
        self.reads += 1
        if document["text"] == "bad":
            raise UnsafeFileError("bad")
        changes_at = self.changes_at if now < self.changes_at else math.inf
        return Content(f"{document['text']} at {int(now - NOW)}", changes_at)

    def write(self, text: str) -> None:
        write_private_file(self.path, json.dumps({"text": text}))

    @property
    def text(self) -> str:
        return self.file.content.text


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path / "things.json")


class TestWatching:
    def test_a_look_takes_a_change_over_at_once(self, watch: Watch) -> None:
        before = watch.file.content
        assert not watch.file.is_newer_than(before)
        watch.write("second")
        assert watch.file.is_newer_than(before)
        assert watch.text == "second at 0"
        assert watch.file.is_newer_than(before)  # known by now, and still newer than what the asker has
        assert not watch.file.is_newer_than(watch.file.content)
        assert watch.reads == 1

    def test_a_bad_file_is_looked_into_once_however_many_ask(self, watch: Watch) -> None:
        watch.write("bad")
        for _ in range(1000):
            assert not watch.file.is_newer_than(watch.file.content)
        assert (watch.reads, watch.text) == (1, "first at 0")
        watch.write("good")
        assert watch.file.is_newer_than(Content("other"))
        assert watch.text == "good at 0"

    def test_a_vanished_file_ends_nothing(self, watch: Watch) -> None:
        watch.path.unlink()
        for _ in range(3):
            assert not watch.file.is_newer_than(watch.file.content)
            watch.file.take_changes()
        assert watch.text == "first at 0"

    def test_who_looks_while_another_reads_waits_for_it_and_does_not_read_again(self, watch: Watch) -> None:
        before = watch.file.content
        watch.write("second")
        seen: list[bool] = []
        asking = threading.Thread(target=lambda: seen.append(watch.file.is_newer_than(before)))
        with watch.file._lock:
            asking.start()
            asking.join(0.3)
            assert not seen
            watch.file._take(_identity(watch.path))
        asking.join()
        assert seen == [True]
        assert watch.reads == 1

    def test_time_alone_changes_the_content_also_while_the_file_is_away(self, watch: Watch) -> None:
        watch.changes_at = NOW + 10
        watch.write("second")
        watch.file.take_changes()
        watch.path.unlink()
        watch.now = NOW + 9
        watch.file.take_changes()
        assert watch.text == "second at 0"
        watch.now = NOW + 10
        watch.file.take_changes()
        assert watch.text == "second at 10"

    def test_a_clock_set_back_brings_back_what_it_had_ended(self, watch: Watch) -> None:
        watch.changes_at = NOW + 10
        watch.write("second")
        watch.now = NOW + 86_400
        watch.file.take_changes()
        assert watch.text == "second at 86400"
        watch.now = NOW
        watch.file.take_changes()
        assert watch.text == "second at 0"
        assert watch.file.content.changes_at == NOW + 10

    def test_what_happens_is_told_once(self, watch: Watch) -> None:
        with structlog.testing.capture_logs() as events:
            watch.write("bad")
            for _ in range(3):
                watch.file.take_changes()
            watch.write("good")
            watch.file.take_changes()
            watch.file.take_changes()
        assert [event["event"] for event in events] == ["things_refused", "things_loaded"]

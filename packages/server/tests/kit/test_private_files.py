from __future__ import annotations

import contextlib
import json
import os
import resource
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ecross_server.kit.errors import UnavailableError
from ecross_server.kit.private_files import (
    UnsafeFileError,
    UnwritableError,
    create_private_file,
    make_private_folder,
    read_private_json,
    write_private_file,
)

NEVER_WRITABLE = Path("/proc/self")
"""A folder in which not even root can make a file."""

Write = Callable[[Path, str], None]


def mode_of(path: Path) -> int:
    return path.lstat().st_mode & 0o777


@pytest.fixture
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@contextlib.contextmanager
def full_disk(free_bytes: int) -> Iterator[None]:
    """No file can grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(params=[write_private_file, create_private_file])
def write(request: pytest.FixtureRequest) -> Write:
    """Both ways to write a private file."""
    function: Write = request.param
    return function


@pytest.mark.usefixtures("_open_umask")
def test_a_private_file_can_be_read_by_nobody_else(write: Write, tmp_path: Path) -> None:
    write(tmp_path / "keys.json", "{}")
    assert mode_of(tmp_path / "keys.json") == 0o600
    assert (tmp_path / "keys.json").read_text() == "{}"


@pytest.mark.usefixtures("_open_umask")
def test_no_file_is_ever_open_to_others_while_it_is_written(write: Write, tmp_path: Path) -> None:
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for entry in os.scandir(tmp_path):
                with contextlib.suppress(FileNotFoundError):
                    seen.add(entry.stat(follow_symlinks=False).st_mode & 0o777)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(20):
        write(tmp_path / f"keys-{number}.json", "x" * 1_000_000)
    done.set()
    watcher.join()
    assert seen == {0o600}


@pytest.mark.usefixtures("_open_umask")
def test_writing_over_an_open_file_closes_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("old")
    path.chmod(0o666)
    write_private_file(path, "new")
    assert mode_of(path) == 0o600
    assert path.read_text() == "new"


def test_a_reader_finds_the_old_content_or_the_new_and_nothing_between(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    contents = {letter * 100_000 for letter in "ab"}
    write_private_file(path, "a" * 100_000)
    read: set[str] = set()
    done = threading.Event()

    def keep_reading() -> None:
        while not done.is_set():
            read.add(path.read_text())

    reader = threading.Thread(target=keep_reading)
    reader.start()
    for _ in range(20):
        for content in sorted(contents):
            write_private_file(path, content)
    done.set()
    reader.join()
    assert read
    assert read <= contents


def test_nothing_but_the_file_is_left_in_the_folder(write: Write, tmp_path: Path) -> None:
    write(tmp_path / "keys.json", "{}")
    write(tmp_path / "keys.json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


def test_a_link_laid_in_place_is_replaced_and_its_target_untouched(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    link = tmp_path / "keys.json"
    link.symlink_to(target)
    write_private_file(link, "secret")
    assert not link.is_symlink()
    assert link.read_text() == "secret"
    assert target.read_text() == "mine"


@pytest.mark.parametrize("is_dangling", [False, True])
def test_creating_never_writes_through_a_link(tmp_path: Path, *, is_dangling: bool) -> None:
    target = tmp_path / "target"
    if not is_dangling:
        target.write_text("mine")
    link = tmp_path / "keys.json"
    link.symlink_to(target)
    create_private_file(link, "secret")
    assert link.is_symlink()
    assert target.exists() is not is_dangling
    assert is_dangling or target.read_text() == "mine"


def test_creating_keeps_the_file_that_is_there(tmp_path: Path) -> None:
    create_private_file(tmp_path / "keys.json", "first")
    create_private_file(tmp_path / "keys.json", "second")
    assert (tmp_path / "keys.json").read_text() == "first"


def test_of_racing_creators_one_wins_and_all_read_its_content(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    racers = 8
    barrier = threading.Barrier(racers)

    def create(number: int) -> str:
        barrier.wait()
        create_private_file(path, f"content {number}")
        return path.read_text()

    with ThreadPoolExecutor(racers) as pool:
        read = set(pool.map(create, range(racers)))
    assert len(read) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys.json"]


def test_on_a_full_disk_the_old_content_stays_and_no_rest_is_left(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write_private_file(path, "old")
    with full_disk(100), pytest.raises(UnwritableError, match=r"keys\.json cannot be written: File too large"):
        write_private_file(path, "new" * 100)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys.json"]


def test_on_a_full_disk_no_half_file_is_created(tmp_path: Path) -> None:
    with full_disk(100), pytest.raises(UnwritableError, match=r"/keys\.json cannot be written"):
        create_private_file(tmp_path / "keys.json", "new" * 100)
    assert list(tmp_path.iterdir()) == []


def test_text_that_cannot_be_encoded_leaves_nothing_behind(write: Write, tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "keys.json", "\ud800")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["file", "missing"])
def test_a_file_in_no_folder_is_refused_in_one_sentence(write: Write, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableError) as caught:
        write(tmp_path / folder / "keys.json", "secret")
    assert str(tmp_path / folder / "keys.json") in caught.value.message
    assert "secret" not in caught.value.message
    assert caught.value.__suppress_context__
    assert caught.value.code == "unwritable"


def test_a_file_in_a_folder_that_is_closed_to_all_is_refused(write: Write) -> None:
    with pytest.raises(UnwritableError):
        write(NEVER_WRITABLE / "keys.json", "secret")


def test_a_file_in_place_of_a_folder_is_refused_and_no_rest_is_left(tmp_path: Path) -> None:
    (tmp_path / "keys.json").mkdir()
    with pytest.raises(UnwritableError):
        write_private_file(tmp_path / "keys.json", "secret")
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys.json"]


@pytest.mark.usefixtures("_open_umask")
def test_a_private_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    make_private_folder(tmp_path / "a" / "b")
    assert mode_of(tmp_path / "a" / "b") == 0o700
    make_private_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableError, match="cannot be made: ") as caught:
        make_private_folder(tmp_path / name)
    assert caught.value.__suppress_context__


def test_a_folder_that_is_there_but_closed_is_refused_in_one_sentence() -> None:
    with pytest.raises(UnwritableError, match="cannot be written to: ") as caught:
        make_private_folder(NEVER_WRITABLE)
    assert caught.value.__suppress_context__


def test_a_private_json_file_is_read_back(tmp_path: Path) -> None:
    content = {"keys": ["ä", 1, None]}
    write_private_file(tmp_path / "keys.json", json.dumps(content))
    assert read_private_json(tmp_path / "keys.json") == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666])
def test_a_file_that_others_may_touch_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys.json"
    write_private_file(path, '{"k": "hunter2"}')
    path.chmod(mode)
    with pytest.raises(UnsafeFileError, match=f"chmod 600 {path}") as caught:
        read_private_json(path)
    assert "hunter2" not in str(caught.value)
    assert caught.value.code == "unsafe_file"


def test_a_link_is_judged_by_the_file_it_leads_to(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("{}")
    target.chmod(0o644)
    (tmp_path / "keys.json").symlink_to(target)
    with pytest.raises(UnsafeFileError):
        read_private_json(tmp_path / "keys.json")


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_the_owner_may_have_any_rights(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys.json"
    write_private_file(path, "{}")
    path.chmod(mode)
    assert read_private_json(path) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"hunter2", b'{"k": "hunter2"', b'["hunter2"]', b'"hunter2"', b"null", b"\xffhunter2", b"[" * 100_000,
        b"7" * 9_999,
    ],
    ids=["empty", "text", "cut", "array", "string", "null", "bytes", "deep", "digits"],
)  # fmt: skip
def test_a_file_without_a_json_object_is_refused_and_its_content_never_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    write_private_file(path, "")
    path.write_bytes(content)
    with pytest.raises(UnsafeFileError) as caught:
        read_private_json(path)
    assert caught.value.message == f"The file {path} does not hold a JSON object. Restore it from a backup."
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["missing.json", "folder"])
def test_a_file_that_cannot_be_read_is_told_in_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnavailableError, match="cannot be read: ") as caught:
        read_private_json(tmp_path / name)
    assert caught.value.__suppress_context__

import contextlib
import os
import resource
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecross._private_files import OversizedFileError, PrivateFileError, PrivateFolder, UnsafeFileError
from ecross._private_files.systems import Windows

KILLS = 30

Spawn = Callable[..., "subprocess.Popen[str]"]

WRITER = """
import os, sys
from pathlib import Path
from ecross._private_files import PrivateFolder
folder = PrivateFolder(Path(sys.argv[1]))
parent = os.getpid()
while sys.stdin.readline():
    child = os.fork()
    if child == 0:
        os.write(1, b"%d\\n" % os.getpid())
        number = 0
        while os.getppid() == parent:
            number += 1
            folder.replace("entry", b"%06d" % number * 1000)
        os._exit(0)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> PrivateFolder:
    made = PrivateFolder(tmp_path / "private")
    made.prepare()
    return made


@contextlib.contextmanager
def full_disk(free_bytes: int) -> Iterator[None]:
    """No file can grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_folder_is_0700_and_its_files_are_0600_whatever_the_mask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = PrivateFolder(tmp_path / "private")
        folder.replace("entry", b"secret")
        folder.try_lock("entry.lock")
    finally:
        os.umask(before)

    assert folder.modes() == {".": "0700", "entry": "0600", "entry.lock": "0600"}
    assert repr(folder) == f"PrivateFolder('{tmp_path}/private')"


def test_where_files_have_no_modes_none_are_shown(tmp_path: Path) -> None:
    folder = PrivateFolder(tmp_path / "private", Windows())
    folder.replace("entry", b"secret")

    assert folder.read("entry", max_bytes=9) == b"secret"
    assert folder.modes() == {}


def test_a_folder_open_to_others_is_refused_and_not_mended_silently(folder: PrivateFolder) -> None:
    folder.path.chmod(0o755)

    with pytest.raises(UnsafeFileError, match="chmod 700"):
        folder.prepare()
    assert mode_of(folder.path) == 0o755


def test_a_folder_that_is_a_link_is_refused_but_its_parents_may_be_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(0o700)
    (tmp_path / "link").symlink_to("real")

    with pytest.raises(UnsafeFileError, match="is a link"):
        PrivateFolder(tmp_path / "link").prepare()
    PrivateFolder(tmp_path / "link" / "below").prepare()
    assert (tmp_path / "real" / "below").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_or_file_of_another_user_is_refused(folder: PrivateFolder) -> None:
    folder.replace("entry", b"laid here")
    os.chown(folder.path / "entry", 1234, 1234)
    with pytest.raises(UnsafeFileError, match="belongs to another user"):
        folder.read("entry", max_bytes=99)

    os.chown(folder.path, 1234, 1234)
    with pytest.raises(UnsafeFileError, match="belongs to another user"):
        folder.replace("entry", b"secret")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_open_to_others_is_not_read(folder: PrivateFolder, mode: int) -> None:
    folder.replace("entry", b"secret")
    (folder.path / "entry").chmod(mode)

    with pytest.raises(UnsafeFileError, match="chmod 600"):
        folder.read("entry", max_bytes=99)
    with pytest.raises(UnsafeFileError, match="chmod 600"):
        folder.check("entry")


def test_a_link_is_neither_read_nor_written_through(folder: PrivateFolder, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("theirs")
    target.chmod(0o600)
    (folder.path / "entry").symlink_to(target)

    with pytest.raises(UnsafeFileError, match="is a link"):
        folder.read("entry", max_bytes=99)
    folder.replace("entry", b"ours")

    assert target.read_text() == "theirs"
    assert folder.read("entry", max_bytes=99) == b"ours"


def test_a_file_that_is_not_there_is_none_and_nothing_to_refuse(folder: PrivateFolder) -> None:
    assert folder.read("entry", max_bytes=9) is None
    folder.check("entry")
    folder.remove("entry")
    folder.set_aside("entry")
    assert list(folder.path.iterdir()) == []


def test_what_is_set_aside_replaces_what_was_set_aside_before(folder: PrivateFolder) -> None:
    for content in (b"first", b"second"):
        folder.replace("entry", content)
        folder.set_aside("entry")

    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == {"entry.corrupt": b"second"}


def test_a_file_larger_than_it_may_be_is_refused(folder: PrivateFolder) -> None:
    folder.replace("entry", b"x" * 100)

    with pytest.raises(OversizedFileError):
        folder.read("entry", max_bytes=99)


def test_on_a_full_disk_the_old_content_stays_and_nothing_is_left_over(folder: PrivateFolder) -> None:
    folder.replace("entry", b"old")

    with full_disk(100), pytest.raises(PrivateFileError, match="cannot be written: File too large"):
        folder.replace("entry", b"new" * 100)

    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == {"entry": b"old"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_on_a_disk_without_any_room_the_old_content_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("nothing may be mounted here")
    try:
        folder = PrivateFolder(disk / "private")
        folder.replace("entry", b"old")
        with contextlib.suppress(OSError):
            (disk / "filling").write_bytes(b"x" * 100_000)
        with pytest.raises(PrivateFileError, match="cannot be written: No space left"):
            folder.replace("entry", b"new" * 2000)
        assert folder.read("entry", max_bytes=99) == b"old"

        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(PrivateFileError, match="Read-only file system"):
            folder.replace("entry", b"new")
        with pytest.raises(PrivateFileError, match="cannot be used: Read-only file system"):
            folder.try_lock("another.lock")
        with pytest.raises(PrivateFileError, match="cannot be removed: Read-only file system"):
            folder.remove("entry")
        with pytest.raises(PrivateFileError, match="cannot be made: Read-only file system"):
            PrivateFolder(disk / "another").prepare()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(PrivateFileError, match="file/private cannot be made: Not a directory"):
        PrivateFolder(tmp_path / "file" / "private").prepare()


def test_what_cannot_be_removed_is_an_error_that_names_it(folder: PrivateFolder) -> None:
    (folder.path / "entry").mkdir()

    with pytest.raises(PrivateFileError, match="entry cannot be removed"):
        folder.remove("entry")


def test_a_writer_killed_at_any_moment_leaves_the_old_content_or_the_new(folder: PrivateFolder, spawn: Spawn) -> None:
    writers = spawn(WRITER, folder.path)
    assert writers.stdin is not None
    assert writers.stdout is not None
    kept = set()
    for round_number in range(KILLS):
        print("write", file=writers.stdin, flush=True)
        writer = int(writers.stdout.readline())
        time.sleep(0.0007 * round_number)  # a different moment each time; none is right or wrong
        os.kill(writer, signal.SIGKILL)
        assert writers.stdout.readline() == "killed\n"
        content = folder.read("entry", max_bytes=6000)
        assert content is None or (len(content) == 6000 and content == content[:6] * 1000)
        kept.add(content)

    folder.replace("entry", b"the next writer's")

    assert len(kept) > 1
    assert [path.name for path in folder.path.iterdir()] == ["entry"]  # what dead writers left is swept


def test_what_dead_writers_of_a_file_left_is_removed_and_that_of_others_is_not(folder: PrivateFolder) -> None:
    for name in (".entry.0123.tmp", ".another.0123.tmp"):
        (folder.path / name).touch()

    folder.replace("entry", b"new")

    assert {path.name for path in folder.path.iterdir()} == {"entry", ".another.0123.tmp"}


def test_a_held_lock_is_waited_for_until_it_is_free(folder: PrivateFolder) -> None:
    held = folder.try_lock("entry.lock")
    assert held is not None
    threading.Timer(0.05, held.release).start()

    with folder.locked("entry.lock"):
        assert folder.try_lock("entry.lock") is None
    assert folder.try_lock("entry.lock") is not None


def test_a_lock_that_stays_held_is_given_up(folder: PrivateFolder) -> None:
    held = folder.try_lock("entry.lock")
    assert held is not None

    with (
        pytest.raises(PrivateFileError, match=r"entry\.lock is held by another process"),
        folder.locked("entry.lock", deadline_seconds=0.03),
    ):
        pytest.fail("both hold it")
    held.release()


def test_files_that_go_while_modes_are_looked_at_are_left_out(folder: PrivateFolder) -> None:
    folder.replace("entry", b"x")
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            (folder.path / "other").touch(0o600)
            (folder.path / "other").unlink()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(300):
            assert folder.modes()["entry"] == "0600"
    finally:
        stop.set()
        thread.join()

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ecross._private_files.systems import (
    OversizedFileError,
    Posix,
    PrivateFileError,
    UnsafeFileError,
    Windows,
    current_system,
    read_regular_file,
    system_of,
)

FILE = Path("/folder/file")
REPARSE_POINT = 0x400


def status(mode: int, uid: int = 7, attributes: int = 0) -> Any:
    return SimpleNamespace(st_mode=mode, st_uid=uid, st_file_attributes=attributes)


def test_a_system_with_users_is_posix_and_one_without_is_windows() -> None:
    assert system_of(lambda: 7) == Posix(7)
    assert isinstance(system_of(None), Windows)
    assert current_system() == Posix(os.geteuid())


@pytest.mark.parametrize(
    ("mode", "uid", "said"),
    [
        (stat.S_IFDIR | 0o700, 7, None),
        (stat.S_IFDIR | stat.S_ISGID | 0o700, 7, None),
        (stat.S_IFDIR | 0o700, 8, "belongs to another user"),
        (stat.S_IFDIR | 0o750, 7, "chmod 700 /folder/file"),
        (stat.S_IFDIR | 0o500, 7, "chmod 700 /folder/file"),
        (stat.S_IFLNK | 0o777, 7, "is a link"),
        (stat.S_IFREG | 0o600, 7, "is not a folder"),
    ],
)
def test_a_private_folder_is_its_users_alone(mode: int, uid: int, said: str | None) -> None:
    fault = Posix(7).folder_fault(FILE, status(mode, uid), others_may_look=False)

    assert fault is None if said is None else said in (fault or "")


@pytest.mark.parametrize(
    ("mode", "said"), [(0o755, None), (0o700, None), (0o775, "chmod go-w /folder/file"), (0o757, "changed by others")]
)
def test_a_folder_that_others_may_look_into_is_not_theirs_to_change(mode: int, said: str | None) -> None:
    fault = Posix(7).folder_fault(FILE, status(stat.S_IFDIR | mode), others_may_look=True)

    assert fault is None if said is None else said in (fault or "")


@pytest.mark.parametrize(
    ("mode", "uid", "said"),
    [
        (stat.S_IFREG | 0o600, 7, None),
        (stat.S_IFREG | 0o400, 7, None),
        (stat.S_IFREG | 0o600, 0, "belongs to another user"),
        (stat.S_IFREG | 0o640, 7, "chmod 600 /folder/file"),
        (stat.S_IFREG | 0o602, 7, "chmod 600 /folder/file"),
        (stat.S_IFLNK | 0o777, 7, "is a link"),
        (stat.S_IFIFO | 0o600, 7, "is not a regular file"),
    ],
)
def test_a_private_file_is_its_users_alone(mode: int, uid: int, said: str | None) -> None:
    fault = Posix(7).file_fault(FILE, status(mode, uid))

    assert fault is None if said is None else said in (fault or "")


@pytest.mark.parametrize(
    ("mode", "uid", "said"), [(0o644, 7, None), (0o644, 0, None), (0o644, 8, "another"), (0o664, 7, "changed")]
)
def test_a_file_that_tells_something_can_be_changed_by_its_user_and_root_alone(
    mode: int, uid: int, said: str | None
) -> None:
    fault = Posix(7).told_file_fault(FILE, status(stat.S_IFREG | mode, uid))

    assert fault is None if said is None else said in (fault or "")


def test_a_path_with_spaces_is_quoted_in_the_command_that_mends_it() -> None:
    assert "chmod 600 '/a b'" in str(Posix(7).file_fault(Path("/a b"), status(stat.S_IFREG | 0o644)))


def test_on_windows_links_and_junctions_are_refused_and_modes_are_not_looked_at() -> None:
    windows = Windows()

    assert windows.folder_fault(FILE, status(stat.S_IFDIR | 0o777), others_may_look=False) is None
    assert windows.folder_fault(FILE, status(stat.S_IFDIR, attributes=REPARSE_POINT), others_may_look=False)
    assert windows.folder_fault(FILE, status(stat.S_IFREG), others_may_look=False)
    assert windows.file_fault(FILE, status(stat.S_IFREG | 0o666)) is None
    assert windows.file_fault(FILE, status(stat.S_IFDIR))
    assert windows.file_fault(FILE, status(stat.S_IFREG, attributes=REPARSE_POINT))
    assert windows.told_file_fault(FILE, status(stat.S_IFREG | 0o666)) is None


@pytest.mark.parametrize("refusals", [0, 1, 3])
def test_on_windows_a_file_that_is_being_read_is_replaced_a_moment_later(refusals: int, tmp_path: Path) -> None:
    pauses: list[float] = []

    def move(source: Path, target: Path) -> None:
        if len(pauses) < refusals:
            raise PermissionError
        source.replace(target)

    (tmp_path / "new").write_text("new")
    windows = Windows(move=move, sleep=pauses.append)

    windows.replace(tmp_path / "new", tmp_path / "old")
    windows.sync_folder(tmp_path)

    assert (tmp_path / "old").read_text() == "new"
    assert len(pauses) == refusals


def test_on_windows_a_file_that_stays_in_use_is_not_waited_for_for_ever() -> None:
    def move(source: Path, target: Path) -> None:
        raise PermissionError(f"{source} {target}")

    with pytest.raises(PermissionError):
        Windows(move=move, sleep=lambda _: None).replace(Path("new"), Path("old"))


def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(UnsafeFileError, match="not a regular file"):
        read_regular_file(tmp_path / "pipe", lambda _: None, max_bytes=9, follow=True)


def test_no_more_is_read_than_there_may_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)

    assert read_regular_file(tmp_path / "file", lambda _: None, max_bytes=10) == b"x" * 10
    with pytest.raises(OversizedFileError, match="larger than 9 bytes"):
        read_regular_file(tmp_path / "file", lambda _: None, max_bytes=9)


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(PrivateFileError, match="file/below cannot be read: Not a directory"):
        read_regular_file(tmp_path / "file" / "below", lambda _: None, max_bytes=9)
    assert read_regular_file(tmp_path / "missing", lambda _: None, max_bytes=9) is None


def test_what_is_opened_is_checked_again(tmp_path: Path) -> None:
    seen: list[int] = []
    (tmp_path / "file").write_text("x")

    read_regular_file(tmp_path / "file", lambda status: seen.append(status.st_ino), max_bytes=9)

    assert seen == [(tmp_path / "file").stat().st_ino] * 2

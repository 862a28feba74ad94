from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ecross_server.kit import replacing
from ecross_server.kit.private_files import UnwritableError


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A new file, and one to be replaced."""
    fresh, target = tmp_path / "in" / "fresh", tmp_path / "place" / "keys.json"
    for path, content in ((fresh, "new"), (target, "old")):
        path.parent.mkdir()
        path.write_text(content)
        path.chmod(0o600)
    return fresh, target


def decided(tmp_path: Path, files: tuple[Path, Path], mark: int | None = None) -> tuple[Path, Path]:
    fresh, target = files
    leftover = tmp_path / "leftover"
    leftover.write_text("old")
    staged = replacing.stage(fresh, target, tmp_path.stat())
    assert (staged.parent, staged.read_text(), target.read_text()) == (target.parent, "new", "old")
    replacing.decide(tmp_path, {staged: target}, [leftover, tmp_path / "missing"], mark=mark)
    return staged, leftover


def test_what_was_decided_is_done_once(tmp_path: Path, files: tuple[Path, Path]) -> None:
    assert not replacing.is_undone(tmp_path)
    staged, leftover = decided(tmp_path, files)
    assert replacing.is_undone(tmp_path)
    assert replacing.mark_of(tmp_path) is None
    replacing.do(tmp_path)
    assert not replacing.is_undone(tmp_path)
    assert files[1].read_text() == "new"
    assert not staged.exists()
    assert not leftover.exists()


def test_what_was_interrupted_is_finished(tmp_path: Path, files: tuple[Path, Path]) -> None:
    staged, leftover = decided(tmp_path, files)
    leftover.unlink()
    staged.replace(files[1])
    replacing.do(tmp_path)
    assert files[1].read_text() == "new"
    assert not replacing.is_undone(tmp_path)


def test_what_never_came_to_pass_is_let_go(tmp_path: Path, files: tuple[Path, Path]) -> None:
    staged, leftover = decided(tmp_path, files, mark=7)
    assert replacing.mark_of(tmp_path) == 7
    replacing.let_go(tmp_path)
    assert (files[1].read_text(), leftover.exists(), staged.exists()) == ("old", True, False)
    assert not replacing.is_undone(tmp_path)


def test_a_file_that_cannot_be_moved_leaves_the_rest_for_later(tmp_path: Path, files: tuple[Path, Path]) -> None:
    decided(tmp_path, files)
    files[1].unlink()
    files[1].mkdir()
    with pytest.raises(UnwritableError, match="Try again"):
        replacing.do(tmp_path)
    assert replacing.is_undone(tmp_path)
    files[1].rmdir()
    replacing.do(tmp_path)
    assert files[1].read_text() == "new"


def test_a_file_of_another_disk_is_copied(
    tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(Path, "rename", refuse)  # two disks are not to be had here
    staged, _ = decided(tmp_path, files)
    assert staged.stat().st_mode & 0o777 == 0o600


def test_a_missing_folder_is_told(tmp_path: Path, files: tuple[Path, Path]) -> None:
    with pytest.raises(UnwritableError, match="missing cannot be written to"):
        replacing.stage(files[0], tmp_path / "missing" / "keys.json", tmp_path.stat())
    assert files[0].read_text() == "new"

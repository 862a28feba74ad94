from __future__ import annotations

import os
from pathlib import Path

import pytest

from ecross_server.kit.errors import ConflictError
from ecross_server.kit.folder_use import LOCK_NAME, FolderInUseError, shared_use, sole_use
from ecross_server.kit.private_files import UnwritableError


def test_many_may_use_a_folder_at_once_and_none_of_them_alone(tmp_path: Path) -> None:
    with shared_use(tmp_path), shared_use(tmp_path):
        with pytest.raises(FolderInUseError, match="server or another command") as caught, sole_use(tmp_path):
            pytest.fail("it was not alone")
        assert isinstance(caught.value, ConflictError)
    with sole_use(tmp_path):
        pass
    assert (tmp_path / LOCK_NAME).stat().st_mode & 0o777 == 0o600


def test_nobody_uses_it_beside_one_who_has_it_alone(tmp_path: Path) -> None:
    with sole_use(tmp_path):
        for use in (shared_use, sole_use):
            with pytest.raises(FolderInUseError), use(tmp_path):
                pytest.fail("it was let in")
    with shared_use(tmp_path):
        pass


def test_a_forked_process_goes_on_using_it(tmp_path: Path) -> None:
    wait_read, wait_write = os.pipe()
    with shared_use(tmp_path):
        child = os.fork()
        if not child:
            os.close(wait_write)
            os.read(wait_read, 1)
            os._exit(0)
    try:
        with pytest.raises(FolderInUseError), sole_use(tmp_path):
            pytest.fail("the child was overlooked")
    finally:
        os.close(wait_write)
        os.waitpid(child, 0)
        os.close(wait_read)
    with sole_use(tmp_path):
        pass


def test_what_cannot_be_locked_cannot_be_had_alone_but_used(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with shared_use(missing):
        assert not missing.exists()
    with pytest.raises(UnwritableError, match="cannot be used"), sole_use(missing):
        pytest.fail("nothing is there")


def test_a_link_in_the_locks_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).symlink_to(tmp_path / "target")
    with pytest.raises(UnwritableError), sole_use(tmp_path):
        pytest.fail("it was followed")
    with shared_use(tmp_path):
        assert not (tmp_path / "target").exists()

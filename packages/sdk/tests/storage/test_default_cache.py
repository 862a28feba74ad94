"""Where tokens are kept when nobody says where."""

import logging
from pathlib import Path

import pytest

from ecross._keyring import Keyring
from ecross._private_files import GitExposureWarning
from ecross._token_cache import CacheDescription, FileCache, MemoryCache, describe_cache, open_default_cache
from ecross._token_cache import file as file_module
from ecross.errors import CacheError


def test_the_users_cache_folder_is_the_default(no_keyring: Keyring, tmp_path: Path) -> None:
    cache = open_default_cache(keyring=no_keyring)

    assert isinstance(cache, FileCache)
    assert cache.directory == tmp_path / "home" / ".cache" / "ecross"
    assert describe_cache(keyring=no_keyring) == cache.describe()


def test_the_environment_names_another(no_keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECROSS_CACHE_DIR", "~/told")

    cache = open_default_cache(keyring=no_keyring)

    assert isinstance(cache, FileCache)
    assert cache.directory == tmp_path / "home" / "told"
    assert FileCache(tmp_path / "argument", keyring=no_keyring).directory == tmp_path / "argument"


@pytest.mark.parametrize("home", ["missing", "file"])
def test_without_a_home_tokens_stay_in_memory_and_that_is_said_once(
    home: str, no_keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / home))
    file_module._said.clear()

    with caplog.at_level(logging.WARNING, logger="ecross"):
        caches = [open_default_cache(keyring=no_keyring) for _ in range(3)]

    assert all(isinstance(cache, MemoryCache) for cache in caches)
    assert len(caplog.records) == 1
    assert "There is no home directory to keep tokens in. Set ECROSS_CACHE_DIR" in caplog.text
    assert not (tmp_path / "missing").exists()
    described = describe_cache(keyring=no_keyring)
    assert described.place == "memory"
    assert described.directory is None
    assert "no home directory" in str(described.why_not_better)
    assert isinstance(described, CacheDescription)


def test_a_default_folder_open_to_others_is_not_used(
    no_keyring: Keyring, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "home" / ".cache" / "ecross"
    folder.mkdir(parents=True)
    folder.chmod(0o755)

    assert isinstance(open_default_cache(keyring=no_keyring), MemoryCache)
    assert "chmod 700" in caplog.text


def test_a_folder_that_was_told_and_cannot_be_used_is_an_error(
    no_keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    told = tmp_path / "file" / "cache"

    with pytest.raises(CacheError, match="cannot be made"):
        open_default_cache(told, keyring=no_keyring)
    with pytest.raises(CacheError, match="cannot be made"):
        describe_cache(told, keyring=no_keyring)
    monkeypatch.setenv("ECROSS_CACHE_DIR", str(told))
    with pytest.raises(CacheError, match="cannot be made"):
        open_default_cache(keyring=no_keyring)


def test_a_cache_in_a_work_tree_is_warned_of(no_keyring: Keyring, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()

    with pytest.warns(GitExposureWarning, match="lies in the git work tree"):
        FileCache(tmp_path / "cache", keyring=no_keyring)

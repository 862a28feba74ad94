import os
import pickle
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecross import FileCache as PublicFileCache
from ecross import GitExposureWarning as PublicWarning
from ecross._keyring import Keyring
from ecross._private_files import GitExposureWarning
from ecross._private_files.systems import Posix
from ecross._token_cache import (
    FileCache,
    KeyPlace,
    TokenCache,
)
from ecross._token_cache.entries import MAX_ENTRY_BYTES, CorruptEntryError, open_entry, seal_entry
from ecross._token_cache.keys import CacheKey
from ecross.errors import CacheError

AUTH_URL = "https://auth.example.test"
CLIENT_ID = "acme-abcdefghijklm"
ENTRY = b'{"token":"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.made.up","expires_at":1800000000}'
KEY = CacheKey(bytes(range(32)), KeyPlace.MEMORY, None)
PROCESSES = 8

FIRST_USE = """
import os, sys
from pathlib import Path
import keyring
from ecross._token_cache import FileCache
start_reader, start_writer = os.pipe()
for _ in range(int(sys.argv[2])):
    if os.fork() == 0:
        os.close(start_writer)
        os.read(start_reader, 1)  # ends for all at once, when the parent closes it
        key = FileCache(Path(sys.argv[1]))._keys.get()
        os.write(1, f"{key.key_id.hex()} {key.place}\\n".encode())
        os._exit(0)
os.close(start_writer)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(directory: Path, no_keyring: Keyring) -> FileCache:
    """A cache whose key is in a file."""
    return FileCache(directory, keyring=no_keyring)


@pytest.fixture
def kept(cache: FileCache) -> FileCache:
    """It, with an entry."""
    cache.write(AUTH_URL, CLIENT_ID, ENTRY)
    return cache


def entry_file(directory: Path) -> Path:
    (found,) = directory.glob("*.token")
    return found


def names(directory: Path) -> set[str]:
    return {path.suffix or path.name for path in directory.iterdir()}


def test_what_is_written_is_read_by_every_cache_of_that_folder(kept: FileCache, no_keyring: Keyring) -> None:
    other: TokenCache = FileCache(str(kept.directory), keyring=no_keyring)

    assert other.read(AUTH_URL, CLIENT_ID) == ENTRY
    other.write(AUTH_URL, CLIENT_ID, b"renewed")
    assert kept.read(AUTH_URL, CLIENT_ID) == b"renewed"
    other.remove(AUTH_URL, CLIENT_ID)
    other.remove(AUTH_URL, CLIENT_ID)
    assert kept.read(AUTH_URL, CLIENT_ID) is None


def test_it_is_public_and_its_name_tells_its_folder(cache: FileCache, directory: Path) -> None:
    assert PublicFileCache is FileCache
    assert PublicWarning is GitExposureWarning
    assert repr(cache) == f"FileCache('{directory}')"


def test_every_file_is_0600_in_a_folder_of_0700_and_neither_name_nor_content_tells_anything(kept: FileCache) -> None:
    lock = kept.try_lock(AUTH_URL, CLIENT_ID)
    assert lock is not None

    modes = kept.describe().modes
    assert modes.pop(".") == "0700"
    assert set(modes.values()) == {"0600"}
    assert {name.rpartition(".")[2] for name in modes} == {"key", "token", "lock"}
    for name in modes:
        assert "acme" not in name
        content = (kept.directory / name).read_bytes()
        assert not any(told in content for told in (b"eyJ", b"acme", b"example", b"made.up"))
    lock.release()


def test_each_client_at_each_endpoint_has_its_own_entry(kept: FileCache) -> None:
    kept.write(AUTH_URL, "another", b"another's")
    kept.write("https://auth.other.test", CLIENT_ID, b"at another")

    assert kept.read(AUTH_URL, CLIENT_ID) == ENTRY
    assert kept.read(AUTH_URL, "another") == b"another's"
    assert kept.read("https://auth.other.test", CLIENT_ID) == b"at another"


def test_where_the_endpoint_ends_and_the_client_begins_makes_a_difference(cache: FileCache) -> None:
    cache.write("https://a", "bc", ENTRY)

    assert cache.read("https://ab", "c") is None
    with pytest.raises(CorruptEntryError):
        open_entry(seal_entry(ENTRY, KEY, "https://a", "bc"), KEY, "https://ab", "c")


def test_an_entry_copied_over_that_of_another_client_is_refused_and_set_aside(kept: FileCache) -> None:
    ours = entry_file(kept.directory)
    content = ours.read_bytes()
    kept.write(AUTH_URL, "another", b"another's")
    (theirs,) = set(kept.directory.glob("*.token")) - {ours}
    theirs.write_bytes(content)

    assert kept.read(AUTH_URL, "another") is None

    assert theirs.with_name(f"{theirs.name}.corrupt").read_bytes() == content
    assert not theirs.exists()
    assert kept.read(AUTH_URL, CLIENT_ID) == ENTRY


@given(place=st.integers(0, len(seal_entry(ENTRY, KEY, AUTH_URL, CLIENT_ID)) - 1), mask=st.integers(1, 255))
def test_any_change_of_any_byte_is_found(place: int, mask: int) -> None:
    sealed = bytearray(seal_entry(ENTRY, KEY, AUTH_URL, CLIENT_ID))
    sealed[place] ^= mask

    with pytest.raises(CorruptEntryError):
        open_entry(bytes(sealed), KEY, AUTH_URL, CLIENT_ID)


@given(data=st.data(), junk=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_a_file_of_whatever_content_is_no_entry_and_no_error(kept: FileCache, data: Any, junk: bytes) -> None:
    kept.write(AUTH_URL, CLIENT_ID, ENTRY)
    file = entry_file(kept.directory)
    whole = file.read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(st.sampled_from([whole[:cut], whole[:cut] + junk, whole + b"\0", junk]))
    file.write_bytes(damaged)

    assert kept.read(AUTH_URL, CLIENT_ID) in ({ENTRY} if damaged == whole else {None})


def test_at_most_one_corrupt_file_is_kept_for_an_entry(kept: FileCache) -> None:
    for content in (b"first", b"second"):
        kept.write(AUTH_URL, CLIENT_ID, ENTRY)
        entry_file(kept.directory).write_bytes(content)
        assert kept.read(AUTH_URL, CLIENT_ID) is None

    (corrupt,) = kept.directory.glob("*.corrupt")
    assert corrupt.read_bytes() == b"second"


def test_a_file_beyond_64_kib_is_corrupt_and_an_entry_as_large_is_not_kept(kept: FileCache) -> None:
    entry_file(kept.directory).write_bytes(b"x" * (MAX_ENTRY_BYTES + 1))

    assert kept.read(AUTH_URL, CLIENT_ID) is None
    with pytest.raises(CacheError, match="too large"):
        kept.write(AUTH_URL, CLIENT_ID, b"x" * MAX_ENTRY_BYTES)
    largest = b"x" * (MAX_ENTRY_BYTES - 43)
    kept.write(AUTH_URL, CLIENT_ID, largest)
    assert kept.read(AUTH_URL, CLIENT_ID) == largest


@pytest.mark.parametrize("fault", ["link", "loose", "folder"])
def test_an_entry_that_is_not_its_users_alone_is_set_aside_unread(kept: FileCache, tmp_path: Path, fault: str) -> None:
    file = entry_file(kept.directory)
    if fault == "loose":
        file.chmod(0o644)
    elif fault == "link":
        shutil.copy2(file, tmp_path / "target")
        file.unlink()
        file.symlink_to(tmp_path / "target")
    else:
        file.unlink()
        file.mkdir()

    assert kept.read(AUTH_URL, CLIENT_ID) is None
    kept.write(AUTH_URL, CLIENT_ID, b"renewed")
    assert kept.read(AUTH_URL, CLIENT_ID) == b"renewed"
    assert fault != "link" or (tmp_path / "target").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_entry_of_another_user_is_set_aside_unread(kept: FileCache) -> None:
    os.chown(entry_file(kept.directory), 1234, 1234)

    assert kept.read(AUTH_URL, CLIENT_ID) is None


def test_an_entry_that_cannot_be_opened_for_want_of_descriptors_stays(kept: FileCache) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(CacheError, match="cannot be read: Too many open files"):
            kept.read(AUTH_URL, CLIENT_ID)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert kept.read(AUTH_URL, CLIENT_ID) == ENTRY


def test_the_right_to_renew_has_one_holder(kept: FileCache, no_keyring: Keyring) -> None:
    other = FileCache(kept.directory, keyring=no_keyring)
    held = kept.try_lock(AUTH_URL, CLIENT_ID)
    assert held is not None

    assert other.try_lock(AUTH_URL, CLIENT_ID) is None
    assert other.try_lock(AUTH_URL, "another") is not None
    held.release()
    assert other.try_lock(AUTH_URL, CLIENT_ID) is not None


@pytest.mark.parametrize("place", ["keyring", "key file"])
def test_processes_that_come_first_at_once_make_one_key(
    directory: Path,
    shared_keyring: tuple[dict[str, str], Path],
    spawn: Callable[..., subprocess.Popen[str]],
    place: str,
) -> None:
    environment, keyring_file = shared_keyring
    if place == "key file":
        environment = environment | {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}

    told, _ = spawn(FIRST_USE, directory, PROCESSES, environment=environment).communicate()

    keys = told.splitlines()
    assert len(keys) == PROCESSES
    assert len(set(keys)) == 1
    assert keys[0].endswith(f" {place}")
    assert (directory / "key").exists() is (place == "key file")
    assert keyring_file.exists() is (place == "keyring")


def test_a_process_without_the_keyring_leaves_the_entry_of_one_that_has_it_alone(
    directory: Path, keyring: Keyring, no_keyring: Keyring
) -> None:
    with_keyring, without = FileCache(directory, keyring=keyring), FileCache(directory, keyring=no_keyring)
    with_keyring.write(AUTH_URL, CLIENT_ID, b"of the session")

    assert without.read(AUTH_URL, CLIENT_ID) is None
    without.write(AUTH_URL, CLIENT_ID, b"of the cron job")

    assert with_keyring.read(AUTH_URL, CLIENT_ID) == b"of the session"
    assert without.read(AUTH_URL, CLIENT_ID) == b"of the cron job"
    assert FileCache(directory, keyring=keyring).describe().place is KeyPlace.KEYRING
    without.remove(AUTH_URL, CLIENT_ID)
    assert with_keyring.read(AUTH_URL, CLIENT_ID) == b"of the session"
    # They take turns nevertheless.
    lock = with_keyring.try_lock(AUTH_URL, CLIENT_ID)
    assert lock is not None
    assert without.try_lock(AUTH_URL, CLIENT_ID) is None


def test_an_entry_under_a_key_that_nobody_has_any_more_is_removed_when_its_token_must_have_expired(
    kept: FileCache,
) -> None:
    old = entry_file(kept.directory)
    (kept.directory / "key").unlink()
    kept.write(AUTH_URL, CLIENT_ID, b"under a new key")
    assert old.exists()

    long_ago = time.time() - 3 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    kept.write(AUTH_URL, CLIENT_ID, b"under a new key")

    assert not old.exists()
    assert kept.read(AUTH_URL, CLIENT_ID) == b"under a new key"


def test_with_a_keyring_no_key_lies_beside_the_entries(directory: Path, keyring: Keyring, store: Any) -> None:
    cache = FileCache(directory, keyring=keyring)
    cache.write(AUTH_URL, CLIENT_ID, ENTRY)

    assert cache.read(AUTH_URL, CLIENT_ID) == ENTRY
    assert names(directory) == {".lock", ".token"}
    assert store.calls < 10  # asked at first, not at each access


@pytest.mark.parametrize("kind", ["lying_store", "failing_store", "changing_store", "hanging_store"])
def test_a_keyring_that_cannot_be_relied_on_leaves_the_key_in_a_file(
    directory: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    store = request.getfixturevalue(kind)
    cache = FileCache(directory, keyring=Keyring(lambda: store, deadline_seconds=0.1))

    cache.write(AUTH_URL, CLIENT_ID, ENTRY)

    calls = store.calls
    assert cache.read(AUTH_URL, CLIENT_ID) == ENTRY
    assert store.calls == calls  # not asked again
    described = cache.describe()
    assert described.place is KeyPlace.KEY_FILE
    assert described.why_not_better is not None
    assert (directory / "key").stat().st_size == 32


@pytest.mark.parametrize("held", ["no base64!", "c2hvcnQ="])
def test_what_somebody_else_keeps_under_the_name_in_the_keyring_is_left_alone(
    directory: Path, keyring: Keyring, store: Any, held: str
) -> None:
    store.content["ecross", f"cache key of {directory}"] = held

    described = FileCache(directory, keyring=keyring).describe()

    assert described.place is KeyPlace.KEY_FILE
    assert described.why_not_better == "The keyring holds something else under the name of the cache's key."
    assert set(store.content.values()) == {held}


def test_a_key_that_another_process_made_meanwhile_is_taken(directory: Path, store: Any) -> None:
    class SlowStore(type(store)):  # type: ignore[misc]  # the class of a fixture
        """Another process is always a moment faster."""

        def get_password(self, service: str, username: str) -> str | None:
            found: str | None = super().get_password(service, username)
            self.content.setdefault((service, username), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
            return found

    slow = SlowStore()
    cache = FileCache(directory, keyring=Keyring(lambda: slow))

    assert cache._keys.get().secret == bytes(32)


def test_a_cache_can_be_opened_while_another_process_makes_the_key(kept: FileCache, no_keyring: Keyring) -> None:
    with kept._folder.locked("key.lock"):
        assert FileCache(kept.directory, keyring=no_keyring).read(AUTH_URL, CLIENT_ID) == ENTRY


def test_a_key_file_that_another_process_made_meanwhile_is_taken(directory: Path, no_keyring: Keyring) -> None:
    class Racing(Posix):
        """A system on which another process makes the key just before this one has the lock."""

        def file_fault(self, path: Path, status: os.stat_result) -> str | None:
            if path.name == "key.lock" and not (directory / "key").exists():
                (directory / "key").touch(0o600)
                (directory / "key").write_bytes(bytes(32))
            return super().file_fault(path, status)

    cache = FileCache(directory, keyring=no_keyring, system=Racing(os.geteuid()))
    (directory / "key").unlink()

    assert cache._keys.get().secret == bytes(32)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_damaged_key_file_is_set_aside_and_the_token_fetched_again(kept: FileCache, content: bytes) -> None:
    (kept.directory / "key").write_bytes(content)

    assert kept.read(AUTH_URL, CLIENT_ID) is None
    kept.write(AUTH_URL, CLIENT_ID, ENTRY)

    assert kept.read(AUTH_URL, CLIENT_ID) == ENTRY
    assert (kept.directory / "key.corrupt").read_bytes() == content


@pytest.mark.parametrize("fault", ["loose", "link"])
def test_a_key_file_that_others_may_know_is_an_error_that_says_what_to_do(
    kept: FileCache, no_keyring: Keyring, tmp_path: Path, fault: str
) -> None:
    key = kept.directory / "key"
    if fault == "loose":
        key.chmod(0o644)
    else:
        key.rename(tmp_path / "elsewhere")
        key.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(CacheError, match="remove it, a new one will be made"):
        kept.read(AUTH_URL, CLIENT_ID)
    with pytest.raises(CacheError):
        FileCache(kept.directory, keyring=no_keyring)


@pytest.mark.parametrize("fault", ["loose", "link", "file"])
def test_a_folder_that_is_not_its_users_alone_is_an_error_that_says_what_to_do(
    directory: Path, no_keyring: Keyring, tmp_path: Path, fault: str
) -> None:
    if fault == "loose":
        directory.mkdir()
        directory.chmod(0o755)
    elif fault == "link":
        (tmp_path / "real").mkdir(0o700)
        directory.symlink_to(tmp_path / "real")
    else:
        directory.touch()

    with pytest.raises(CacheError, match=r"chmod 700|is a link|cannot be made"):
        FileCache(directory, keyring=no_keyring)


def test_a_folder_that_is_cleared_while_it_is_used_is_made_again(kept: FileCache) -> None:
    shutil.rmtree(kept.directory)

    lock = kept.try_lock(AUTH_URL, CLIENT_ID)
    kept.write(AUTH_URL, CLIENT_ID, ENTRY)

    assert lock is not None
    assert kept.read(AUTH_URL, CLIENT_ID) == ENTRY


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_two_users_do_not_share_a_cache(kept: FileCache, tmp_path: Path) -> None:
    script = """if True:
        import os, sys
        from pathlib import Path
        from ecross._token_cache import FileCache
        from ecross.errors import CacheError
        os.setgid(1234)
        os.setuid(1234)
        try:
            FileCache(Path(sys.argv[1]))
        except CacheError as error:
            print(error)
    """
    for parent in (tmp_path, *tmp_path.parents[:-2]):
        if parent.owner() == "root" and parent.name.startswith(("pytest", "popen", "test_")):
            parent.chmod(0o755)

    run = subprocess.run([sys.executable, "-c", script, kept.directory], check=True, capture_output=True, text=True)

    assert "belongs to another user (uid 0)" in run.stdout or "Permission denied" in run.stdout


def test_the_description_says_where_the_key_is_and_whom_that_keeps_out(
    cache: FileCache, directory: Path, keyring: Keyring
) -> None:
    in_file = cache.describe()
    assert in_file.place == "key file"
    assert in_file.directory == directory
    assert in_file.why_not_better == "The extra ecross[keyring] is not installed."
    assert "same user" in in_file.does_not_protect_against

    in_keyring = FileCache(directory, keyring=keyring).describe()
    assert in_keyring.place == "keyring"
    assert in_keyring.why_not_better is None
    assert "Programs of the same user" in in_keyring.does_not_protect_against


def test_no_key_shows_in_a_repr_or_leaves_in_a_pickle(kept: FileCache) -> None:
    key = kept._keys.get()

    assert repr(key.secret)[2:-1] not in repr(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)
    copy = pickle.loads(pickle.dumps(kept))  # noqa: S301 - our own bytes
    assert copy.directory == kept.directory
    assert copy.read(AUTH_URL, CLIENT_ID) == ENTRY


def test_the_clock_of_a_process_has_no_say_in_what_is_kept(kept: FileCache) -> None:
    long_ago = 1_000_000_000
    os.utime(entry_file(kept.directory), (long_ago, long_ago))

    assert kept.read(AUTH_URL, CLIENT_ID) == ENTRY

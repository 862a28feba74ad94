import pickle
import subprocess
import sys
import threading

import pytest

from ecross._token_cache import Lock, MemoryCache

AUTH_URL = "https://auth.example.test"
CLIENT_ID = "acme-abcdefghijklm"


def test_an_entry_is_given_back_until_it_is_removed() -> None:
    cache = MemoryCache()
    assert cache.read(AUTH_URL, CLIENT_ID) is None

    cache.write(AUTH_URL, CLIENT_ID, b"one")
    cache.write(AUTH_URL, CLIENT_ID, b"two")
    assert cache.read(AUTH_URL, CLIENT_ID) == b"two"
    assert cache.read(AUTH_URL, "other-abcdefghijklm") is None

    cache.remove(AUTH_URL, CLIENT_ID)
    cache.remove(AUTH_URL, CLIENT_ID)
    assert cache.read(AUTH_URL, CLIENT_ID) is None


def test_one_of_many_threads_gets_the_lock() -> None:
    cache = MemoryCache()
    start = threading.Barrier(20)
    got: list[Lock | None] = []

    def ask() -> None:
        start.wait()
        got.append(cache.try_lock(AUTH_URL, CLIENT_ID))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(got) == 20
    assert sum(lock is not None for lock in got) == 1


def test_a_lock_is_free_after_its_release_and_its_own_alone() -> None:
    cache = MemoryCache()
    first = cache.try_lock(AUTH_URL, CLIENT_ID)
    assert first is not None
    assert cache.try_lock(AUTH_URL, "other-abcdefghijklm") is not None
    first.release()

    second = cache.try_lock(AUTH_URL, CLIENT_ID)
    assert second is not None
    first.release()  # again: without effect on who has it now
    assert cache.try_lock(AUTH_URL, CLIENT_ID) is None


def test_a_forked_child_finds_its_parents_entries_and_all_locks_free() -> None:
    program = f"""
import os
from ecross._token_cache import MemoryCache
cache = MemoryCache()
cache.write({AUTH_URL!r}, {CLIENT_ID!r}, b"entry")
held = cache.try_lock({AUTH_URL!r}, {CLIENT_ID!r})
child = os.fork()
if child == 0:
    has_entry = cache.read({AUTH_URL!r}, {CLIENT_ID!r}) == b"entry"
    os._exit(0 if has_entry and cache.try_lock({AUTH_URL!r}, {CLIENT_ID!r}) is not None else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert cache.try_lock({AUTH_URL!r}, {CLIENT_ID!r}) is None
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_nothing_that_it_keeps_is_shown_or_leaves_the_process() -> None:
    cache = MemoryCache()
    cache.write(AUTH_URL, CLIENT_ID, b"secret")

    assert repr(cache) == "MemoryCache(entries=1)"
    with pytest.raises(TypeError, match="neither copied nor pickled"):
        pickle.dumps(cache)

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ecross_server.kit.recently_seen import RecentlySeen


def test_what_was_remembered_is_found_and_nothing_else() -> None:
    seen: RecentlySeen[str] = RecentlySeen()
    seen.remember(b"a", "A")
    assert (seen.find(b"a"), seen.find(b"b"), len(seen)) == ("A", None, 1)


def test_what_is_used_outlives_what_is_not() -> None:
    seen: RecentlySeen[int] = RecentlySeen(generation_size=2)
    seen.remember(b"used", 0)
    for number in range(1, 20):
        seen.remember(b"%d" % number, number)
        assert seen.find(b"used") == 0
    assert seen.find(b"1") is None


@given(st.lists(st.binary(max_size=2)), st.integers(1, 5))
def test_it_never_grows_beyond_two_generations_and_never_lies(digests: list[bytes], size: int) -> None:
    seen: RecentlySeen[bytes] = RecentlySeen(size)
    for digest in digests:
        assert seen.find(digest) in {None, digest}
        seen.remember(digest, digest)
        assert seen.find(digest) == digest
        assert len(seen) <= 2 * size

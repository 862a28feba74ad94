from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecross_server.kit import sealed_streams
from ecross_server.kit.errors import ConflictError
from ecross_server.kit.sealed_streams import CHUNK_BYTES, MAGIC, SALT_BYTES, TAG_BYTES, NotOpenedError
from ecross_server.kit.sealed_streams import OpeningReader as Reader
from ecross_server.kit.sealed_streams import SealingWriter as Writer

COST = sealed_streams.SCRYPT_COST  # before the fixture below makes guesses cheap for the tests
PASSPHRASE = b"correct horse battery staple"
HEADER = len(MAGIC) + SALT_BYTES
SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 5]


@pytest.fixture(autouse=True)
def _cheap_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_streams, "SCRYPT_COST", 16)


def seal(content: bytes, passphrase: bytes = PASSPHRASE, piece: int = 10_000) -> bytes:
    out = io.BytesIO()
    writer = Writer(out, passphrase)
    for start in range(0, len(content), piece):
        assert writer.write(content[start : start + piece]) == len(content[start : start + piece])
    writer.finish()
    return out.getvalue()


def unseal(sealed: bytes, passphrase: bytes = PASSPHRASE, piece: int = 7000) -> bytes:
    reader = Reader(io.BytesIO(sealed), passphrase)
    return b"".join(iter(lambda: reader.read(piece), b""))


def content_of(size: int) -> bytes:
    return bytes(number % 251 for number in range(size))


@pytest.mark.parametrize("size", SIZES)
def test_what_was_sealed_is_opened(size: int) -> None:
    sealed = seal(content_of(size))
    assert unseal(sealed) == content_of(size)
    assert len(sealed) == HEADER + size + TAG_BYTES * max(1, -(-size // CHUNK_BYTES))
    if size > 50:  # fewer bytes may be there by chance
        assert content_of(size)[:50] not in sealed


@pytest.mark.parametrize("size", SIZES)
def test_another_passphrase_opens_nothing(size: int) -> None:
    with pytest.raises(NotOpenedError, match="another passphrase's") as caught:
        unseal(seal(content_of(size)), PASSPHRASE + b"!")
    assert isinstance(caught.value, ConflictError)


@given(size=st.sampled_from(SIZES), at=st.integers(min_value=0), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=60)
def test_one_changed_bit_is_noticed(size: int, at: int, bit: int) -> None:
    sealed = bytearray(seal(content_of(size)))
    sealed[at % len(sealed)] ^= 1 << bit
    with pytest.raises(NotOpenedError):
        unseal(bytes(sealed))


@given(size=st.sampled_from(SIZES), keep=st.integers(min_value=0))
@settings(deadline=None, max_examples=60)
def test_a_cut_end_is_noticed(size: int, keep: int) -> None:
    sealed = seal(content_of(size))
    with pytest.raises(NotOpenedError):
        unseal(sealed[: keep % len(sealed)])


def test_a_cut_between_two_chunks_is_noticed() -> None:
    sealed = seal(content_of(3 * CHUNK_BYTES))
    for chunks in (0, 1, 2):
        with pytest.raises(NotOpenedError):
            unseal(sealed[: HEADER + chunks * SEALED_CHUNK])


def test_chunks_cannot_be_exchanged_repeated_or_added() -> None:
    sealed = seal(content_of(3 * CHUNK_BYTES))
    header, chunks = sealed[:HEADER], [sealed[HEADER + n * SEALED_CHUNK :][:SEALED_CHUNK] for n in range(3)]
    first, second, last = chunks
    other = seal(content_of(3 * CHUNK_BYTES))[HEADER:][:SEALED_CHUNK]
    for forged in (
        [second, first, last], [first, first, last], [first, last], [first, second, last, b"more"],
        [other, second, last], [first, second, last, last],
    ):  # fmt: skip
        with pytest.raises(NotOpenedError):
            unseal(header + b"".join(forged))


def test_the_same_content_never_looks_the_same() -> None:
    assert seal(b"same")[HEADER:] != seal(b"same")[HEADER:]


def test_guesses_are_dear() -> None:
    assert COST == 2**17

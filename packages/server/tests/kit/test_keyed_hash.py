from __future__ import annotations

import hmac
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecross_server.kit.keyed_hash import KeyedHash


@given(st.binary(min_size=1, max_size=200), st.lists(st.binary(max_size=300), max_size=3))
def test_it_is_hmac_sha256_for_keys_and_messages_of_every_length(key: bytes, messages: list[bytes]) -> None:
    keyed = KeyedHash(key)
    for message in messages:
        assert keyed.digest(message) == hmac.digest(key, message, "sha256")


def test_a_key_shows_itself_nowhere_and_is_not_pickled() -> None:
    keyed = KeyedHash(b"hunter2" * 5)
    assert "hunter2" not in repr(keyed)
    with pytest.raises(TypeError):
        pickle.dumps(keyed)

from __future__ import annotations

import re
import string
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ecross_server.kit.identifiers import BASE32, BASE62, base62, random_hex, random_text


def test_the_alphabets_hold_each_of_their_characters_once() -> None:
    assert sorted(BASE32) == sorted(string.ascii_lowercase + "234567")
    assert sorted(BASE62) == sorted(string.ascii_letters + string.digits)


def test_random_text_has_its_length_and_uses_the_whole_alphabet() -> None:
    assert random_text(0, BASE32) == ""
    text = random_text(20_000, BASE32)
    assert len(text) == 20_000
    assert set(text) == set(BASE32)
    # 625 each are expected, with a standard deviation of 25.
    assert all(425 < text.count(character) < 825 for character in BASE32)


def test_random_text_does_not_repeat() -> None:
    assert len({random_text(13, BASE32) for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize(("number", "text"), [(0, "000"), (61, "00z"), (62, "010"), (62**3 - 1, "zzz")])
def test_base62_counts_in_its_alphabet_and_pads_with_zeros(number: int, text: str) -> None:
    assert base62(number, 3) == text


@examples(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_crc_fits_in_six_characters(number: int) -> None:
    text = base62(number, 6)
    assert len(text) == 6
    value = 0
    for character in text:
        value = value * 62 + BASE62.index(character)
    assert value == number


def test_random_hex_is_128_bits_and_does_not_repeat() -> None:
    given_out = [random_hex() for _ in range(1_000)]
    assert len(set(given_out)) == 1_000
    assert all(re.fullmatch("[0-9a-f]{32}", digits) for digits in given_out)


FORKING = """
import os
from ecross_server.kit.identifiers import random_hex
random_hex()
pid = os.fork()
ids = [random_hex() for _ in range(200)]
if pid:
    os.waitpid(pid, 0)  # what both print at once may be mixed
print(*ids, flush=True)
os._exit(0)
"""


def test_a_forked_process_gives_other_ids_than_its_parent() -> None:
    ended = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, check=True, timeout=60)
    given_out = ended.stdout.split()
    assert len(given_out) == 400
    assert len(set(given_out)) == 400

"""Random identifiers from the operating system's generator, in alphabets that people can read out and paste."""

from __future__ import annotations

import os
import secrets

BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def random_text(length: int, alphabet: str) -> str:
    """Text of so many characters, each drawn evenly from the alphabet; unguessable."""
    return "".join(secrets.choice(alphabet) for _ in range(length))


def base62(number: int, length: int) -> str:
    """A non-negative number in base 62, padded with zeros to the length."""
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits


_pool: list[str] = []
# A forked process would give the same ids as its parent.
os.register_at_fork(after_in_child=_pool.clear)


def random_hex() -> str:
    """32 hexadecimal digits that are given once (128 bits).

    Drawn from the operating system for many at once: a call for each would cost more than all else of an id.
    """
    try:
        return _pool.pop()
    except IndexError:
        digits = os.urandom(4096).hex()
        _pool.extend(digits[at : at + 32] for at in range(32, len(digits), 32))
        return digits[:32]

"""Random identifiers from the operating system's generator, in alphabets that people can read out and paste."""

from __future__ import annotations

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

"""What comes of looking whether something is in order."""

from __future__ import annotations

from typing import NamedTuple


class Check(NamedTuple):
    """One thing that was looked at: `ok`, `warning` or `failed`, and what to do about it."""

    name: str
    status: str
    detail: str
    fix: str | None

"""The console's files for browsers, under names that change with their content: kept for a year, never stale."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

PATH: Final = "/console/static/"
FOLDER: Final = Path(__file__).parent / "static"
MEDIA_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
DIGITS: Final = 16


class Asset(NamedTuple):
    """A file, and the name under which it is to be had."""

    path: str
    media_type: str
    content: bytes


@functools.cache
def list_assets() -> Mapping[str, Asset]:
    """All of them by their last names, such as `console.0123456789abcdef.css`."""
    found = {}
    for file in sorted(FOLDER.iterdir()):
        if file.suffix in MEDIA_TYPES:
            content = file.read_bytes()
            name = f"{file.stem}.{hashlib.sha256(content).hexdigest()[:DIGITS]}{file.suffix}"
            found[name] = Asset(PATH + name, MEDIA_TYPES[file.suffix], content)
    return found


def asset_path(file_name: str) -> str:
    """Where a page finds the file."""
    stem, _, suffix = file_name.partition(".")
    return next(
        asset.path
        for name, asset in list_assets().items()
        if name.startswith(f"{stem}.") and name.endswith(f".{suffix}")
    )

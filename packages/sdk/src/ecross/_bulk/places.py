"""What has to be known of a sync before there is one: light, as every client loads it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

Source = str | os.PathLike[str] | IO[str] | IO[bytes] | Iterable[object]
"""A path, an open file, or an iterable of the API's objects."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose catalog it is: of which server, by which client id. `directory` is `None` where nothing may be kept."""

    directory: Path | None
    url: str
    client_id: str

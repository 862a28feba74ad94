"""Where the operating system wants a user's files."""

import os
from collections.abc import Callable
from pathlib import Path


def folder_of_user(find: Callable[[], Path]) -> Path | None:
    """The folder that `find`, of platformdirs, gives; `None` where the user has no home.

    Nobody's home is made, which root could do: a container without one would get a hidden folder in its layers.
    """
    try:
        path = find()
    except RuntimeError:
        return None
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises where there is none
    if not path.is_absolute() or (path.is_relative_to(home) and not os.path.isdir(home)):  # noqa: PTH112 - Path.is_dir raises for a home not ours
        return None
    return path

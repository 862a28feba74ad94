"""A warning before a secret file is committed by accident."""

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

DEADLINE_SECONDS: Final = 5.0

_warned: Final[set[Path]] = set()
_guard = threading.Lock()


class GitExposureWarning(UserWarning):
    """A file of secrets lies in a git work tree that does not ignore it: the next `git add .` would take it."""


def warn_if_git_may_take(path: Path, environ: Mapping[str, str] | None = None) -> None:
    """Warn, once for each path in a process, if the file would lie in a git work tree that does not ignore it.

    Where git cannot be asked it is taken that it does not.
    """
    real = Path(os.path.realpath(path.parent)) / path.name  # Path.resolve raises for links in a circle
    with _guard:
        if real in _warned:
            return
        _warned.add(real)
    tree = _work_tree(real)
    if tree is None or is_ignored(real, tree, os.environ if environ is None else environ):
        return
    warnings.warn(
        f"{real} lies in the git work tree {tree}, which does not ignore it. Move it out, or add it to .gitignore.",
        GitExposureWarning,
        stacklevel=2,
    )


def is_ignored(
    path: Path, tree: Path, environ: Mapping[str, str], *, deadline_seconds: float = DEADLINE_SECONDS
) -> bool:
    """Whether git says that it ignores the path; `False` where it says nothing within some seconds.

    The work tree may be a stranger's, whose configuration must not run a command: nothing of git that runs one is
    touched (no index and so no monitor, no hook, no fetch), and no variable of the caller's redirects it.
    """
    git = find_git(environ)
    if git is None:
        return False
    kept = {name: value for name, value in environ.items() if not name.upper().startswith("GIT_")}
    command = [
        git, "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "core.untrackedCache=false",
        "check-ignore", "--quiet", "--no-index", "--", str(path),
    ]  # fmt: skip
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}
    try:
        asked = subprocess.run(  # noqa: S603 - no shell; an absolute program, and the path follows "--"
            command,
            cwd=tree,
            env={**kept, **quiet},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=deadline_seconds,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return asked.returncode == 0


def find_git(environ: Mapping[str, str], program: str = "git.exe" if sys.platform == "win32" else "git") -> str | None:
    """The program on the search path, its relative folders left out: they would lead into the work tree."""
    for folder in environ.get("PATH", "").split(os.pathsep):
        found = Path(folder) / program
        # Not Path.is_file: it raises where another user's folder is on the path.
        if found.is_absolute() and os.path.isfile(found) and os.access(found, os.X_OK):  # noqa: PTH113 - see above
            return str(found)
    return None


def _work_tree(path: Path) -> Path | None:
    for parent in path.parents:
        if os.path.lexists(parent / ".git"):  # a folder, or the file of a linked work tree
            return parent
    return None

"""The command `ecross`, before and after all that it imports."""

import contextlib
import gc
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

USAGE: Final = 2
OUTPUT_CLOSED: Final = 5
INTERRUPTED: Final = 130
EXTRA: Final = frozenset({"rich", "typer"})


def main() -> None:
    """Run the command line; ends the process with the exit code that `ecross --help` lists."""
    if sys.stderr is None:  # closed by the caller; the next file that is opened must not become what is written to
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    if sys.stdout is None:
        sys.stderr.write("error: Standard output is closed, so no result could be printed.\n")
        sys.exit(OUTPUT_CLOSED)
    # What a locale cannot show is written out, instead of ending the command after its work is done.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # it is a TextIOWrapper
    warnings.showwarning = _show_warning  # type: ignore[assignment] # it ignores where the warning came from
    code = run(sys.argv[1:])
    _drop_what_cannot_be_written()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    try:
        try:
            with collector_off():
                from ecross.cli.commands import run_command
        except ModuleNotFoundError as error:
            if error.name not in EXTRA:
                raise
            sys.stderr.write("error: The command ecross needs its extra. Install it with: pip install 'ecross[cli]'\n")
            return USAGE
        return run_command(arguments)
    except KeyboardInterrupt:  # before Typer could see to it
        return INTERRUPTED


def _drop_what_cannot_be_written() -> None:
    """It was told of already; Python would try once more, say so in its own way, and end with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """For imports: nothing of what they make is garbage, and to look for some takes its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _show_warning(message: Warning | str, *_: object) -> None:
    """A warning as a sentence for people, without the line of code that gave it."""
    from ecross.cli.output import plain, warn

    warn(f"warning: {plain(str(message))}")

"""The command `ecross-server`, before and after all that it imports."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

OUTPUT_CLOSED: Final = 5
INTERRUPTED: Final = 130


def main() -> None:
    """Run the command line; ends the process with the exit code that `ecross-server --help` lists."""
    if sys.stderr is None:  # closed by the caller; the next file that is opened must not become what is written to
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    if sys.stdout is None:
        sys.stderr.write("error: Standard output is closed, so no result could be printed.\n")
        sys.exit(OUTPUT_CLOSED)
    # What a locale cannot show is written out, instead of ending the command after its work is done.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # it is a TextIOWrapper
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    try:
        with collector_off():
            from ecross_server.cli.commands import run_command
        return run_command(arguments)
    except KeyboardInterrupt:  # before Typer could see to it
        return INTERRUPTED


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """For imports: to look for garbage among what stays would cost a fifth of the start-up time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

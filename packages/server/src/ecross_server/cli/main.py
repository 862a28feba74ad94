"""The command `ecross-server`, before and after all that it imports."""

from __future__ import annotations

import _thread
import contextlib
import gc
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

OUTPUT_CLOSED: Final = 5
INTERRUPTED: Final = 130
MOMENT_SECONDS: Final = 0.01


def main() -> None:
    """Run the command line; ends the process with the exit code that `ecross-server --help` lists."""
    if sys.stderr is None:  # closed by the caller; the next file that is opened must not become what is written to
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    if sys.stdout is None:
        sys.stderr.write("error: Standard output is closed, so no result could be printed.\n")
        sys.exit(OUTPUT_CLOSED)
    # What a locale cannot show is written out, instead of ending the command after its work is done.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # it is a TextIOWrapper
    sys.unraisablehook = _interrupt_again
    code = run(sys.argv[1:])
    _drop_what_cannot_be_written()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    try:
        with collector_off():
            from ecross_server.cli.commands import run_command
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
    """For imports: to look for garbage among what stays would cost a fifth of the start-up time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _interrupt_again(ignored: UnraisableHookArgs) -> None:
    """An interrupt that came within a finalizer has ended nothing: it is raised once more, outside of it."""
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        # A moment later, for this is still within the finalizer.
        again = threading.Timer(MOMENT_SECONDS, _thread.interrupt_main)
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(ignored)

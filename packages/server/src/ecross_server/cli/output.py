"""What commands print: a table or sentences for people, or with `--json` the result alone, for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ecross_server.kit.errors import UnavailableError
from ecross_server.kit.logs import redact

if TYPE_CHECKING:
    from pydantic import BaseModel

AsJson = Annotated[bool, typer.Option("--json", help="Print the result alone, as JSON.")]

GAP: Final = "  "


class UnwritableOutputError(UnavailableError):
    """What was to be printed cannot be."""

    code = "unwritable_output"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The result cannot be printed: {reason}.")


def print_model(model: BaseModel) -> None:
    """Print a result as JSON with the wire's names."""
    print_json(model.model_dump(mode="json", by_alias=True))


def print_json(content: object) -> None:
    """Print a result as JSON. What could disturb a terminal is written out: names come from outside."""
    is_utf8 = sys.stdout.encoding.lower() == "utf-8"
    text = json.dumps(content, indent=2, ensure_ascii=not is_utf8)
    say("\n".join(line if line.isprintable() else _escaped(line) for line in text.split("\n")))


def _escaped(line: str) -> str:
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in line)


def say(text: str = "") -> None:
    """Print a sentence for people.

    Raises:
        BrokenPipeError: if its reader has gone.
        UnwritableOutputError: if the disk behind it is full, or the like.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnwritableOutputError(error.strerror or str(error)) from None


def warn(text: str) -> None:
    """Print a sentence for people beside the result."""
    sys.stderr.write(text + "\n")


def print_facts(facts: Mapping[str, str | None]) -> None:
    """Print names and values in two columns."""
    width = max(map(len, facts))
    for name, value in facts.items():
        say(f"{GAP}{name:<{width}}{GAP}{plain(value or '-')}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | None]], *, empty: str) -> None:
    """Print a table, or a sentence where there is nothing to show. Nothing is ever cut.

    On a terminal that is too narrow for it, each row is printed as a list of its values.
    """
    from rich.cells import cell_len

    lines = [columns, *([plain(cell or "-") for cell in row] for row in rows)]
    if len(lines) == 1:
        say(empty)
        return
    widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]
    is_terminal = sys.stdout.isatty()
    if is_terminal and sum(widths) + len(GAP) * (len(widths) - 1) > shutil.get_terminal_size().columns:
        for row in lines[1:]:
            print_facts(dict(zip((column.lower() for column in columns), row, strict=True)))
            say()
        return
    for number, line in enumerate(lines):
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        text = GAP.join(padded).rstrip()
        is_bold = number == 0 and is_terminal and not os.environ.get("NO_COLOR")
        say(f"\033[1m{text}\033[0m" if is_bold else text)


def print_error(code: str, message: str, *, as_json: bool, **details: Any) -> None:  # noqa: ANN401 - JSON is anything
    """Print why a command failed to standard error. A secret given in a wrong place is not repeated."""
    message = redact(message)
    if as_json:
        warn(json.dumps({"error": {"code": code, "message": message, **details}}))
    else:
        warn(f"error: {plain(message)}")


def shown(instant: datetime | None) -> str | None:
    """An instant for people: to the second, with its zone."""
    return None if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}Z"


def plain(text: str) -> str:
    """The text with what could disturb a terminal or a table written out."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )

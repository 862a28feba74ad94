"""What commands print: a table or sentences for people, or with `--json` the result alone, for programs."""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from ecross._auth.api_errors import SECRET_FORMS
from ecross.cli.failures import UnwritableOutputError

GAP: Final = "  "
HIDDEN: Final = "[hidden]"

_hidden: Final[set[str]] = set()


def hide(secret: str) -> None:
    """Let no message of this command show the secret."""
    _hidden.add(secret)


def forget_hidden() -> None:
    """Begin anew: another command, other secrets."""
    _hidden.clear()


def redact(text: str) -> str:
    """The text without hidden secrets, and without all that has the form of a secret or a token."""
    for secret in sorted(_hidden, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return SECRET_FORMS.sub(HIDDEN, text)


def print_json(content: object) -> None:
    """Print a result as JSON, in ASCII: some characters above it move the cursor of a terminal, too."""
    say(json.dumps(content, indent=2))


def say(text: str = "") -> None:
    """Print a line of the result.

    Raises:
        BrokenPipeError: if its reader has gone.
        UnwritableOutputError: if the disk behind it is full, or the like.
    """
    say_lines([text])


def say_lines(lines: Iterable[str]) -> None:
    """Print several lines, and make sure that they have left. Raises as `say`."""
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnwritableOutputError(error.strerror or str(error)) from None


def say_bytes(content: bytes) -> None:
    """Print bytes as they are. Raises as `say`."""
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
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


def plain(text: str) -> str:
    """The text with what could disturb a terminal or a table written out."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def plain_lines(text: str) -> str:
    """As `plain`, but with its lines and tabs."""
    return "\n".join("\t".join(map(plain, line.removesuffix("\r").split("\t"))) for line in text.split("\n"))


def exact_json(value: object) -> str:
    """JSON on one line with every number as it came: a `Decimal` keeps all its digits."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(name)}: {exact_json(member)}' for name, member in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(exact_json, value))}]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def rfc3339(instant: datetime) -> str:
    """An instant for programs: UTC, to the second."""
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def shown(instant: datetime | None) -> str | None:
    """An instant for people: to the second, in UTC."""
    return None if instant is None else f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def duration(seconds: float) -> str:
    """A length of time for people, in its two largest units."""
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s"))
    first = next((place for place, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2])

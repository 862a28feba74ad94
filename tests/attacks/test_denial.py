"""Input that is small to send and dear to read. What is bounded is how the work grows with the input, not how long it
takes: a machine may be slow, but four times the input must not take sixteen times the work.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import pkgutil
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ecross
import ecross_server
from ecross.jws import StrictJsonError, loads_strict
from ecross_server.auth.schemas import parse_token_request
from ecross_server.catalog.schemas import read_sku
from ecross_server.kit.clock import parse_instant
from ecross_server.kit.errors import InvalidInputError
from ecross_server.kit.logs import redact
from ecross_server.web.addresses import CallerAddresses
from ecross_server.web.answers import _accepts_problems

SMALL = 4 * 1024
LARGE = 4 * SMALL
STEEPEST = 8.0
"""Between 4, of work that grows as its input, and 16, of work that grows as its square."""
LONG_SECONDS = 0.1
"""So long a run needs no second one to be compared with."""
NOTHING_SECONDS = 0.002
"""Less is noise, and no denial: work that grows as the square takes hundreds of times as long on such input."""


def seconds(act: Callable[[], object], least: float = 0.0) -> float:
    """The least processor time of some runs; one is enough if it stays below `least`."""
    best = float("inf")
    for _ in range(5):
        began = time.thread_time()  # what others do on the machine does not count
        act()
        best = min(best, time.thread_time() - began)
        if best <= least or best > LONG_SECONDS:
            break
    return best


def grows_too_fast(act: Callable[[str], object], make: Callable[[int], str]) -> bool:
    """Whether the work grows much faster than the input. Small inputs come first: what is exponential shows in them."""
    for size in (24, 48, 256, SMALL):
        small, large = make(size), make(4 * size)
        if seconds(lambda text=large: act(text), NOTHING_SECONDS) <= NOTHING_SECONDS:  # type: ignore[misc]
            continue
        for _ in range(3):  # a busy machine may spoil a comparison, not three
            ratio = seconds(lambda text=large: act(text)) / seconds(lambda text=small: act(text))  # type: ignore[misc]
            if ratio < STEEPEST:
                break
        else:
            return True
    return False


def modules() -> Iterator[Any]:
    """All modules of both packages."""
    for package in (ecross, ecross_server):
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "versions" not in found.name and not found.name.endswith(("__main__", "migrations.env")):
                yield importlib.import_module(found.name)


def patterns() -> dict[str, re.Pattern[Any]]:
    """Every regular expression that stands in a module or a class of ours."""
    return {
        f"{pattern.pattern!r} {name}": pattern
        for module in modules()
        for holder in (module, *(held for held in vars(module).values() if isinstance(held, type)))
        for name, pattern in vars(holder).items()
        if isinstance(pattern, re.Pattern)
    }


PATTERNS = patterns()

UNITS = [
    "a", "A", "0", ".", "-", "_", " ", "\t", ";", ":", ",", "=", "/", "+", "\n", "\0", "ecs_", "ecs_a", "eyJ", "eyJa.",
    "eyJaaaaaaa",
    "eyJaaaaaaaa.", "0.", "0,", ";q=0", "; q=0.0", ";q=0 ", "application/problem+json", "application/problem+json;",
    "2024-01-01T00:00", "00:00", "a-", "-a", "a=", "a b", "\u00e9", "\u2028",
]  # fmt: skip
STARTS = [
    "",
    "a",
    "0",
    ";q=0",
    ";q=0.",
    "; ",
    "ecs_",
    "eyJaaaaaaaa",
    "application/problem+json",
    "2024-01-01T00:00:00.",
    "10",
    "ab-",
]
ENDS = ["", "!", "\0", "\n", "x", " ", "\u00e9"]


def evil_texts() -> Iterator[Callable[[int], str]]:
    for unit in UNITS:
        for start in STARTS:
            for end in ENDS:
                yield lambda size, start=start, unit=unit, end=end: start + unit * (size // len(unit)) + end  # type: ignore[misc]


OTHER_USES = {
    "SECRETS": "sub", "CONTROLS": "sub", "ACCEPTS_NOT": "search", "_ACCEPTS_NOT": "search", "_JOINED": "match",
    "_LINE_ENDS": "split", "_LINE_NUMBER": "search", "_UNFIT": "search", "_SEPARATORS": "split",
    "SECRET_FORMS": "sub", "_FORBIDDEN": "search", "_READ_DIFFERENTLY": "search", "LATIN": "search",
    "WORD_CHARACTERS": "findall", "_BETWEEN_IMAGES": "split", "PARAMETER": "sub",
    "SECRET_IN_BYTES": "finditer",
}  # fmt: skip
"""How else an expression of ours is used than with `fullmatch`."""


def uses_of(pattern: re.Pattern[Any], *ways: str) -> Callable[[str], object]:
    """Uses a regular expression in each of these ways."""

    def use(text: str) -> None:
        subject: Any = text.encode() if isinstance(pattern.pattern, bytes) else text
        for way in ways:
            found = getattr(pattern, way)(*([subject[:0]] if way == "sub" else []), subject)
            if way == "finditer":
                deque(found, maxlen=0)

    return use


def test_the_measure_finds_what_grows_too_fast() -> None:
    def spaces(size: int) -> str:
        return " " * size + "!"

    assert grows_too_fast(uses_of(re.compile(r"\s*x"), "search"), spaces)
    assert not grows_too_fast(uses_of(re.compile(r"\s*x"), "fullmatch"), spaces)
    exponential = re.compile(r"( | )*x")
    small, large = (seconds(lambda size=size: exponential.fullmatch(spaces(size))) for size in (6, 18))  # type: ignore[misc]
    assert large > STEEPEST * small


def test_expressions_are_used_in_the_ways_that_are_measured() -> None:
    used = {
        (name, way)
        for package in (ecross, ecross_server)
        for path in Path(package.__path__[0]).rglob("*.py")
        for name, way in re.findall(r"\b([A-Z_]+)\.(match|search|sub|subn|split|findall|finditer)\(", path.read_text())
    }
    assert used == set(OTHER_USES.items())
    inline = re.compile(r"\bre\.(?!compile|Pattern|Match|IGNORECASE|DOTALL|ASCII|escape)[a-z]+\(")
    for package in (ecross, ecross_server):
        for path in Path(package.__path__[0]).rglob("*.py"):
            assert not inline.search(path.read_text()), path


def test_the_expressions_are_found() -> None:
    names = {name.rpartition(" ")[2] for name in PATTERNS}
    assert {"SECRETS", "CONTROLS", "INSTANT", "CLIENT_ID", "CLIENT_SECRET", "REQUEST_ID", "ACCEPTS_NOT"} <= names


@pytest.mark.parametrize("name", PATTERNS)
def test_no_expression_of_ours_grows_too_fast(name: str) -> None:
    use = uses_of(PATTERNS[name], "fullmatch", *filter(None, [OTHER_USES.get(name.rpartition(" ")[2])]))
    for make in evil_texts():
        assert not grows_too_fast(use, make), (PATTERNS[name].pattern, make(24))


def headers(name: bytes, text: str) -> Any:
    return {"headers": [(name, text.encode("latin-1", "replace"))], "client": ("127.0.0.1", 1), "method": "GET"}


READERS: dict[str, Callable[[str], object]] = {
    "an Accept header": lambda text: _accepts_problems(headers(b"accept", text)),
    "an X-Forwarded-For header": lambda text: CallerAddresses(["127.0.0.0/8"]).of(headers(b"x-forwarded-for", text)),
    "an instant": parse_instant,
    "a line of the log": redact,
    "JSON": lambda text: loads_strict(text.encode()),
    "a token request": lambda text: parse_token_request(text.encode()),
    "a SKU": lambda text: read_sku(text.encode()),
}

SHAPES: dict[str, Callable[[int], str]] = {
    "members": lambda size: "{" + ",".join(f'"{number:x}":0' for number in range(size // 8)) + "}",
    "equal members": lambda size: "{" + ",".join(['"a":0'] * (size // 6)) + "}",
    "members in escapes": lambda size: "{" + ",".join(f'"\\u0061{number:x}":0' for number in range(size // 14)) + "}",
    "long names": lambda size: "{" + ",".join(f'"{"a" * 200}{number}":0' for number in range(size // 210)) + "}",
    "lists": lambda size: "[" * size,
    "closed lists": lambda size: "[" * (size // 2) + "]" * (size // 2),
    "objects": lambda size: '{"a":' * (size // 5),
    "flat lists": lambda size: "[" + "[]," * (size // 3) + "0]",
    "numbers": lambda size: "[" + "1," * (size // 2) + "1]",
    "one number": lambda size: "1" * size,
    "one fraction": lambda size: "0." + "1" * size,
    "one exponent": lambda size: "1e" + "1" * size,
    "a string": lambda size: '"' + "a" * size + '"',
    "an open string": lambda size: '"' + "\\" * size,
    "escapes": lambda size: '"' + "\\u0061" * (size // 6) + '"',
    "surrogates": lambda size: '"' + "\\ud800" * (size // 6) + '"',
    "pairs": lambda size: '"' + "\\ud83d\\ude00" * (size // 12) + '"',
    "white space": lambda size: " " * size + "x",
    "lines": lambda size: "\n" * size + "x",
    "a token request with more": lambda size: json.dumps({"clientId": "a",
    "clientSecret": "b"} | {f"{n:x}": 0 for n in range(size // 12)}),
    "an overlong secret": lambda size: json.dumps({"clientId": "a", "clientSecret": "b" * size}),
    "images": lambda size: json.dumps({"skuId": "1", "productId": "1", "name": "n",
    "images": ["https://x"] * (size // 14)}),
    "addresses": lambda size: "127.0.0.1," * (size // 10),
    "addresses that are none": lambda size: "x, " * (size // 3),
    "media types": lambda size: "application/problem+json;q=0," * (size // 29),
    "parameters": lambda size: "application/problem+json" + ";q=0" * (size // 4) + "x",
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_of_ours_grows_too_fast(reader: str, shape: str) -> None:
    def read(text: str) -> None:
        with contextlib.suppress(InvalidInputError, StrictJsonError):
            READERS[reader](text)

    assert not grows_too_fast(read, SHAPES[shape])


def test_names_cannot_be_chosen_to_collide() -> None:
    # The hash of text is keyed anew in each process. Each takes the environment as the server would.
    show = [sys.executable, "-c", "print(hash('clientId'), hash(('client', 'acme')))"]
    shown = {subprocess.run(show, capture_output=True, check=True).stdout for _ in range(3)}
    assert len(shown) == 3

"""Structured logs on standard error: text on a terminal, JSON lines otherwise, and never a secret in either."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from select import PIPE_BUF
from typing import TYPE_CHECKING, Any, Literal, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

LogFormat = Literal["auto", "text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

REDACTED = "[redacted]"
# A client secret, the end of a hand-over's link, an operator's invitation or session, or anything that begins like a
# signed token: all but the last have shapes of ours, it has that of RFC 7515.
SECRETS = re.compile(r"(?:ecs|eho|eoi|eos)_[0-9A-Za-z]{8,}|eyJ[0-9A-Za-z_-]{8,}(?:\.[0-9A-Za-z_-]*)*")
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
TRACEBACK = "exception"
"""Where `format_exc_info` puts it."""


def redact(text: str) -> str:
    """The text with every client secret and token in it blotted out."""
    return SECRETS.sub(REDACTED, text)


def redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last guard before a line is written: nothing in it may carry a secret, whoever logged it, however deep."""
    return {redact(key): _redacted(value) for key, value in event.items()}


def _redacted(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {redact(str(key)): _redacted(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redacted(item) for item in value]
    return redact(value if isinstance(value, str) else repr(value))


def keep_on_one_line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For text: no value may begin a line that looks like another event, nor command the terminal.

    JSON escapes all of this by itself. A traceback keeps its lines, indented, which those of events never are.
    """
    shown = {_escaped(key): _escaped(value if isinstance(value, str) else repr(value)) for key, value in event.items()}
    if TRACEBACK in event:
        shown[TRACEBACK] = "\n".join(f"  {_escaped(line)}" for line in str(event[TRACEBACK]).split("\n"))
    return shown


def _escaped(text: str) -> str:
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class LostLines:
    """How many lines this process could not write."""

    def __init__(self) -> None:
        self.count = 0


lost_lines = LostLines()


class LineWriter:
    """Writes whole lines, each at once. Where that fails, a full disk or a closed pipe, they are counted as lost.

    Lines go to the descriptor itself: what a stream could not write it would keep, and try again at the worst moments.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        self._is_cut = False
        try:
            self._descriptor: int | None = stream.fileno()
        except (OSError, ValueError):  # one in memory
            self._descriptor = None

    def write(self, line: str) -> None:
        """Write a line, which ends as one, or several that belong together."""
        if self._descriptor is None:
            self._stream.write(line)
            self._stream.flush()
            return
        # After half a line, the next one begins anew.
        content = ("\n" * self._is_cut + line).encode(self._encoding, "backslashreplace")
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            lost_lines.count += min(bytes(rest).count(b"\n"), line.count("\n"))
            written = len(content) - len(rest)
            self._is_cut = content[written - 1 : written] != b"\n" if written else self._is_cut
        else:
            self._is_cut = False

    def flush(self) -> None:
        """Nothing is kept back."""


class RequestLog:
    """Writes the one line that is logged of each request.

    As JSON it is put together by hand: the general way costs more than issuing a token, see docs/decisions/0012.
    """

    def __init__(self) -> None:
        self._write: Callable[[str], object] | None = None
        self._call_soon: Callable[[Callable[[], None]], object] | None = None
        self._lines: list[str] = []
        self._size = 0
        self._is_on = True
        self._second = 0
        self._shown_second = ""

    def configure(self, write: Callable[[str], object] | None, *, is_on: bool) -> None:
        """Write JSON lines with the function, or without one leave them to the general way."""
        self.flush()
        self._write = write
        self._is_on = is_on

    def gather(self, call_soon: Callable[[Callable[[], None]], object] | None) -> None:
        """Write the JSON lines of one turn of an event loop together, by a call after it; with `None` each at once.

        No more is written at a time than stays together in a pipe: lines of several processes do not mix.
        """
        self.flush()
        self._call_soon = call_soon

    def flush(self) -> None:
        """Write what was gathered."""
        lines, self._lines, self._size = self._lines, [], 0
        if lines and self._write is not None:
            self._write("".join(lines))

    def info(
        self,
        *,
        method: str,
        path: str,
        status: int,
        outcome: str,
        reason: str | None,
        client_id: str | None,
        request_id: str,
        duration_ms: float,
    ) -> None:
        """Log a request. `outcome`, `reason`, `client_id` and `request_id` hold nothing that JSON would escape."""
        if not self._is_on:
            return
        if self._write is None:
            why = {} if reason is None else {"reason": reason}
            log.info(
                "request", method=method, path=path, status=status, outcome=outcome, **why,
                client_id=client_id, request_id=request_id, duration_ms=round(duration_ms, 3),
            )  # fmt: skip
            return
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            self._shown_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        because = "" if reason is None else f'"reason": "{reason}", '
        client = "null" if client_id is None else f'"{client_id}"'
        line = (
            f'{{"method": {_quoted(method)}, "path": {_quoted(path)}, "status": {status}, "outcome": "{outcome}", '
            f'{because}"client_id": {client}, "request_id": "{request_id}", "duration_ms": {duration_ms:.3f}, '
            f'"event": "request", "level": "info", "at": "{self._shown_second}.{int(now % 1 * 1_000_000):06d}Z"}}\n'
        )
        line = SECRETS.sub(REDACTED, line)
        if self._call_soon is None:
            self._write(line)
            return
        if not self._lines:
            self._call_soon(self.flush)
        elif self._size + len(line) > PIPE_BUF:
            self.flush()
        self._lines.append(line)
        self._size += len(line)  # all of it is ASCII


request_log = RequestLog()
"""This process's; `configure_logs` sets it up."""

# Few paths and methods make up nearly all requests.
_quoted = functools.lru_cache(maxsize=512)(json.dumps)

log = structlog.get_logger("ecross_server.requests")


def configure_logs(log_format: LogFormat, level: LogLevel, stream: TextIO | None = None) -> None:
    """Set up logs for this process: our own events and those of libraries alike."""
    stream = stream or sys.stderr
    writer = LineWriter(stream)
    as_text = log_format == "text" or (log_format == "auto" and stream.isatty())
    threshold = getattr(logging, level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    last: list[structlog.typing.Processor] = [
        # A plain traceback in one text: local variables may hold secrets, and the guard below reads text.
        structlog.processors.format_exc_info,
        redact_event,
        *([keep_on_one_line] if as_text else []),
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if as_text
        else structlog.processors.JSONRenderer(),
    ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(writer),  # type: ignore[arg-type] # only writes and flushes
        cache_logger_on_first_use=False,
    )
    request_log.configure(None if as_text else writer.write, is_on=threshold <= logging.INFO)
    # A call whose arguments do not fit its text is lost; the standard library would print it with all of them.
    logging.raiseExceptions = False
    handler = logging.StreamHandler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)

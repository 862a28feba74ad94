from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from select import PIPE_BUF
from typing import Any, NoReturn, TextIO

import pytest
import structlog
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ecross_server.kit.logs import LineWriter, LogFormat, LogLevel, configure_logs, lost_lines, redact, request_log

SECRET = "ecs_" + "aB3" * 16 + "Z"
INVITATION, SESSION = "eoi_" + "aB3" * 14 + "Z", "eos_" + "aB3" * 14 + "Z"
TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhY21lIn0.c2lnbmF0dXJl-_"
FORMATS: list[LogFormat] = ["text", "json"]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    root.handlers = []
    configuration = structlog.get_config()
    lost = lost_lines.count
    yield
    lost_lines.count = lost
    structlog.configure(**configuration)
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raises


def configured(log_format: LogFormat, level: LogLevel = "debug", stream: io.StringIO | None = None) -> io.StringIO:
    stream = stream or io.StringIO()
    configure_logs(log_format, level, stream)
    return stream


def logger() -> Any:
    return structlog.get_logger("test")


def raise_(error: Exception) -> NoReturn:
    raise error


@dataclass(frozen=True)
class Holder:
    """Shows the text in its repr."""

    text: str


def test_json_logs_are_one_object_a_line_with_level_and_time() -> None:
    stream = configured("json")
    logger().info("request", status=200, client_id=None, rate=0.5, ok=True)
    logger().warning("second")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first.pop("at"))
    assert first == {"event": "request", "status": 200, "client_id": None, "rate": 0.5, "ok": True, "level": "info"}
    assert second["level"] == "warning"


def test_text_logs_are_a_line_for_people() -> None:
    stream = configured("text")
    logger().info("request", status=200, path="/ext/merchant/skus", name="Ärmel")
    (line,) = stream.getvalue().splitlines()
    for part in ("request", "status=200", "path=/ext/merchant/skus", "name=Ärmel", "info"):
        assert part in line
    assert "\x1b" not in line


def test_the_format_follows_the_stream_unless_it_is_named() -> None:
    on_terminal, in_file = configured("auto", stream=Terminal()), io.StringIO()
    logger().info("request", status=200)
    assert not on_terminal.getvalue().startswith("{")
    configured("auto", stream=in_file)
    logger().info("request", status=200)
    assert json.loads(in_file.getvalue())["status"] == 200
    named = configured("json", stream=Terminal())
    logger().info("request", status=200)
    assert json.loads(named.getvalue())["status"] == 200


def test_logs_go_to_standard_error_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "info")
    logger().info("request")
    written = capsys.readouterr()
    assert written.out == ""
    assert json.loads(written.err)["event"] == "request"


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_lines_below_the_level_are_left_out(level: LogLevel, seen: list[str]) -> None:
    stream = configured("json", level)
    for name in ("debug", "info", "warning", "error"):
        getattr(logger(), name)("event")
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == seen


def test_libraries_are_heard_from_warning_on_and_in_the_same_form() -> None:
    stream = configured("json", "debug")
    library = logging.getLogger("some.library")
    library.info("chatter")
    library.warning("took %d ms", 7)
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "took 7 ms"
    assert json.loads(line)["level"] == "warning"
    stream = configured("json", "error")
    library.warning("no more")
    assert stream.getvalue() == ""


def test_what_is_bound_to_the_context_is_on_every_line() -> None:
    stream = configured("json")
    structlog.contextvars.bind_contextvars(request_id="r-1", token=TOKEN)
    logger().info("one")
    logging.getLogger("some.library").warning("two")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["request_id"], line["token"]) for line in lines] == [
        ("one", "r-1", "[redacted]"),
        ("two", "r-1", "[redacted]"),
    ]


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("secret", [SECRET, TOKEN])
def test_no_field_brings_a_secret_out(log_format: LogFormat, secret: str) -> None:
    stream = configured(log_format)
    fields: dict[str, Any] = {
        "plain": secret, "inside": f"before {secret} after", "adjacent": f"x{secret}", "as_bytes": secret.encode(),
        "in_list": [secret, [secret]], "in_tuple": (secret,), "in_set": {secret}, "in_frozen_set": frozenset({secret}),
        "as_key": {secret: 1}, "as_value": {"k": {"k": secret}}, "in_object": Holder(secret),
        "in_error": ValueError(secret), "in_type": type(secret, (), {}), "quoted": json.dumps({"clientSecret": secret}),
        secret: "as field",
    }  # fmt: skip
    logger().info("event", **fields)
    logger().info(f"event {secret}")
    logger().bind(bound=secret).warning("event")
    written = stream.getvalue()
    assert secret not in written
    assert secret[:12] not in written
    assert secret[-12:] not in written
    assert written.count("[redacted]") >= len(fields) + 2


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("secret", [SECRET, TOKEN])
def test_no_logged_exception_brings_a_secret_out(log_format: LogFormat, secret: str) -> None:
    stream = configured(log_format)

    def fail(client_secret: str) -> None:
        try:
            raise_(KeyError(client_secret))
        except KeyError as error:
            error.add_note(f"note {client_secret}")
            raise RuntimeError(f"wrong: {client_secret}") from error

    for log in (logger().exception, logging.getLogger("some.library").exception):
        try:
            fail(secret)
        except RuntimeError:
            log("failed")
    written = stream.getvalue()
    assert written.count("RuntimeError: wrong: [redacted]") == 2
    assert written.count("KeyError: '[redacted]'") == 2
    assert secret[:12] not in written
    assert secret[-12:] not in written


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("secret", [SECRET, TOKEN])
def test_no_line_of_a_library_brings_a_secret_out(
    log_format: LogFormat, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = configured(log_format)
    library = logging.getLogger("some.library")
    library.warning("secret %s", secret)
    library.warning("secret %(s)r", {"s": [secret]})
    library.warning(secret, extra={"more": secret}, stack_info=True)
    library.error("does not fit %d", secret)
    library.error("too many", secret)
    written = stream.getvalue() + "".join(capsys.readouterr())
    assert "[redacted]" in written
    assert secret[:12] not in written
    assert secret[-12:] not in written


@pytest.mark.parametrize(
    "text", ["\x0e" + "cs_AAAAAAAAAAAA", "îcs_AAAAAAAAAAAA", "\x0e" + "yJAAAAAAAAAAAA", f"\n{SECRET}\\"]
)
def test_redacting_never_breaks_a_json_line(text: str) -> None:
    stream = configured("json")
    logger().info("event", text=text)
    assert json.loads(stream.getvalue())["text"] == redact(text)


@examples(max_examples=100, deadline=None)
@given(st.text(), st.text(), st.sampled_from([SECRET, TOKEN, INVITATION, SESSION]))
def test_a_secret_between_any_texts_is_blotted_out(before: str, after: str, secret: str) -> None:
    assert secret not in redact(before + secret + after)


@pytest.mark.parametrize("text", ["", "ecs_", "acme-abcdefghijklm", "eyJ", "processes_running", "/ext/merchant/skus"])
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


FORGED = "x\r\n2026-01-01T00:00:00Z [info] forged\x1b[2J\x85\u2028end\x00\x7f\x9b"


@pytest.mark.parametrize("log_format", FORMATS)
def test_no_value_can_forge_a_line_or_command_the_terminal(log_format: LogFormat) -> None:
    stream = configured(log_format)
    logger().info(FORGED, path=FORGED, nested=[FORGED], shown=Holder(FORGED))
    logging.getLogger("some.library").warning("path %s", FORGED)
    written = stream.getvalue()
    assert written.count("\n") == 2
    assert "forged" in written
    assert [character for character in written if not character.isprintable()] == ["\n", "\n"]


def test_a_value_with_unpaired_surrogates_can_be_written() -> None:
    stream = configured("text")
    logger().info("event", path="\ud800")
    stream.getvalue().encode()
    assert "path=\\ud800" in stream.getvalue()


def test_a_field_name_can_forge_no_line() -> None:
    stream = configured("text")
    logger().info("event", **{"a\nforged": 1})
    assert stream.getvalue().count("\n") == 1


def test_an_exceptions_text_can_forge_no_line() -> None:
    stream = configured("text")
    try:
        raise_(ValueError(FORGED))
    except ValueError:
        logger().exception("failed")
    first, *others = stream.getvalue().rstrip("\n").split("\n")
    assert "failed" in first
    assert any("forged" in line for line in others)
    assert all(line.startswith("  ") for line in others)
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_an_exception_is_one_text_in_json() -> None:
    stream = configured("json")
    try:
        raise_(ValueError(FORGED))
    except ValueError:
        logger().exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["exception"].startswith("Traceback (most recent call last):")


def test_a_terminal_gets_colors_and_still_no_commands_of_others() -> None:
    stream = configured("auto", stream=Terminal())
    logger().info("request", path="\x1b[2J")
    assert "\x1b[0m" in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()


REQUEST_FACTS = st.fixed_dictionaries({
    "method": st.one_of(st.just("GET"), st.text(max_size=20), st.just(TOKEN)),
    "path": st.one_of(st.text(max_size=40), st.just(f"/{SECRET}"), st.just(f"/{TOKEN}/x")),
    "status": st.integers(0, 599),
    "outcome": st.just("ok"),
    "reason": st.sampled_from([None, "expired", "revoked"]),
    "client_id": st.sampled_from([None, "acme-abcdefghijklm"]),
    "request_id": st.sampled_from(["mine-1", SECRET, TOKEN]),
    "duration_ms": st.floats(0, 100_000).map(lambda duration: round(duration, 3)),
})  # fmt: skip


class TestRequestLines:
    @examples(max_examples=100, deadline=None)
    @given(REQUEST_FACTS)
    def test_the_one_written_by_hand_says_what_the_general_way_says(self, facts: dict[str, Any]) -> None:
        stream = configured("json", "info")
        request_log.info(**facts)
        logger().info("request", **{name: value for name, value in facts.items() if (name, value) != ("reason", None)})
        by_hand, general = stream.getvalue().splitlines()
        said, expected = json.loads(by_hand), json.loads(general)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", said["at"])
        assert said.pop("at")[:11] == expected.pop("at")[:11]
        assert said == expected
        assert SECRET not in by_hand
        assert TOKEN not in by_hand

    @pytest.mark.parametrize("log_format", FORMATS)
    def test_there_are_none_above_their_level(self, log_format: LogFormat) -> None:
        stream = configured(log_format, "warning")
        log_one()
        assert stream.getvalue() == ""

    def test_as_text_they_go_the_general_way(self) -> None:
        stream = configured("text", "info")
        log_one(path="/a\nb", reason="expired")
        log_one()
        first, second = stream.getvalue().splitlines()
        assert "a\\nb" in first
        assert "expired" in first
        assert "reason" not in second

    def test_a_line_is_written_out_at_once(self) -> None:
        class Recorder(io.StringIO):
            flushed = 0

            def flush(self) -> None:
                self.flushed += 1

        stream = Recorder()
        configured("json", "info", stream)
        log_one()
        log_one()
        assert stream.flushed == 2

    @pytest.mark.parametrize("log_format", FORMATS)
    def test_one_that_cannot_be_written_is_counted_and_breaks_nothing(self, log_format: LogFormat) -> None:
        before = lost_lines.count
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            configure_logs(log_format, "info", full)
            log_one()
            logger().info("event")
            logging.getLogger("library").warning("event")
        assert lost_lines.count == before + 3

    def test_one_on_a_closed_stream_is_lost_too(self) -> None:
        reading, writing = os.pipe()
        before = lost_lines.count
        with os.fdopen(writing, "w", encoding="ascii") as stream:
            configure_logs("json", "info", stream)
            os.close(reading)
            log_one()
        log_one()
        assert lost_lines.count == before + 2

    def test_after_half_a_line_the_next_begins_anew(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with os.fdopen(writing, "w", encoding="ascii") as stream:
            configure_logs("json", "info", stream)
            before = lost_lines.count
            while lost_lines.count == before:
                log_one("/" + "x" * 5000)
            log_one("/lost/whole")
            assert lost_lines.count == before + 2
            with os.fdopen(reading, "rb") as pipe:
                os.set_blocking(reading, False)
                assert not pipe.read().endswith(b"\n")
                log_one("/found")
                log_one("/again")
                first, *others = pipe.read().decode().split("\n")
        assert first == ""
        assert [json.loads(line)["path"] for line in others if line] == ["/found", "/again"]

    def test_what_the_stream_cannot_spell_is_written_out(self) -> None:
        reading, writing = os.pipe()
        with os.fdopen(writing, "w", encoding="ascii") as stream:
            configure_logs("text", "info", stream)
            logger().info("\N{SNOWMAN}")
        with os.fdopen(reading, "rb") as pipe:
            assert b"\\u2603" in pipe.read()


class TestGatheredLines:
    @pytest.fixture
    def pipe(self) -> Iterator[tuple[int, TextIO]]:
        """The log, and where it can be read."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        with os.fdopen(writing, "w", encoding="ascii") as stream:
            configure_logs("json", "info", stream)
            yield reading, stream
            request_log.gather(None)
        os.close(reading)

    @pytest.fixture
    def turns(self, pipe: tuple[int, TextIO]) -> list[Callable[[], None]]:
        """What the loop is to call after the present turn."""
        del pipe
        calls: list[Callable[[], None]] = []
        request_log.gather(calls.append)
        return calls

    def paths(self, reading: int) -> list[str]:
        try:
            return [json.loads(line)["path"] for line in os.read(reading, 1 << 20).splitlines()]
        except BlockingIOError:
            return []

    def test_those_of_one_turn_are_written_together_after_it(
        self, pipe: tuple[int, TextIO], turns: list[Callable[[], None]]
    ) -> None:
        for turn in (["/a", "/b", "/c"], ["/d"]):
            for path in turn:
                log_one(path)
            assert self.paths(pipe[0]) == []
            [write] = turns
            turns.clear()
            write()
            assert self.paths(pipe[0]) == turn

    def test_no_more_is_written_at_once_than_stays_together_in_a_pipe(
        self, pipe: tuple[int, TextIO], turns: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written: list[bytes] = []
        write = os.write

        def note_and_write(to: int, content: memoryview) -> int:
            written.append(bytes(content))
            return write(to, content)

        monkeypatch.setattr(os, "write", note_and_write)
        for number in range(40):
            log_one(f"/{number}" + "x" * 100)
        log_one("/long" + "x" * PIPE_BUF)
        log_one("/last")
        [last] = turns
        last()
        monkeypatch.undo()
        assert len(self.paths(pipe[0])) == 42
        assert all(content.endswith(b"}\n") for content in written)
        assert 4 < len(written) < 12
        assert max(len(content) for content in written if b"/long" not in content) <= PIPE_BUF
        assert [content.count(b"\n") for content in written if b"/long" in content] == [1]

    @pytest.mark.parametrize("by", [lambda: request_log.gather(None), lambda: configure_logs("json", "info")])
    def test_none_is_forgotten_when_that_ends(
        self, pipe: tuple[int, TextIO], turns: list[Callable[[], None]], by: Callable[[], None]
    ) -> None:
        log_one("/a")
        by()
        assert self.paths(pipe[0]) == ["/a"]
        turns.pop()()  # finds nothing
        assert self.paths(pipe[0]) == []

    def test_each_that_cannot_be_written_is_counted_and_the_next_turn_begins_anew(
        self, pipe: tuple[int, TextIO], turns: list[Callable[[], None]]
    ) -> None:
        before = lost_lines.count
        told = 0
        while lost_lines.count == before:
            for _ in range(7):
                log_one("/" + "x" * 200)
            told += 7
            turns.pop()()
        kept = 0
        try:
            while content := os.read(pipe[0], 1 << 20):
                kept += content.count(b"\n")
        except BlockingIOError:
            pass
        assert kept + lost_lines.count - before == told
        log_one("/found")
        turns.pop()()
        assert os.read(pipe[0], 1 << 20).splitlines()[-1].startswith(b'{"method": "GET", "path": "/found"')

    def test_one_that_is_cut_off_at_the_end_of_a_line_leaves_no_empty_one(self) -> None:
        before = lost_lines.count
        read, write = os.pipe()
        with os.fdopen(write, "w", encoding="ascii") as stream:
            writer = LineWriter(stream)
            original = os.write

            def write_one_line(to: int, content: memoryview) -> int:
                if bytes(content).startswith(b"b"):
                    raise OSError
                return original(to, bytes(content)[:2])

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "write", write_one_line)
                writer.write("a\nb\n")
            writer.write("c\n")
        with os.fdopen(read, "rb") as pipe:
            assert pipe.read() == b"a\nc\n"
        assert lost_lines.count == before + 1


def log_one(path: str = "/", reason: str | None = None) -> None:
    request_log.info(
        method="GET", path=path, status=200, outcome="ok", reason=reason, client_id=None, request_id="1", duration_ms=1
    )

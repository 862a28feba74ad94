"""Text of strangers in answers and logs: it must neither end a line nor begin one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.attacks.conftest import StartWire, Wire

LINE = "GET /health/live HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n"
LAST = LINE.format("X-Request-Id: last").encode()

IDS = [
    "a%0d%0aSet-Cookie: x=1", "a\\r\\nSet-Cookie: x=1", "a\rSet-Cookie: x=1", "a\nSet-Cookie: x=1", "a\0b", "a b",
    "a\tb",
    "a\x0bb", "a\x85b", "a\u2028Set-Cookie: x=1", "a\u560d\u560aSet-Cookie: x=1", '"},{"event":"forged', "<script>",
    "a;b", "",
    "\u00e9", "x" * 129, "x" * 8000, "\x1b[2J", "${jndi:ldap://127.0.0.1/x}", "%s%n", "{0.__class__}",
]  # fmt: skip


@pytest.mark.parametrize("text", IDS)
def test_a_request_id_cannot_split_an_answer(wire: Wire, text: str) -> None:
    answers = wire.talk(LINE.format(f"X-Request-Id: {text}").encode() + LAST)
    head = answers.raw.partition(b"\r\n\r\n")[0]
    assert head.count(b"x-request-id") <= 1
    assert b"set-cookie" not in head.lower()
    assert text.encode() not in head or not text
    assert answers.statuses in ([200, 200], [400], [431])


@pytest.mark.parametrize("text", ["a", "A.b-c_d9", "x" * 128])
def test_a_good_one_comes_back(wire: Wire, text: str) -> None:
    assert wire.talk(LINE.format(f"X-Request-Id: {text}").encode() + LAST).request_ids == [text, "last"]


def test_two_of_them_are_none(wire: Wire) -> None:
    ids = wire.talk(LINE.format("X-Request-Id: a\r\nX-Request-Id: b").encode() + LAST).request_ids
    assert len(ids) == 2
    assert not {"a", "b"} & set(ids)


FORGED = '{"event": "request", "outcome": "forged"}'
TEXTS = [
    f"\n{FORGED}", f"\r\n{FORGED}\r\n", f"\r{FORGED}", f"\x85{FORGED}", f"\u2028{FORGED}", f"\u2029{FORGED}",
    f"\x0b{FORGED}",
    f"\x0c{FORGED}", f"\x1e{FORGED}", f"\0{FORGED}", f'", "outcome": "forged", "x": "{FORGED}',
    "\x1b[2J\x1b]0;forged\x07",
    "\x08" * 40 + FORGED, f"\ud800{FORGED}", f"%0a{FORGED}", f"\\n{FORGED}", f"\u202e{FORGED}", "{forged}",
    "%(forged)s", "%s" * 9,
]  # fmt: skip


def requests(text: str) -> Iterator[bytes]:
    """The text in every place that a stranger may fill."""
    percent = "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))
    for path in (f"/{percent}", f"/ext/{percent}", f"/token/{percent}", f"/health/live?{percent}={percent}"):
        yield f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: last\r\n\r\n".encode()
    # What a header cannot carry is sent as its nearest form.
    one_line = "".join(character if character.isprintable() else " " for character in text).encode("utf-8")
    for name in (b"X-Forwarded-For", b"X-Request-Id", b"User-Agent", b"Authorization", b"Host", b"Referer"):
        yield b"GET /ext/merchant/skus HTTP/1.1\r\n%b: %b\r\n\r\n" % (name, one_line)
    for client_id, secret in ((text, "x"), ("acme", text), (f"acme-aaaaaaaaaaaaa{text}", text)):
        body = json.dumps({"clientId": client_id, "clientSecret": secret}).encode()
        head = b"POST /token HTTP/1.1\r\nHost: x\r\nX-Request-Id: last\r\nContent-Type: application/json\r\n"
        yield b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def test_nothing_a_stranger_sends_begins_or_changes_a_line_of_the_log(wire: Wire) -> None:
    before = len(wire.log_lines())
    sent = 0
    for text in TEXTS:
        for request in requests(text):
            statuses = wire.talk(request, until=b"\r\n\r\n").statuses
            assert len(statuses) == 1
            sent += statuses[0] != 400 or b"POST /token" in request  # what is no HTTP is not logged
    written = wire.log_file.read_bytes().split(b"\n")[before:-1]
    events = [json.loads(line) for line in written]
    assert len([event for event in events if event["event"] == "request"]) >= sent
    for event in events:
        assert event["event"] in {"request", "Invalid HTTP request received."}
        assert event.get("outcome") != "forged"
        assert set(event) <= {
            "event", "level", "at", "method", "path", "status", "outcome", "reason", "client_id", "request_id",
            "duration_ms",
        }  # fmt: skip
    assert all(line.isascii() for line in written)


def test_nor_where_it_is_written_as_text(start_wire: StartWire) -> None:
    with start_wire(LOG_FORMAT="text") as wire:
        before = len(wire.log_file.read_bytes().split(b"\n"))
        for text in TEXTS[:8]:
            for request in requests(text):
                wire.talk(request, until=b"\r\n\r\n")
        lines = wire.log_file.read_bytes().split(b"\n")[before - 1 : -1]
    assert len(lines) > 8
    for line in lines:
        assert line.startswith((b"[info     ] request ", b"[warning  ] ")), line
        assert not set(line) & {*range(9), *range(11, 32), 127}
        for end in ("\x85", "\u2028", "\u2029"):
            assert end.encode() not in line

"""Requests that two readers may cut differently, on real sockets.

Each is followed by another request on the same connection, whose id is "last". What an attacker hid inside has the id
"smuggled": it must never be answered. A request that can be read in two ways is refused, and ends its connection.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.attacks.conftest import Wire

JSON = b"Content-Type: application/json\r\n"
LAST = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-Id: last\r\n\r\n"
INNER = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-Id: smuggled\r\n\r\n"
EMPTY = b"0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAAAA\r\n"


def post(headers: bytes, body: bytes, path: bytes = b"/token") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\nX-Request-Id: first\r\n%b%b\r\n%b" % (path, JSON, headers, body)


def get(line: bytes, headers: bytes = b"") -> bytes:
    return b"%b\r\nHost: x\r\nX-Request-Id: first\r\n%b\r\n" % (line, headers)


def length(number: int) -> bytes:
    return b"Content-Length: %d\r\n" % number


AMBIGUOUS = {
    "CL.TE": post(length(len(EMPTY + INNER)) + CHUNKED, EMPTY + INNER),
    "TE.CL": post(CHUNKED + length(4), b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)),
    "CL.TE with a length of nothing": post(length(0) + CHUNKED, EMPTY + INNER),
    "CL.TE in HTTP/1.0": post(length(3) + CHUNKED, EMPTY + INNER).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "two lengths": post(length(0) + length(len(INNER)), INNER),
    "two lengths, the other way round": post(length(len(INNER)) + length(0), INNER),
    "two lengths that agree": post(length(2) * 2, b"{}"),
    "a list of lengths": post(b"Content-Length: 0, %d\r\n" % len(INNER), INNER),
    "a length with a sign": post(b"Content-Length: +%d\r\n" % len(INNER), INNER),
    "a negative length": post(b"Content-Length: -1\r\n", INNER),
    "a length in hexadecimal": post(b"Content-Length: 0x2\r\n", INNER),
    "a length with a space in it": post(b"Content-Length: 0 9\r\n", INNER),
    "a length beyond 64 bits": post(b"Content-Length: 18446744073709551617\r\n", INNER),
    "an empty length": post(b"Content-Length:\r\n", INNER),
    "a length in other digits": post("Content-Length: \u0662\r\n".encode(), INNER),
    "chunked, identity": post(b"Transfer-Encoding: chunked, identity\r\n", EMPTY + INNER),
    "identity": post(b"Transfer-Encoding: identity\r\n", INNER),
    "identity and a length": post(b"Transfer-Encoding: identity\r\n" + length(len(INNER)), INNER),
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked\r\n", EMPTY + INNER),
    "chunked and identity apart": post(CHUNKED + b"Transfer-Encoding: identity\r\n", EMPTY + INNER),
    "xchunked": post(b"Transfer-Encoding: xchunked\r\n", EMPTY + INNER),
    "chunked in quotes": post(b'Transfer-Encoding: "chunked"\r\n', EMPTY + INNER),
    "chunked with a parameter": post(b"Transfer-Encoding: chunked;q=1\r\n", EMPTY + INNER),
    "chunked after a vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\n", EMPTY + INNER),
    "chunked after a NUL": post(b"Transfer-Encoding: \0chunked\r\n", EMPTY + INNER),
    "space before the colon": post(b"Transfer-Encoding : chunked\r\n" + length(5), EMPTY + INNER),
    "tab before the colon": post(b"Content-Length\t: 5\r\n", EMPTY + INNER),
    "space before the name": post(length(0) + b" Transfer-Encoding: chunked\r\n", EMPTY + INNER),
    "a folded encoding": post(b"Transfer-Encoding:\r\n chunked\r\n", EMPTY + INNER),
    "a folded length": post(b"Content-Length:\r\n %d\r\n" % len(INNER), INNER),
    "a name with a NUL": post(b"Content\0-Length: 5\r\n", INNER),
    "an empty name": post(b": x\r\n" + length(0), INNER),
    "a line without a colon": post(b"Transfer-Encoding chunked\r\n", EMPTY + INNER),
    "a bare LF ends a header": post(b"X: y\nContent-Length: 0\r\n", INNER),
    "a bare CR ends a header": post(b"X: y\rContent-Length: 0\r\n", INNER),
    "bare LFs alone": b"GET /health/live HTTP/1.1\nHost: x\nX-Request-Id: first\n\n" + INNER,
    "a bare LF ends the head": b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-Id: first\r\n\n" + INNER,
    "a bare LF ends a chunk's size": post(CHUNKED, b"2\n{}\r\n0\r\n\r\n" + INNER),
    "a bare LF in a chunk's extension": post(CHUNKED, b"2;x\n{}\r\n0\r\n\r\n" + INNER),
    "a bare LF ends a chunk": post(CHUNKED, b"2\r\n{}\n0\r\n\r\n" + INNER),
    "a chunk longer than said": post(CHUNKED, b"1\r\n{}\r\n0\r\n\r\n" + INNER),
    "a chunk's size with 0x": post(CHUNKED, b"0x2\r\n{}\r\n0\r\n\r\n" + INNER),
    "a chunk's size with a sign": post(CHUNKED, b"+2\r\n{}\r\n0\r\n\r\n" + INNER),
    "a negative chunk": post(CHUNKED, b"-2\r\n{}\r\n0\r\n\r\n" + INNER),
    "a chunk beyond 64 bits": post(CHUNKED, b"10000000000000002\r\n{}\r\n0\r\n\r\n" + INNER),
    "a chunk's size with a space": post(CHUNKED, b"2 \r\n{}\r\n0\r\n\r\n" + INNER),
    "no size at all": post(CHUNKED, b"\r\n{}\r\n0\r\n\r\n" + INNER),
    "a tab in the request line": get(b"GET\t/health/live\tHTTP/1.1") + INNER,
    "a bare CR in the request line": get(b"GET /health/live\rHTTP/1.1") + INNER,
    "a version of ours in small letters": get(b"GET /health/live http/1.1") + INNER,
    "HTTP/1.2": get(b"GET /health/live HTTP/1.2") + INNER,
    "HTTP/11": get(b"GET /health/live HTTP/11") + INNER,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER,
    "a NUL in the path": get(b"GET /health/live\0 HTTP/1.1") + INNER,
    "a NUL in a value": get(b"GET /health/live HTTP/1.1", b"X: a\0b\r\n") + INNER,
    "no path": get(b"GET  HTTP/1.1") + INNER,
    "a path without its slash": get(b"GET health/live HTTP/1.1") + INNER,
    "backslashes": get(b"GET \\ext\\merchant\\skus HTTP/1.1") + INNER,
    "bytes outside ASCII in the path": get("GET /ext/\u00fc HTTP/1.1".encode()) + INNER,
    "an address without a path": get(b"GET http://evil.test HTTP/1.1") + INNER,
    "CONNECT": get(b"CONNECT 127.0.0.1:22 HTTP/1.1") + INNER,
    "an unknown method": get(b"SMUGGLE /health/live HTTP/1.1") + INNER,
    "a method in small letters": get(b"get /health/live HTTP/1.1") + INNER,
    "a very long method": get(b"A" * 100_000 + b" /health/live HTTP/1.1") + INNER,
}

CLEAR = {
    "a body with GET": (get(b"GET /health/live HTTP/1.1", length(len(INNER))) + INNER, 200),
    "a body that nobody asked for": (post(length(len(INNER)), INNER, b"/health/live"), 405),
    "a body of a refused stranger": (post(length(len(INNER)), INNER, b"/ext/merchant/skus"), 401),
    "a body of another type": (post(length(len(INNER)), INNER).replace(JSON, b""), 415),
    "a body that is no JSON": (post(length(len(INNER)), INNER), 400),
    "a body in chunks": (post(CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)), 400),
    "a chunk's extension": (post(CHUNKED, b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)), 400),
    "identity, chunked": (post(b"Transfer-Encoding: identity, chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"), 400),
    "OPTIONS *": (get(b"OPTIONS * HTTP/1.1"), 404),
    "GET *": (get(b"GET * HTTP/1.1"), 404),
    "the address of another host": (get(b"GET http://evil.test/ext/merchant/skus HTTP/1.1"), 401),
    "an address with a user": (get(b"GET https://a:b@evil.test:99/ext/merchant/skus HTTP/1.1"), 401),
    "an address behind a slash": (get(b"GET /http://evil.test/health/live HTTP/1.1"), 404),
    "another Host": (get(b"GET /ext/merchant/skus HTTP/1.1", b"Host: evil.test\r\n"), 401),
    "no Host": (b"GET /health/live HTTP/1.1\r\nX-Request-Id: first\r\n\r\n", 200),
    "empty lines before": (b"\r\n\r\n" + get(b"GET /health/live HTTP/1.1"), 200),
    "a path that another header names": (
        get(b"GET / HTTP/1.1", b"X-Original-URL: /ext/merchant/skus\r\nX-Rewrite-URL: /ext/merchant/skus\r\n"), 404,
    ),
    "a method that another header names": (
        get(b"GET /token HTTP/1.1", b"X-HTTP-Method-Override: POST\r\nX-Method-Override: POST\r\n"), 405,
    ),
}  # fmt: skip

ENDING = {
    "Connection: close": (get(b"GET /health/live HTTP/1.1", b"Connection: close\r\n") + INNER, 200),
    "HTTP/1.0": (get(b"GET /health/live HTTP/1.0") + INNER, 200),
    "too large a body": (post(length(70_000), INNER), 413),
    "an offer of HTTP/2": (get(b"GET /health/live HTTP/1.1", UPGRADE) + INNER, 200),
    "an offer of a websocket": (
        get(b"GET /ext/merchant/skus HTTP/1.1", b"Connection: Upgrade\r\nUpgrade: websocket\r\n") + INNER, 401,
    ),
    "an offer of anything": (get(b"GET /health/live HTTP/1.1", b"Connection: upgrade\r\nUpgrade: x\r\n") + INNER, 200),
    "an offer with a body": (post(UPGRADE + length(len(INNER)), INNER), 400),
    "an offer with a body, private": (post(UPGRADE + length(len(INNER)), INNER, b"/ext/merchant/skus"), 401),
    "an offer with a body in chunks": (post(UPGRADE + CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)), 400),
    "CONNECT to a path": (get(b"CONNECT /ext/merchant/skus HTTP/1.1") + INNER, 401),
    "CONNECT with a body": (get(b"CONNECT /token HTTP/1.1", length(len(INNER))) + INNER, 405),
}  # fmt: skip


@pytest.mark.parametrize("attack", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection(wire: Wire, attack: str) -> None:
    answers = wire.talk(AMBIGUOUS[attack] + LAST)
    assert not answers.is_open
    assert "smuggled" not in answers.request_ids
    assert "last" not in answers.request_ids
    assert answers.statuses == [400] or attack == "CL.TE in HTTP/1.0"
    assert set(answers.statuses) <= {400}


@pytest.mark.parametrize("attack", CLEAR)
def test_what_can_be_read_in_one_way_gets_one_answer_and_the_next_request_its_own(wire: Wire, attack: str) -> None:
    sent, status = CLEAR[attack]
    answers = wire.talk(sent + LAST)
    assert answers.statuses == [status, 200]
    assert answers.request_ids == ["first", "last"]


@pytest.mark.parametrize("attack", ENDING)
@pytest.mark.parametrize("pieces", [1, 2])
def test_what_ends_the_connection_gets_one_answer_and_nothing_after_it_does(
    wire: Wire, attack: str, pieces: int
) -> None:
    sent, status = ENDING[attack]
    head, end, rest = sent.partition(b"\r\n\r\n")
    answers = wire.talk(sent + LAST) if pieces == 1 else wire.talk(head + end, rest + LAST)
    assert answers.statuses == [status]
    assert answers.request_ids == ["first"]
    assert not answers.is_open


def test_a_request_without_a_version_is_the_last(wire: Wire) -> None:
    answers = wire.talk(b"GET /health/live\r\n" + INNER + LAST)
    assert len(answers.statuses) == 1
    assert not {"smuggled", "last"} & set(answers.request_ids)
    assert not answers.is_open


@pytest.mark.parametrize("cut", [1, 7, 40, 64])
def test_where_packets_end_does_not_matter(wire: Wire, cut: int) -> None:
    sent, _ = CLEAR["a body in chunks"]
    assert wire.talk(sent[:cut], sent[cut:] + LAST).request_ids == ["first", "last"]
    assert wire.talk(AMBIGUOUS["CL.TE"][:cut], AMBIGUOUS["CL.TE"][cut:] + LAST).statuses == [400]
    head = post(UPGRADE + length(len(INNER)), b"")
    assert wire.talk(head[:cut], head[cut:], INNER, LAST).request_ids == ["first"]


def test_a_token_does_not_outlast_its_request_on_a_connection(wire: Wire) -> None:
    private = get(b"GET /ext/merchant/skus HTTP/1.1", wire.bearer)
    answers = wire.talk(private + get(b"GET /ext/merchant/skus HTTP/1.1") + private + LAST)
    assert answers.statuses == [200, 401, 200, 200]


@pytest.mark.parametrize("pieces", [1, 2])
def test_what_stands_behind_a_body_is_no_header(wire: Wire, pieces: int) -> None:
    head = post(CHUNKED, b"", b"/ext/merchant/skus")
    trailers = b"0\r\n" + wire.bearer + b"X-Request-Id: smuggled\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    answers = wire.talk(head + trailers + LAST) if pieces == 1 else wire.talk(head, trailers + LAST)
    assert answers.statuses == [401, 200]
    assert answers.request_ids == ["first", "last"]


def test_pipelined_answers_come_in_the_order_of_their_requests(wire: Wire) -> None:
    paths = [b"/ext/merchant/skus", b"/health/live", b"/nothing", b"/ext/nothing"] * 10
    bearer = wire.bearer
    requests = [
        b"GET %b HTTP/1.1\r\nHost: x\r\nX-Request-Id: %d\r\n%b\r\n" % (path, number, bearer)
        for number, path in enumerate(paths)
    ]
    answers = wire.talk(b"".join(requests) + LAST)
    assert answers.request_ids == [*map(str, range(len(paths))), "last"]
    assert answers.statuses == [200, 200, 404, 404] * 10 + [200]


def test_no_connection_gets_the_answer_of_another(wire: Wire) -> None:
    bearer = wire.bearer
    seen: list[list[str]] = [[] for _ in range(8)]

    def call(number: int) -> Callable[[], None]:
        def run() -> None:
            for turn in range(10):
                name = b"%d-%d" % (number, turn)
                attack = post(UPGRADE + length(len(INNER)), INNER) if turn % 2 else AMBIGUOUS["CL.TE"]
                wire.talk(attack)
                mine = b"GET /ext/merchant/skus HTTP/1.1\r\nHost: x\r\nX-Request-Id: %b\r\n%b\r\n" % (name, bearer)
                seen[number] += wire.talk(mine + LAST).request_ids

        return run

    threads = [threading.Thread(target=call(number)) for number in range(len(seen))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, ids in enumerate(seen):
        assert ids == [name for turn in range(10) for name in (f"{number}-{turn}", "last")]

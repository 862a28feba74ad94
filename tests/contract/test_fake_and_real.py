"""The fake server answers as the real one does: status, headers and body of every kind of request, on both its ways.

Compared is what an HTTP library can send. Bytes that are no request are compared in a few cases only: the fake's parser
is the standard library's, which takes more than the real server's, and no client sends such.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ecross.testing import _api, _script, forbidden, rate_limited, unauthorized
from ecross_server.auth.errors import RegistryStaleError
from ecross_server.merchants.rules import is_client_secret
from ecross_server.web.answers import MESSAGES

if TYPE_CHECKING:
    import httpx2

    from ecross.testing import FakeServer
    from tests.contract.conftest import Side

pytestmark = pytest.mark.measured

OPENAPI = Path(__file__).parents[2] / "docs/openapi.json"


class Case(NamedTuple):
    """A request. Names in `<>` stand for values of the server that it is sent to."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: str | bytes = ""


JSON = ("Content-Type", "application/json")
GOOD_BODY = '{"clientId": "<clientId>", "clientSecret": "<clientSecret>"}'
SKUS = "/ext/merchant/skus"
BEARER = ("Authorization", "Bearer <good>")
PROBLEM = ("Accept", "application/problem+json")


def post(body: str | bytes, *headers: tuple[str, str]) -> Case:
    return Case("POST", "/token", [JSON, *headers], body)


def skus(query: str = "", *headers: tuple[str, str]) -> Case:
    return Case("GET", SKUS + query, [BEARER, *headers])


TOKEN_BODIES: dict[str, str | bytes] = {
    "good": GOOD_BODY,
    "further fields": '{"x": [1, {"y": null}], "clientSecret": "<clientSecret>", "clientId": "<clientId>"}',
    "space around": f" \n{GOOD_BODY}\t\r\n",
    "an escaped secret": GOOD_BODY.replace("<clientSecret>", "\\u0065cs_"),
    "another merchant's": '{"clientId": "<OTHER clientId>", "clientSecret": "<OTHER clientSecret>"}',
    "another merchant's secret": '{"clientId": "<clientId>", "clientSecret": "<OTHER clientSecret>"}',
    "another merchant's id": '{"clientId": "<OTHER clientId>", "clientSecret": "<clientSecret>"}',
    "a secret that ends": '{"clientId": "<ROTATED clientId>", "clientSecret": "<ROTATED clientSecret>"}',
    "a disabled merchant": '{"clientId": "<GONE clientId>", "clientSecret": "<GONE clientSecret>"}',
    "a wrong secret": '{"clientId": "<clientId>", "clientSecret": "wrong"}',
    "a secret with a space": '{"clientId": "<clientId>", "clientSecret": " <clientSecret>"}',
    "a secret with something behind": '{"clientId": "<clientId>", "clientSecret": "<clientSecret>x"}',
    "a secret that is not ASCII": '{"clientId": "<clientId>", "clientSecret": "пароль"}',
    "an unknown client": '{"clientId": "acme-aaaaaaaaaaaaa", "clientSecret": "<clientSecret>"}',
    "the id in capitals": '{"clientId": "ACME", "clientSecret": "<clientSecret>"}',
    "a client that is no id": '{"clientId": "\\u0000\\n", "clientSecret": "<clientSecret>"}',
    "nothing": "",
    "space": " ",
    "no JSON": "clientId=<clientId>",
    "JSON that ends early": GOOD_BODY[:-1],
    "something behind": GOOD_BODY + "x",
    "two objects": GOOD_BODY * 2,
    "a list": "[]",
    "a text": '"text"',
    "null": "null",
    "a number": "1",
    "an empty object": "{}",
    "no id": '{"clientSecret": "<clientSecret>"}',
    "no secret": '{"clientId": "<clientId>"}',
    "an id that is null": '{"clientId": null, "clientSecret": "x"}',
    "a secret that is null": '{"clientId": "x", "clientSecret": null}',
    "an id that is a number": '{"clientId": 1, "clientSecret": "x"}',
    "an id that is a list": '{"clientId": ["<clientId>"], "clientSecret": "<clientSecret>"}',
    "a secret that is a number": '{"clientId": "x", "clientSecret": 1}',
    "a secret that is an object": '{"clientId": "x", "clientSecret": {}}',
    "a secret that is true": '{"clientId": "x", "clientSecret": true}',
    "an empty id": '{"clientId": "", "clientSecret": "x"}',
    "an empty secret": '{"clientId": "x", "clientSecret": ""}',
    "an id of 128 characters": json.dumps({"clientId": "i" * 128, "clientSecret": "x"}),
    "an id of 129 characters": json.dumps({"clientId": "i" * 129, "clientSecret": "x"}),
    "a secret of 256 characters": json.dumps({"clientId": "x", "clientSecret": "s" * 256}),
    "a secret of 257 characters": json.dumps({"clientId": "x", "clientSecret": "s" * 257}),
    "both faulty": '{"clientId": 1, "clientSecret": ""}',
    "names in snake case": '{"client_id": "<clientId>", "client_secret": "<clientSecret>"}',
    "names in another case": '{"CLIENTID": "<clientId>", "CLIENTSECRET": "<clientSecret>"}',
    "an id named twice": '{"clientId": "<clientId>", "clientId": "<clientId>", "clientSecret": "<clientSecret>"}',
    "a member named twice inside": GOOD_BODY[:-1] + ', "x": {"a": 1, "a": 1}}',
    "NaN": GOOD_BODY[:-1] + ', "x": NaN}',
    "a number too large": GOOD_BODY[:-1] + ', "x": 1e999}',
    "too many digits": GOOD_BODY[:-1] + f', "x": {"9" * 5000}}}',
    "nested too deeply": "[" * 60_000,
    "an unpaired surrogate": '{"clientId": "\\ud800", "clientSecret": "x"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "Latin-1": b'{"clientId": "\xe9", "clientSecret": "x"}',
    "UTF-16": '{"clientId": "x", "clientSecret": "x"}'.encode("utf-16"),
    "bytes": bytes(range(256)),
    "65,536 bytes": GOOD_BODY + " " * (65_536 - 120),
    "more than 65,536 bytes": " " * 65_537,
}

HEADS: dict[str, Case] = {
    "a charset": Case("POST", "/token", [("Content-Type", "application/json; charset=utf-8")], GOOD_BODY),
    "a type in capitals": Case("POST", "/token", [("Content-Type", "APPLICATION/JSON")], GOOD_BODY),
    "a type with space": Case("POST", "/token", [("Content-Type", "application/json ;x")], GOOD_BODY),
    "no type": Case("POST", "/token", [], GOOD_BODY),
    "an empty type": Case("POST", "/token", [("Content-Type", "")], GOOD_BODY),
    "a form": Case("POST", "/token", [("Content-Type", "application/x-www-form-urlencoded")], "clientId=x"),
    "text": Case("POST", "/token", [("Content-Type", "text/plain")], GOOD_BODY),
    "JSON of another type": Case("POST", "/token", [("Content-Type", "application/problem+json")], GOOD_BODY),
    "two types": Case("POST", "/token", [JSON, ("Content-Type", "text/plain")], GOOD_BODY),
    "a query": Case("POST", "/token?clientId=x", [JSON], GOOD_BODY),
    "an encoded path": Case("POST", "/%74oken", [JSON], GOOD_BODY),
    "a slash behind": Case("POST", "/token/", [JSON], GOOD_BODY),
    "something behind": Case("POST", "/token/x", [JSON], GOOD_BODY),
    "another case": Case("POST", "/Token", [JSON], GOOD_BODY),
    "problems": post("{}", PROBLEM),
    "an Authorization": post(GOOD_BODY, ("Authorization", "Bearer <expired>")),
    "a request id": post(GOOD_BODY, ("X-Request-Id", "mine-1")),
    "the last of its connection": post(GOOD_BODY, ("Connection", "close")),
    **{f"{method} /token": Case(method, "/token", [JSON], GOOD_BODY if method != "GET" else "")
       for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")},
}  # fmt: skip

TOKEN_KINDS = (
    "good", "expired", "not yet valid", "of another issuer", "of another audience", "of a list of audiences",
    "of another scope", "of no scope", "of two scopes", "of an old epoch", "of an unknown client",
    "of a disabled merchant", "without a claim", "with a claim of another type", "with no claims", "under another key",
    "without an algorithm", "of another type", "cut short", "without a signature", "with an empty signature",
    "with four parts", "too long",
)  # fmt: skip

AUTHORIZATIONS: dict[str, list[tuple[str, str]]] = {
    "none": [],
    "nothing": [("Authorization", "")],
    "another scheme": [("Authorization", "Basic YTpi")],
    "no scheme": [("Authorization", "<good>")],
    "an empty bearer": [("Authorization", "Bearer")],
    "small letters": [("Authorization", "bearer <good>")],
    "more space": [("Authorization", "BEARER   <good>")],
    "two": [BEARER, BEARER],
    "two, one empty": [("Authorization", ""), BEARER],
    "two in one": [("Authorization", "Bearer <good>, Bearer <good>")],
    "a tab": [("Authorization", "Bearer\t<good>")],
    "a colon": [("Authorization", "Bearer: <good>")],
    "text that is not ASCII": [("Authorization", "Bearer \xe9")],
    "a text": [("Authorization", "Bearer text")],
    "another header": [("X-Authorization", "Bearer <good>")],
    **{f"a token {kind}": [("Authorization", f"Bearer <{kind}>")] for kind in TOKEN_KINDS},
}

PRIVATE = {
    f"{name} at {target}": Case("GET", target, headers)
    for name, headers in AUTHORIZATIONS.items()
    for target in (SKUS, "/ext/nothing")
}

LISTS: dict[str, Case] = {
    "all": skus(),
    "empty parameters": skus("?lastUpdateDateFrom=&nextPageToken="),
    "unknown parameters": skus("?x=1&page=2"),
    "of a merchant without SKUs": Case("GET", SKUS, [("Authorization", "Bearer <OTHER token>")]),
    "an Accept": skus("", ("Accept", "text/html")),
    "a request id": skus("", ("X-Request-Id", "mine-1")),
    "a request id that is none": skus("", ("X-Request-Id", "mine 1")),
    **{f"from {text}": skus(f"?lastUpdateDateFrom={text}") for text in (
        "2024-01-01T00:00:00.001Z", "2024-01-01T00:00:00.0009Z", "2024-01-01T00:00:00Z", "2024-01-05T10:00:00.000Z",
        "2024-01-05T12:00:00%2B02:00", "2024-01-05T12:00:00+02:00", "2024-01-05T07:00-0300", "2024-01-05t10:00z",
        "2024-01-05%2010:00:00Z", "%202024-01-05T10:00:00Z%20", "2024-01-05T10:00:00,5Z", "2024-01-05T10:00+00",
        "2030-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00%2B10:00",
        "2024-01-05", "2024-01-05T10:00:00", "yesterday", "1700000000", "2024-02-30T00:00:00Z", "2024-1-5T10:00:00Z",
        "2024-01-05T25:00:00Z", "2024-W01-1T10:00:00Z", "20240105T100000Z", "2024-01-05T10:00:00+99:00", "null",
        "%00", "%D9%A2024-01-05T10:00:00Z", "2024-01-05T10:00:00.123456789Z",
    )},
    "two instants": skus("?lastUpdateDateFrom=x&lastUpdateDateFrom=2024-01-05T10:00:00.000Z"),
    "two instants, the second faulty": skus("?lastUpdateDateFrom=2024-01-05T10:00:00.000Z&lastUpdateDateFrom=x"),
    "an instant spelled otherwise": skus("?last_update_date_from=x"),
    **{f"page token {text}": skus(f"?nextPageToken={text}") for text in (
        "x", "AAAA", "%00", "eyJhIjoxfQ", "a" * 3000, "!!!!", "A===", "%C3%A9", "<good>",
    )},
    "both faulty": skus("?lastUpdateDateFrom=x&nextPageToken=x"),
    "faulty, as a problem": skus("?lastUpdateDateFrom=x", PROBLEM),
}  # fmt: skip

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get")
PATHS: dict[str, Case] = {
    **{f"{method} {target} {'with' if headers else 'without'} a token": Case(method, target, headers)
       for method in METHODS
       for target in (SKUS, "/health/live", "/health/ready", "/nothing", "/ext", "/ext/")
       for headers in ([], [BEARER])},
    **{f"GET {target}": Case("GET", target, [BEARER]) for target in (
        "//", "/ext/merchant/skus/", "/ext//merchant/skus", "/EXT/merchant/skus", "/extra", "/%65xt/merchant/skus",
        "/ext%2Fmerchant%2Fskus", "/health", "/health/live/", "/health/live?x=1", "/ext/merchant/skus%00", "/%C3%A9",
        "/%FF", "/ext/merchant", "/x/../ext/merchant/skus", "/;/ext/merchant/skus", "/favicon.ico",
    )},
    **{f"problems: {accept}": Case("GET", "/nothing", [("Accept", accept)]) for accept in (
        "application/problem+json", "APPLICATION/PROBLEM+JSON", "text/html, application/problem+json;q=0.5",
        "application/problem+json;q=0", "application/problem+json; q=0.000", "application/*", "*/*",
        "application/json, application/problem+json; charset=utf-8",
    )},
    "problems of a token": Case("GET", SKUS, [PROBLEM, ("Authorization", "Bearer <expired>")]),
    "a large body": Case("POST", "/nothing", [], " " * 5_000_000),
    "a large body for a private path": Case("GET", SKUS, [BEARER], " " * 5_000_000),
    "a large body of a stranger": Case("POST", SKUS, [], " " * 100_000),
}  # fmt: skip

GROUPS = {
    "bodies": {name: post(body) for name, body in TOKEN_BODIES.items()},
    "heads": HEADS,
    "private": PRIVATE,
    "lists": LISTS,
    "paths": PATHS,
}

NO_SKUS = f"{SKUS}?lastUpdateDateFrom=2030-01-01T00:00:00Z"
LAST = "Host: x\r\nConnection: close\r\n"
POST_IN_CHUNKS = f"POST /token HTTP/1.1\r\n{LAST}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
BYTES = {
    "a request": f"GET /health/live HTTP/1.1\r\n{LAST}\r\n",
    "HTTP/1.0": "GET /health/live HTTP/1.0\r\n\r\n",
    "two requests": f"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\n{LAST}\r\n",
    "space around a value": f"GET {NO_SKUS} HTTP/1.1\r\n{LAST}Authorization: \t Bearer <good> \t\r\n\r\n",
    "a name in capitals": f"GET {NO_SKUS} HTTP/1.1\r\n{LAST}AUTHORIZATION: Bearer <good>\r\n\r\n",
    "a target with a host": f"GET http://example.com/health/live?x HTTP/1.1\r\n{LAST}\r\n",
    "a body in chunks": f"{POST_IN_CHUNKS}\r\n5\r\n{{    \r\n3;x=y\r\n}}  \r\n0\r\nX-Trailer: x\r\n\r\n",
    "a chunk without a size": f"{POST_IN_CHUNKS}\r\nz\r\n{{}}\r\n0\r\n\r\n",
    "a chunk that is longer than it says": f"{POST_IN_CHUNKS}\r\n2\r\n{{}}   \r\n0\r\n\r\n",
    "a length and chunks": f"{POST_IN_CHUNKS}Content-Length: 5\r\n\r\n0\r\n\r\n",
    "another coding": f"POST /token HTTP/1.1\r\n{LAST}Transfer-Encoding: gzip\r\n\r\n",
    "two lengths": f"POST /token HTTP/1.1\r\n{LAST}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}} ",
    "a length that is no number": f"POST /token HTTP/1.1\r\n{LAST}Content-Length: x\r\n\r\n{{}}",
    "words": "This is no request at all.\r\n\r\n",
    "bytes": "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
}


@pytest.mark.parametrize("group", GROUPS)
def test_the_fake_answers_as_the_real_server_does(group: str, real: Side, at_socket: Side, in_process: Side) -> None:
    answers = [
        {name: side.seen(*case) for name, case in GROUPS[group].items()} for side in (real, at_socket, in_process)
    ]

    assert answers[1] == answers[0]
    assert answers[2] == answers[0]


def test_a_secret_that_ends_is_told_by_both(real: Side, side: Side) -> None:
    shown = [dict(each.shown(each.ask_for_token("ROTATED"))["headers"]) for each in (real, side)]

    assert [each["ecross-credential-expires"] for each in shown] == ["Tue, 01 Dec 2099 00:00:00 GMT"] * 2


@pytest.mark.parametrize("request_bytes", BYTES.values(), ids=BYTES)
def test_the_fake_reads_bytes_as_the_real_server_does(request_bytes: str, real: Side, at_socket: Side) -> None:
    answers = [messages(side, side.exchange(request_bytes)) for side in (real, at_socket)]

    assert answers[1] == answers[0]


def messages(side: Side, content: bytes) -> list[tuple[bytes, list[bytes], bytes]]:
    """Status line, headers in order of the alphabet, and body of each answer."""
    found: list[tuple[bytes, list[bytes], bytes]] = []
    while content:
        head, _, rest = content.partition(b"\r\n\r\n")
        status, *fields = head.split(b"\r\n")
        headers = {name.lower(): value for name, value in (field.split(b": ", 1) for field in fields)}
        length = int(headers[b"content-length"])
        shown = [b": ".join(each) for each in headers.items() if side.compares(each[0].decode())]
        found.append((status, sorted(shown), rest[:length]))
        content = rest[length:]
    return found


def test_both_lead_through_all_pages_the_same_way(real: Side, side: Side) -> None:
    assert pages(side, SKUS) == pages(real, SKUS)
    assert len(pages(side, SKUS)) == 3
    since = f"{SKUS}?lastUpdateDateFrom=2024-01-02T00:00:00Z"
    assert pages(side, since) == pages(real, since)
    assert len(pages(side, since)) == 2


def pages(side: Side, target: str) -> list[Any]:
    """What each page shows, one after the other; a page token alone is enough to go on."""
    found: list[Any] = []
    token = None
    while not found or token:
        answer = side.send("GET", f"{SKUS}?nextPageToken={token}" if token else target, [BEARER])
        token = answer.json().get("nextPageToken")
        found.append(side.shown(answer))
    return found


PAGE_TOKEN_USES = {
    "with the filter it was given for": ("&lastUpdateDateFrom=2024-01-01T01:00:00%2B01:00", "<good>"),
    "with another filter": ("&lastUpdateDateFrom=2024-01-01T00:00:00.002Z", "<good>"),
    "by another merchant": ("", "<OTHER token>"),
    "by nobody": ("", "x"),
}


@pytest.mark.parametrize("use", PAGE_TOKEN_USES)
def test_a_page_token_is_good_for_the_same_uses(use: str, real: Side, side: Side) -> None:
    more, token = PAGE_TOKEN_USES[use]

    def answer(server: Side) -> Any:
        first = server.send("GET", f"{SKUS}?lastUpdateDateFrom=2024-01-01T00:00:00Z", [BEARER])
        page_token = first.json()["nextPageToken"]
        return server.seen("GET", f"{SKUS}?nextPageToken={page_token}{more}", [("Authorization", f"Bearer {token}")])

    assert answer(side) == answer(real)


@pytest.mark.parametrize("damage", ["x{}", "{}x", "{}=", "{}.", "{} ", "%2B{}"])
def test_a_damaged_page_token_is_refused_in_the_same_way(damage: str, real: Side, side: Side) -> None:
    def answer(server: Side) -> Any:
        page_token = server.send("GET", SKUS, [BEARER]).json()["nextPageToken"]
        return server.seen("GET", f"{SKUS}?nextPageToken={damage.format(page_token)}", [BEARER])

    assert answer(side) == answer(real)


def test_tokens_say_the_same_things(real: Side, side: Side) -> None:
    def form(token: str) -> Any:
        header, claims = (json.loads(base64.urlsafe_b64decode(f"{part}==")) for part in token.split(".")[:2])
        same = {name: claims[name] for name in ("iss", "aud", "merchant_id", "scope", "epoch")}
        life = claims["exp"] - claims["iat"], claims["nbf"] - claims["iat"], claims["sub"] == claims["client_id"]
        return (
            header,
            {name: type(value) for name, value in claims.items()},
            list(claims),
            len(claims["jti"]),
            same,
            life,
        )

    assert form(side.token("ACME")) == form(real.token("ACME"))


def test_credentials_have_the_same_form(fake: FakeServer, real: Side) -> None:
    made_up = fake.merchant("ACME")

    assert is_client_secret(made_up.client_secret)
    assert re.fullmatch(r"acme-[a-z2-7]{13}", made_up.client_id)
    assert re.fullmatch(r"acme-[a-z2-7]{13}", real.values["clientId"])


def test_the_budget_of_a_client_is_counted_and_spent_in_the_same_way(
    fake: FakeServer, real: Side, at_socket: Side
) -> None:
    def spend(side: Side) -> tuple[httpx2.Response, httpx2.Response]:
        first = last = side.ask_for_token("BUSY")
        while last.status_code == 200:
            last = side.ask_for_token("BUSY")
        return first, last

    (real_first, real_last), (first, last) = spend(real), spend(at_socket)

    assert budget(first) == budget(real_first)
    assert [re.sub(r"t=[12]$", "t=*", text) for text in budget(last)] == ['"client";q=40;w=60', '"client";r=0;t=*']
    assert [re.sub(r"t=[12]$", "t=*", text) for text in budget(real_last)] == ['"client";q=40;w=60', '"client";r=0;t=*']
    fake.script("/token", rate_limited(int(real_last.headers["Retry-After"])))
    assert at_socket.shown(at_socket.ask_for_token("BUSY")) == real.shown(real_last)
    last.headers["Retry-After"] = real_last.headers["Retry-After"]  # a moment's, too
    assert at_socket.shown(last) == real.shown(real_last)


def budget(answer: httpx2.Response) -> list[str]:
    """What an answer tells of the client's own budget."""
    names = ("ratelimit-policy", "ratelimit")
    return [part for name in names for part in re.findall(r'"client";[^,]*', answer.headers[name])]


SCRIPTED = {
    "401 of /token": (unauthorized(), post("{}"), post(TOKEN_BODIES["a wrong secret"])),
    "401 of the list": (unauthorized(), skus(), Case("GET", SKUS, [("Authorization", "Bearer <cut short>")])),
    "401 as a problem": (
        unauthorized(), skus("", PROBLEM), Case("GET", SKUS, [("Authorization", "Bearer <cut short>"), PROBLEM]),
    ),
    "403 of the list": (forbidden(), skus(), Case("GET", SKUS, [("Authorization", "Bearer <of another scope>")])),
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_scripted_refusal_is_the_real_servers(name: str, fake: FakeServer, real: Side, side: Side) -> None:
    scripted, asked, refused = SCRIPTED[name]
    fake.script(asked.target, scripted)

    assert side.seen(*asked) == real.seen(*refused)


def test_scripted_server_errors_say_what_the_real_ones_say() -> None:
    stale = RegistryStaleError()

    assert {500: MESSAGES[500], 503: (stale.code, str(stale))} == _script.SERVER_ERRORS


LEFT_OUT_PATHS = {
    "/": "for people; no client calls it",
    "/openapi.json": "likewise: it stands in the repository",
    "/hand-over/{token}": "before there is a client; whoever tests `ecross redeem` scripts it",
}


def test_the_fake_knows_every_path_that_the_document_promises() -> None:
    promised = set(json.loads(OPENAPI.read_text())["paths"])

    assert set(_api.PATHS) == promised - LEFT_OUT_PATHS.keys()

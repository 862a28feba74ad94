"""Any call of the API: sent as told, printed as it came, with the exit code that its status means."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ecross.cli.api import MOST_OF_AN_ERROR, transport_error
from ecross.testing import Answer, FakeServer, Merchant, rate_limited, truncated, unauthorized

Cli = Callable[..., Any]
OnTerminal = Callable[..., Any]
RunCli = Callable[..., subprocess.CompletedProcess[bytes]]
Send = Callable[[bytes], None]
PATH = "/ext/anything"

pytestmark = pytest.mark.usefixtures("told")


def test_the_body_is_printed_as_it_came(run_cli: RunCli, ecross_server: FakeServer) -> None:
    content = b'\x00{"a":  1,\r\n\xff\x1b[2J'
    ecross_server.script(PATH, Answer(200, content=content))
    ended = run_cli("api", "GET", PATH)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, content, b"")


def test_on_a_terminal_it_cannot_move_the_cursor(on_terminal: OnTerminal, ecross_server: FakeServer) -> None:
    ecross_server.script(PATH, Answer(200, content=b'{"a":\t"\x1b[2J\xff\xc2\x9b",\r\n "b": "\rx"}\n'))
    assert on_terminal("api", "GET", PATH).end() == (0, '{"a":   "\\x1b[2J\\xff\\x9b",\n "b": "\\rx"}\n'.replace(
        "   ", "\t"
    ))  # fmt: skip


def test_on_a_terminal_nothing_stays_nothing(on_terminal: OnTerminal, ecross_server: FakeServer) -> None:
    ecross_server.script(PATH, Answer(204))
    assert on_terminal("api", "DELETE", PATH).end() == (0, "")


def test_what_is_told_is_sent(cli: Cli, ecross_server: FakeServer, tmp_path: Path, send: Send) -> None:
    ecross_server.script(PATH, *[Answer(200, {})] * 3)
    file = tmp_path / "body.json"
    file.write_bytes(b'{"a": 1.0}')
    assert (
        cli("api", "post", PATH, "--data", str(file), "--query", "a=1", "--query", "a=b=c&d", "--query", "e=").code == 0
    )
    first = ecross_server.requests[-1]
    assert (first.method, first.content) == ("POST", b'{"a": 1.0}')
    assert httpx2.QueryParams(first.query).multi_items() == [("a", "1"), ("a", "b=c&d"), ("e", "")]
    assert first.headers["content-type"] == "application/json"
    assert first.headers["user-agent"].startswith("ecross-python/")
    send(b"[]")
    assert cli("api", "PUT", PATH, "--data", "-").code == 0
    assert ecross_server.requests[-1].content == b"[]"
    assert cli("api", "GET", PATH).code == 0
    assert "content-type" not in ecross_server.requests[-1].headers


@pytest.mark.parametrize(
    ("answer", "code", "name"),
    [
        (Answer(302, {}, {"Location": "https://e.example"}), 6, "api"),
        (Answer(400, {"message": "No.", "code": "no", "errors": [{"path": "a", "message": "b"}]}), 6, "no"),
        (Answer(403, {}), 6, "forbidden"),
        (Answer(404, {}), 6, "not_found"),
        (rate_limited(7), 4, "rate_limited"),
        (Answer(500, content=b"<html>"), 6, "server"),
        (Answer(503, {}), 5, "server"),
    ],
)
def test_a_refusal_is_printed_and_ends_with_the_code_of_its_kind(
    cli: Cli, ecross_server: FakeServer, answer: Any, code: int, name: str
) -> None:
    ecross_server.script(PATH, answer)
    ended = cli("api", "GET", PATH, "--json")
    error = json.loads(ended.err)["error"]
    assert (ended.code, error["code"]) == (code, name)
    assert error["status"] == answer.status
    assert error["requestId"]
    if answer.status == 429:
        assert error["retryAfterSeconds"] == 7
    if answer.status == 400:
        assert error["errors"] == [{"path": "a", "message": "b"}]
        assert json.loads(ended.out) == answer.json


def test_people_are_told_each_fault_of_a_request(cli: Cli, ecross_server: FakeServer) -> None:
    faults = [{"path": "skus[0].name", "message": "is \x1b missing"}, {"path": "b", "message": "no"}]
    ecross_server.script(PATH, Answer(400, {"message": "No.", "errors": faults}))
    _, *told = cli("api", "POST", PATH).err.splitlines()
    assert told == ["  skus[0].name: is missing", "  b: no"]


def test_a_token_that_is_refused_is_replaced_once(cli: Cli, ecross_server: FakeServer) -> None:
    ecross_server.script(PATH, unauthorized(), Answer(200, {"a": 1}), unauthorized(), unauthorized())
    assert cli("api", "GET", PATH).out == '{"a":1}'
    assert cli("api", "GET", PATH).code == 3
    assert ecross_server.count(PATH) == 4


def test_what_the_server_repeats_of_secrets_is_not_in_the_message(
    cli: Cli, ecross_server: FakeServer, told: Merchant
) -> None:
    cli("api", "GET", PATH)
    token = ecross_server.requests[-1].headers["authorization"].removeprefix("Bearer ")
    ecross_server.script(PATH, Answer(400, {"message": f"{told.client_secret} {token} no"}))
    ended = cli("api", "GET", PATH)
    assert ended.err.startswith("error: [hidden] [hidden] no (400")


def test_of_a_long_refusal_everything_is_printed(cli: Cli, ecross_server: FakeServer) -> None:
    ecross_server.script(PATH, Answer(400, content=b"x" * (MOST_OF_AN_ERROR + 10)))
    ended = cli("api", "GET", PATH)
    assert len(ended.out) == MOST_OF_AN_ERROR + 10
    assert ended.err.startswith("error: The server answered 400 Bad Request.")


def test_a_server_that_is_away_or_breaks_off_is_unreachable(
    cli: Cli, ecross_server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ecross_server.script(PATH, truncated(Answer(200, {"a": 1})))
    broken = cli("api", "GET", PATH)
    assert broken.code == 5
    assert "broke off" in broken.err
    monkeypatch.setenv("ECROSS_PRODUCT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ECROSS_AUTH_URL", ecross_server.url)
    monkeypatch.delenv("ECROSS_BASE_URL")
    away = cli("api", "GET", PATH)
    assert away.code == 5
    assert "127.0.0.1 could not be reached: " in away.err


@pytest.mark.parametrize("location", ["http://[::1", "http://a:99999/", "//", "x:" + "y" * 70_000])
def test_a_redirect_to_nowhere_is_no_bug_of_ours(cli: Cli, ecross_server: FakeServer, location: str) -> None:
    ecross_server.script(PATH, Answer(302, headers={"Location": location}))
    ended = cli("api", "GET", PATH)
    assert ended.code in {5, 6}
    assert ended.err.startswith("error: ")


def test_a_server_that_says_nothing_in_time_is_told_so() -> None:
    error = transport_error(httpx2.ReadTimeout("late"), "e.example")
    assert (str(error), error.is_timeout) == ("e.example did not answer in time.", True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("G T", PATH), "METHOD must be a word"),
        (("GET", f"{PATH}?a=1"), "give its parameters with --query"),
        (("GET", "https://e.example/"), "path must begin with one slash"),
        (("GET", "/ext/../admin"), "path must begin with one slash"),
        (("GET", PATH, "--query", "a"), "--query must be NAME=VALUE."),
        (("GET", PATH, "--query", "=a"), "--query must be NAME=VALUE."),
        (("GET", PATH, "--data", "/nowhere/x"), "The file /nowhere/x cannot be read: No such file or directory."),
    ],
)
def test_unfit_arguments_are_refused_before_anything_is_sent(
    cli: Cli, ecross_server: FakeServer, arguments: tuple[str, ...], said: str
) -> None:
    ended = cli("api", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ecross_server.count(PATH) == 0


def test_a_service_without_an_address_is_a_missing_setting(
    cli: Cli, ecross_server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ECROSS_BASE_URL")
    monkeypatch.setenv("ECROSS_AUTH_URL", ecross_server.url)
    ended = cli("api", "GET", PATH, "--service", "order", "--json")
    assert (ended.code, ended.error["code"]) == (3, "not_configured")
    assert "ECROSS_ORDER_URL" in ended.error["message"]


def test_a_closed_standard_input_is_no_body(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    ended = cli("api", "POST", PATH, "--data", "-")
    assert (ended.code, ended.err) == (2, "error: Standard input is closed, so there is nothing to send.\n")

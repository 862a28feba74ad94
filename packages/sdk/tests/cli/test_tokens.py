"""The token and what it says: printed only when told how, asked for once, and never more than it is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ecross.cli.output import duration
from ecross.cli.tokens import read_claims
from ecross.testing import Answer, FakeServer, Merchant

Cli = Callable[..., Any]
OnTerminal = Callable[..., Any]


def last_token(server: FakeServer, cli: Cli) -> str:
    """The token as the server saw it."""
    assert cli("api", "GET", "/ext/merchant/skus").code == 0
    header: str = server.requests[-1].headers["authorization"]
    return header.removeprefix("Bearer ")


@pytest.mark.usefixtures("told")
class TestToken:
    def test_is_printed_alone_or_as_a_header(self, cli: Cli, ecross_server: FakeServer) -> None:
        token = last_token(ecross_server, cli)
        assert cli("token", "--raw").out == f"{token}\n"
        assert cli("token", "--header").out == f"Authorization: Bearer {token}\n"
        assert cli("token", "--header", "--json").result == {"Authorization": f"Bearer {token}"}
        result = cli("token", "--raw", "--json").result
        assert (result["token"], result["tokenType"]) == (token, "Bearer")
        assert datetime.fromisoformat(result["expiresAt"]) > datetime.now(UTC)
        assert ecross_server.count("/token") == 1

    @pytest.mark.parametrize("options", [(), ("--raw", "--header")])
    def test_is_not_printed_unless_told_how(
        self, cli: Cli, ecross_server: FakeServer, options: tuple[str, ...]
    ) -> None:
        ended = cli("token", *options)
        assert (ended.code, ended.out) == (2, "")
        assert "--raw or --header" in ended.err
        assert cli("token", *options, "--json").error["code"] == "usage"
        assert ecross_server.requests == []

    def test_on_a_terminal_a_person_is_warned(self, on_terminal: OnTerminal) -> None:
        code, screen = on_terminal("token", "--raw").end()
        assert code == 0
        assert "warning: The token is on your screen now." in screen
        assert "\neyJ" in screen


class TestWhoami:
    def test_shows_whom_the_token_speaks_for(
        self, cli: Cli, told: Merchant, ecross_server: FakeServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TZ", "America/Sao_Paulo")
        ended = cli("whoami")
        assert ended.code == 0
        facts = dict(line.split(maxsplit=1) for line in ended.out.replace("client id", "client").splitlines())
        assert facts["merchant"] == "ACME"
        assert facts["client"] == told.client_id
        assert facts["scope"] == "merchant"
        assert facts["server"] == ecross_server.url
        assert facts["profile"] == "-"
        assert facts["remaining"].startswith("7 h 5")
        assert "Z (here: " in facts["expires"]
        assert ended.err == "note: The claims are read from the token, not verified.\n"

    def test_limited_credentials_say_so(
        self, cli: Cli, ecross_server: FakeServer, told: Merchant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        del told
        limited = ecross_server.add_merchant("LIMITED", scope="catalog:read")
        monkeypatch.setenv("ECROSS_CLIENT_ID", limited.client_id)
        monkeypatch.setenv("ECROSS_CLIENT_SECRET", limited.client_secret)
        ended = cli("whoami")
        assert "  scope      catalog:read\n" in ended.out
        assert ended.err.startswith("note: What the scope does not name is refused (insufficient_scope).")
        assert cli("whoami", "--json").result["scope"] == "catalog:read"
        assert "and allows only catalog:read" in cli("doctor").out

    def test_for_programs(self, cli: Cli, told: Merchant, ecross_server: FakeServer) -> None:
        result = cli("whoami", "--json").result
        assert result["isVerified"] is False
        assert (result["merchantId"], result["clientId"]) == ("ACME", told.client_id)
        assert result["claims"] == read_claims(last_token(ecross_server, cli))
        assert 28_600 < result["remainingSeconds"] <= 28_800

    @pytest.mark.usefixtures("told")
    def test_a_token_that_is_no_jwt_shows_what_is_known_without_it(self, cli: Cli, ecross_server: FakeServer) -> None:
        body = {"token": "opaque", "tokenType": "Bearer", "expiresIn": 60}
        ecross_server.script("/token", Answer(200, body))
        ended = cli("whoami")
        assert ended.code == 0
        assert "  merchant   -\n" in ended.out
        assert ended.err == "note: The token shows no claims; only the server can read it.\n"

    @pytest.mark.usefixtures("told")
    def test_claims_cannot_move_the_cursor(self, cli: Cli, ecross_server: FakeServer) -> None:
        claims = base64.urlsafe_b64encode(
            json.dumps({"merchant_id": "A\x1b[2J", "scope": 1, "x": "\x9b2J"}).encode()
        ).decode()
        body = {"token": f"e30.{claims.rstrip('=')}.x", "tokenType": "Bearer", "expiresIn": 60}
        ecross_server.script("/token", Answer(200, body))
        ended = cli("whoami")
        assert "merchant   A\\x1b[2J\n" in ended.out
        assert "scope      -\n" in ended.out
        assert "\x1b" not in ended.out
        assert cli("whoami", "--json").out.isascii()


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c.d", "e30.!.x", "e30.A.x", "e30.W10.x", "e30.e30=.x", "e30.YQ.x"])
def test_what_is_no_jwt_has_no_claims(token: str) -> None:
    assert read_claims(token) == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (28_799, "7 h 59 min"), (90_000, "1 d 1 h")],
)
def test_a_length_of_time_is_told_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_secret_that_ends_is_told_beside_the_result(told: Merchant, run_cli: Callable[..., Any]) -> None:
    told.rotate_secret(retire_old_in=3600)
    ended = run_cli("whoami", "--json")
    assert ended.returncode == 0
    assert ended.stderr.decode().startswith(f"warning: The client secret of {told.client_id} ends at 20")
    assert len(ended.stderr.splitlines()) == 1
    result = json.loads(ended.stdout)
    assert datetime.fromisoformat(result["credentialExpiresAt"]) > datetime.now(UTC)
    ended = run_cli("token", "--raw")  # from the cache
    assert ended.stderr.startswith(b"warning: The client secret of")
    assert ended.stdout.startswith(b"eyJ")


@pytest.mark.filterwarnings("ignore::ecross.CredentialExpiryWarning")
def test_people_see_when_the_secret_ends(told: Merchant, cli: Cli) -> None:
    assert "secret ends" not in cli("whoami").out
    assert cli("logout").code == 0
    told.rotate_secret(retire_old_in=3600)
    cli("doctor")  # asks for a new token
    assert "  secret ends  20" in cli("whoami").out

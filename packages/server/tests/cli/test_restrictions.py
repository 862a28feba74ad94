"""`ecross-server credentials limit` and `suggest`, and `--scope` and `--allow` of those that issue."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from ecross_server.audit import service as audit
from ecross_server.audit.rules import Draft, derive_keys
from ecross_server.kit.database import Database
from ecross_server.merchants.service import load_peppers
from ecross_server.merchants.uses import CallKind, note_calls
from ecross_server.settings import Settings

Cli = Callable[..., Any]
Acme = dict[str, str]
See = Callable[..., None]

CLIENT_KEYS = ["clientId", "merchantId", "status", "scope", "allowedNetworks", "createdAt", "secrets"]
LIMITS = ("--scope", "inventory:write", "--scope", "catalog:read", "--allow", "198.51.100.0/24", "--allow", "10.0.0.1")
SHOWN = ("catalog:read inventory:write", ["10.0.0.1/32", "198.51.100.0/24"])


@pytest.fixture
def see(on_sqlite: Settings, acme: Acme) -> Iterator[See]:
    """Tokens of ACME's first client, and with a scope calls, from addresses."""
    peppers = load_peppers(on_sqlite.peppers_file)
    keys = derive_keys(peppers.current, peppers.keys)
    with closing(Database(on_sqlite.database_url.get_secret_value())) as database:

        def note(*addresses: str, scope: str | None = None) -> None:
            client_id, now = acme["clientId"], time.time()
            with database.write() as session:
                if scope is not None:
                    note_calls(session, {CallKind(client_id, scope, address): 1 for address in addresses}, at=now)
                    return
                at = int(now * 1_000_000)
                audit.append(session, [
                    Draft(at, client_id, "token.issue", "ACME", client_id, "issued", address, "r", "t", "s", None)
                    for address in addresses
                ], keys, now=at)  # fmt: skip

        yield note


def limits_of(out: dict[str, Any]) -> tuple[str, Any]:
    return out["scope"], out["allowedNetworks"]


class TestIssuing:
    def test_a_new_client_can_be_limited(self, cli: Cli, acme: Acme) -> None:
        out = cli("credentials", "issue", "ACME", *LIMITS, "--json").result
        assert limits_of(out) == SHOWN
        first, second = cli("credentials", "list", "--json").result["credentials"]
        assert (first["clientId"], *limits_of(first)) == (acme["clientId"], "merchant", None)
        assert limits_of(second) == SHOWN
        assert [limits_of(client) for client in cli("merchants", "show", "ACME", "--json").result["clients"]] == [
            ("merchant", None), SHOWN,
        ]  # fmt: skip

    def test_a_merchant_s_first_one_too(self, cli: Cli, on_sqlite: Settings) -> None:
        del on_sqlite
        cli("merchants", "register", "ACME", "--name", "Acme", *LIMITS, "--json")
        assert limits_of(cli("merchants", "show", "ACME", "--json").result["clients"][0]) == SHOWN

    def test_one_that_gets_its_secret_by_a_link_too(self, cli: Cli, acme: Acme) -> None:
        del acme
        out = cli("credentials", "issue", "ACME", "--hand-over", *LIMITS, "--json").result
        assert limits_of(out) == SHOWN
        cli("merchants", "register", "OTHER", "--name", "Other", "--hand-over", *LIMITS, "--json")
        assert limits_of(cli("credentials", "list", "OTHER", "--json").result["credentials"][0]) == SHOWN

    def test_people_are_told(self, cli: Cli, acme: Acme) -> None:
        del acme
        out = cli("credentials", "issue", "ACME", *LIMITS).out
        assert "inventory:write" in out
        assert "10.0.0.1/32 198.51.100.0/24" in out
        assert "10.0.0.1/32 198.51.100.0/24" in cli("merchants", "show", "ACME").out
        assert "anywhere" in cli("credentials", "list").out

    @pytest.mark.parametrize(
        ("options", "path"),
        [(["--scope", "all"], "scope"), (["--allow", "10.0.0.0/8", "--allow", "x"], "allow.1")],
    )
    def test_a_faulty_limit_is_named_and_nothing_is_issued(
        self, cli: Cli, acme: Acme, options: list[str], path: str
    ) -> None:
        del acme
        for command in (("credentials", "issue", "ACME"), ("merchants", "register", "OTHER", "--name", "Other")):
            ended = cli(*command, *options, "--json")
            assert (ended.code, ended.error["errors"][0]["path"]) == (2, path)
        assert len(cli("credentials", "list", "--json").result["credentials"]) == 1
        assert len(cli("merchants", "list", "--json").result["merchants"]) == 1

    def test_there_is_nothing_to_limit_without_credentials(self, cli: Cli, on_sqlite: Settings) -> None:
        del on_sqlite
        for limit in (("--scope", "merchant:read"), ("--allow", "10.0.0.0/8")):
            ended = cli("merchants", "register", "ACME", "--name", "A", "--no-credentials", *limit, "--json")
            assert (ended.code, ended.error["errors"][0]["path"]) == (2, "no-credentials")


class TestLimit:
    def test_it_limits_and_tells_what_that_refuses(self, cli: Cli, acme: Acme, see: See) -> None:
        see("198.51.100.7", "203.0.113.9")
        see("198.51.100.7", scope="catalog:write")
        out = cli("credentials", "limit", acme["clientId"], *LIMITS, "--json").result
        assert list(out) == [*CLIENT_KEYS, "trafficSince", "refused"]
        assert limits_of(out) == SHOWN
        assert [
            (each["address"], each["scope"], each["tokens"], each["calls"]) for each in out["refused"]
        ] == [("203.0.113.9", None, 1, 0), ("198.51.100.7", "catalog:write", 0, 1)]  # fmt: skip
        assert limits_of(cli("credentials", "list", "--json").result["credentials"][0]) == SHOWN

    def test_a_dry_run_changes_nothing(self, cli: Cli, acme: Acme, see: See) -> None:
        see("203.0.113.9")
        out = cli("credentials", "limit", acme["clientId"], *LIMITS, "--dry-run", "--json").result
        assert (limits_of(out), len(out["refused"])) == (SHOWN, 1)
        assert limits_of(cli("credentials", "list", "--json").result["credentials"][0]) == ("merchant", None)

    def test_a_limit_can_be_lifted(self, cli: Cli, acme: Acme) -> None:
        cli("credentials", "limit", acme["clientId"], *LIMITS)
        out = cli("credentials", "limit", acme["clientId"], "--allow-any", "--scope", "merchant", "--json").result
        assert (limits_of(out), out["refused"]) == (("merchant", None), [])

    def test_people_are_told(self, cli: Cli, acme: Acme, see: See) -> None:
        name = acme["clientId"]
        out = cli("credentials", "limit", name, "--scope", "merchant:read").out
        assert out.startswith(f"{name} is limited to this within 2 seconds:\n")
        assert "It refuses nothing of the traffic of the last 14 days.\n" in out
        see("203.0.113.9")
        see("203.0.113.9", scope="catalog:write")
        out = cli("credentials", "limit", name, "--allow", "10.0.0.0/8", "--dry-run").out
        assert out.startswith(f"{name} would be limited to this:\n")
        assert [line.split()[:3] for line in out.splitlines()[-2:]] == [
            ["203.0.113.9", "tokens", "1"], ["203.0.113.9", "catalog:write", "1"],
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("options", "path"),
        [
            ([], "scope"),
            (["--scope", "x"], "scope"),
            (["--scope", ""], "scope"),
            (["--allow", "10.0.0.0/8", "--allow-any"], "allow-any"),
            (["--allow", ""], "allow.0"),
            (["--allow", "0.0.0.0/0"], "allow.0"),
        ],
    )
    def test_a_faulty_option_is_named(self, cli: Cli, acme: Acme, options: list[str], path: str) -> None:
        for dry_run in ([], ["--dry-run"]):
            ended = cli("credentials", "limit", acme["clientId"], *options, *dry_run, "--json")
            assert (ended.code, ended.error["errors"][0]["path"]) == (2, path)
        assert limits_of(cli("credentials", "list", "--json").result["credentials"][0]) == ("merchant", None)

    def test_others_are_not_found(self, cli: Cli, acme: Acme) -> None:
        del acme
        for command in (("limit", "acme-aaaaaaaaaaaaa", "--allow-any"), ("suggest", "acme-aaaaaaaaaaaaa")):
            assert cli("credentials", *command).code == 3


class TestSuggest:
    def test_the_printed_command_does_it_and_refuses_nothing_of_what_was_seen(
        self, cli: Cli, acme: Acme, see: See
    ) -> None:
        see(*(f"198.51.100.{number}" for number in range(5)), "2001:db8::1")
        see("198.51.100.1", scope="catalog:read")
        see("2001:db8::/64", scope="inventory:write")
        out = cli("credentials", "suggest", acme["clientId"], "--json").result
        assert list(out) == [
            "clientId", "merchantId", "scope", "allowedNetworks", "trafficSince", "firstSeenAt", "lastSeenAt",
            "tokens", "calls", "suggestedScope", "suggestedNetworks", "sources", "hidesCallers", "command",
        ]  # fmt: skip
        assert (out["tokens"], out["calls"], out["suggestedScope"]) == (6, 2, "catalog:read inventory:write")
        assert out["suggestedNetworks"] == ["198.51.100.0/24", "2001:db8::/64"]
        assert [each["addresses"] for each in out["sources"]] == [5, 2]
        program, *arguments = shlex.split(out["command"])
        assert program == "ecross-server"
        done = cli(*arguments, "--json").result
        assert (done["scope"], done["allowedNetworks"]) == (out["suggestedScope"], out["suggestedNetworks"])
        assert done["refused"] == []

    def test_people_are_told(self, cli: Cli, acme: Acme, see: See) -> None:
        name = acme["clientId"]
        assert cli("credentials", "suggest", name).out.startswith(f"No traffic of {name} was seen since ")
        assert cli("credentials", "suggest", name, "--json").result["command"] is None
        see("10.0.0.1")
        out = cli("credentials", "suggest", name).out
        assert "1 tokens, 0 calls" in out
        assert "No call was seen, so no scope is suggested.\n" in out
        assert "name it in TRUSTED_PROXIES first" in out
        assert out.endswith(f"  ecross-server credentials limit {name} --allow 10.0.0.1/32\n")
        see("198.51.100.7", "unknown", scope="catalog:read")
        out = cli("credentials", "suggest", name).out
        assert "No list of at most 64 networks holds all of it, so none is suggested.\n" in out
        assert out.endswith(f"  ecross-server credentials limit {name} --scope catalog:read\n")

    def test_traffic_from_nowhere_suggests_nothing(self, cli: Cli, acme: Acme, see: See) -> None:
        see("unknown")
        ended = cli("credentials", "suggest", acme["clientId"])
        assert "None of it came from an address.\n" in ended.out
        assert "credentials limit" not in ended.out

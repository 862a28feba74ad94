"""`ecross-server credentials rotate, cancel-rotation, meter, retire, leaked` and `secrets check`."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from ecross_server.audit.rules import TokenEvent
from ecross_server.kit.clock import parse_instant, rfc3339
from ecross_server.kit.database import Database
from ecross_server.kit.identifiers import BASE62
from ecross_server.merchants import rules
from ecross_server.merchants.rules import is_client_secret, new_client_secret
from ecross_server.merchants.uses import note_secret_uses
from ecross_server.settings import Settings

Cli = Callable[..., Any]
Acme = dict[str, str]

ISSUED = [
    "merchantId",
    "clientId",
    "secretId",
    "clientSecret",
    "label",
    "createdAt",
    "expiresAt",
    "scope",
    "allowedNetworks",
]
SECRET = re.compile(r"ecs_[0-9A-Za-z]{49}")


@pytest.fixture
def served(on_sqlite: Settings) -> Iterator[Database]:
    with closing(Database(on_sqlite.database_url.get_secret_value())) as database:
        yield database


def secrets_of(cli: Cli) -> list[dict[str, Any]]:
    [client] = cli("credentials", "list", "--json").result["credentials"]
    listed: list[dict[str, Any]] = client["secrets"]
    return listed


def use(database: Database, secret_id: str, *, ago: timedelta = timedelta(0), count: int = 1) -> None:
    at = (datetime.now(UTC) - ago).timestamp()
    with database.write() as session:
        note_secret_uses(
            session, [TokenEvent(at, "issued", "c", "ACME", "203.0.113.7", "r", secret_id, "t", None)] * count
        )


class TestRotate:
    def test_prints_the_second_secret_and_when_the_old_one_ends(self, cli: Cli, acme: Acme) -> None:
        [first] = secrets_of(cli)
        out = cli("credentials", "rotate", acme["clientId"], "--label", "new", "--overlap", "24h", "--json").result
        assert list(out) == [*ISSUED, "oldSecretId", "oldRetiresAt"]
        assert (out["merchantId"], out["clientId"], out["label"]) == ("ACME", acme["clientId"], "new")
        assert is_client_secret(out["clientSecret"])
        assert out["oldSecretId"] == first["secretId"]
        ends_in = parse_instant(out["oldRetiresAt"]) - datetime.now(UTC)
        assert timedelta(hours=24) - ends_in < timedelta(minutes=1)
        assert [(each["secretId"], each["status"], each["retiresAt"]) for each in secrets_of(cli)] == [
            (first["secretId"], "active", out["oldRetiresAt"]), (out["secretId"], "active", None),
        ]  # fmt: skip

    def test_the_end_may_be_an_instant(self, cli: Cli, acme: Acme) -> None:
        at = "2099-12-01T00:00:00.000Z"
        out = cli("credentials", "rotate", acme["clientId"], "--retire-old-at", at, "--json").result
        assert out["oldRetiresAt"] == at

    def test_people_are_told_what_comes_next(self, cli: Cli, acme: Acme) -> None:
        [first] = secrets_of(cli)
        ended = cli("credentials", "rotate", acme["clientId"])
        assert len(SECRET.findall(ended.out)) == 1
        assert "when it is retired" in ended.out
        assert f"credentials retire {acme['clientId']} {first['secretId']}" in ended.out
        cli("credentials", "retire", acme["clientId"], first["secretId"])
        cli("credentials", "retire", acme["clientId"], secrets_of(cli)[1]["secretId"], "--force")
        alone = cli("credentials", "rotate", acme["clientId"]).out
        assert re.search(r"^  old one ends  -$", alone, re.MULTILINE)
        assert "credentials retire" not in alone

    @pytest.mark.parametrize(
        ("options", "path"),
        [
            (["--overlap", "1d", "--retire-old-at", "2099-01-01T00:00:00Z"], "overlap"),
            (["--overlap", "soon"], "overlap"),
            (["--retire-old-at", "tomorrow"], "retire-old-at"),
            (["--retire-old-at", "2020-01-01T00:00:00Z"], "retire-old-at"),
            (["--label", "\t"], "label"),
        ],
    )
    def test_a_faulty_option_is_named(self, cli: Cli, acme: Acme, options: list[str], path: str) -> None:
        ended = cli("credentials", "rotate", acme["clientId"], *options, "--json")
        assert (ended.code, ended.error["errors"][0]["path"]) == (2, path)
        assert len(secrets_of(cli)) == 1

    def test_a_third_one_is_refused(self, cli: Cli, acme: Acme) -> None:
        cli("credentials", "rotate", acme["clientId"])
        ended = cli("credentials", "rotate", acme["clientId"], "--json")
        assert (ended.code, ended.error["code"]) == (4, "too_many_secrets")


class TestCancel:
    def test_the_old_secret_alone_is_left(self, cli: Cli, acme: Acme, served: Database) -> None:
        new = cli("credentials", "rotate", acme["clientId"], "--overlap", "1h", "--json").result["secretId"]
        out = cli("credentials", "cancel-rotation", acme["clientId"], "--json").result
        assert [(each["status"], each["retiresAt"]) for each in out["secrets"]] == [("active", None), ("retired", None)]
        assert cli("credentials", "cancel-rotation", acme["clientId"], "--json").error["code"] == "no_rotation"
        new = cli("credentials", "rotate", acme["clientId"], "--json").result["secretId"]
        use(served, new)
        assert cli("credentials", "cancel-rotation", acme["clientId"], "--json").error["code"] == "secret_in_use"
        ended = cli("credentials", "cancel-rotation", acme["clientId"], "--force")
        assert ended.out == f"Cancelled the rotation of {acme['clientId']}: its older secret alone is live.\n"


class TestRetire:
    def test_a_dry_run_tells_who_would_notice_and_changes_nothing(self, cli: Cli, acme: Acme, served: Database) -> None:
        [first] = secrets_of(cli)
        new = cli("credentials", "rotate", acme["clientId"], "--json").result["secretId"]
        use(served, first["secretId"], ago=timedelta(hours=3), count=2)
        use(served, new, count=5)
        arguments = ("credentials", "retire", acme["clientId"], first["secretId"])
        out = cli(*arguments, "--dry-run", "--json").result
        assert out["wouldBreak"] is True
        assert [each["code"] for each in out["reasons"]] == ["secret_in_use"]
        assert [(each["lastHour"], each["lastDay"], each["lastWeek"]) for each in out["meter"]] == [
            (0, 2, 2),
            (5, 5, 5),
        ]
        shown = cli(*arguments, "--dry-run").out
        assert shown.endswith("Somebody would be locked out.\n")
        assert out["reasons"][0]["message"] in shown
        assert "203.0.113.7" in shown
        refused = cli(*arguments, "--json")
        assert (refused.code, refused.error["code"]) == (4, "secret_in_use")
        assert [each["status"] for each in secrets_of(cli)] == ["active", "active"]
        done = cli(*arguments, "--force", "--json").result
        assert [each["status"] for each in done["secrets"]] == ["retired", "active"]
        assert cli(*arguments, "--dry-run").out.endswith("\n\nNobody would notice.\n")
        assert cli(*arguments).out.startswith(f"Retired {first['secretId']}.")

    def test_a_secret_in_the_place_of_its_id_is_not_repeated(self, cli: Cli, acme: Acme) -> None:
        ended = cli("credentials", "retire", acme["clientId"], acme["clientSecret"], "--json")
        assert (ended.code, ended.error["code"]) == (3, "secret_not_found")
        assert acme["clientSecret"] not in ended.err


def test_the_meter_shows_each_secret(cli: Cli, acme: Acme, served: Database) -> None:
    [first] = secrets_of(cli)
    use(served, first["secretId"], count=3)
    out = cli("credentials", "meter", acme["clientId"], "--json").result
    assert list(out) == ["clientId", "merchantId", "secrets"]
    [row] = out["secrets"]
    assert (row["secretId"], row["lastHour"], row["lastUsedAddress"]) == (first["secretId"], 3, "203.0.113.7")
    header, line = cli("credentials", "meter", acme["clientId"]).out.splitlines()
    assert header.split() == ["SECRET", "LABEL", "STATUS", "RETIRES", "HOUR", "DAY", "WEEK", "LAST", "USED", "FROM"]
    assert line.split()[4:7] == ["3", "3", "3"]


class TestLeaked:
    def test_gives_a_receipt(self, cli: Cli, acme: Acme, served: Database) -> None:
        [first] = secrets_of(cli)
        use(served, first["secretId"])
        out = cli("credentials", "leaked", acme["clientId"], "--label", "after", "--json").result
        assert list(out) == [*ISSUED, "ended", "endedAt", "tokensDeadBy"]
        [ended] = out["ended"]
        assert (ended["secretId"], ended["lastUsedAddress"]) == (first["secretId"], "203.0.113.7")
        assert parse_instant(out["tokensDeadBy"]) - parse_instant(out["endedAt"]) == timedelta(seconds=5)
        assert [each["status"] for each in secrets_of(cli)] == ["revoked", "active"]

    def test_tells_people_what_to_do_next(self, cli: Cli, acme: Acme) -> None:
        [first] = secrets_of(cli)
        shown = cli("credentials", "leaked", acme["clientId"], first["secretId"]).out
        assert re.match(
            rf"Ended at \S+ \S+: {first['secretId']}\.\nEvery token of {acme['clientId']} is dead by", shown
        )
        assert len(SECRET.findall(shown)) == 1
        assert "secrets check" in shown
        again = cli("credentials", "leaked", acme["clientId"], first["secretId"], "--json")
        assert (again.code, again.error["code"]) == (4, "secret_ended")
        cli("credentials", "retire", acme["clientId"], secrets_of(cli)[1]["secretId"], "--force")
        assert ": no secret was live.\n" in cli("credentials", "leaked", acme["clientId"]).out


@pytest.fixture
def check(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    def run(text: bytes, *arguments: str) -> Any:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        return cli("secrets", "check", *arguments)

    return run


class TestCheck:
    def test_ours_and_alive_is_told_by_line_and_the_secret_never(self, check: Cli, cli: Cli, acme: Acme) -> None:
        secret, [first] = acme["clientSecret"], secrets_of(cli)
        stranger = new_client_secret()
        text = f"\xff\x00{secret}x\r\n\n{stranger} {secret[:-1]}! {secret[:-1]}\n key={secret}".encode("latin-1")
        ended = check(text, "--json")
        mine = {"ours": True, "live": True, "clientId": acme["clientId"], "secretId": first["secretId"]}
        other = {"ours": False, "live": False, "clientId": None, "secretId": None}
        assert ended.code == 6
        assert ended.result == {
            "findings": [
                {"line": 1, "column": 3} | mine, {"line": 3, "column": 1} | other, {"line": 4, "column": 6} | mine,
            ]
        }  # fmt: skip
        shown = check(text)
        assert shown.code == 6
        assert f"line 4, byte 6: {first['secretId']} of {acme['clientId']}, ALIVE" in shown.out
        assert f"credentials leaked {acme['clientId']} {first['secretId']}" in shown.out
        assert "line 3, byte 1: a client secret, but none of this server's" in shown.out
        assert shown.out.endswith("Client secrets found: 3, alive: 2.\n")
        for each in (secret, stranger):
            assert each not in ended.out + ended.err + shown.out + shown.err

    def test_a_dead_one_is_told_and_is_no_failure(self, check: Cli, cli: Cli, acme: Acme) -> None:
        cli("credentials", "revoke", acme["clientId"])
        ended = check(acme["clientSecret"].encode())
        assert ended.code == 0
        assert "which opens nothing" in ended.out

    @pytest.mark.usefixtures("acme")
    def test_an_empty_text_holds_none(self, check: Cli) -> None:
        assert check(b"").out == "Client secrets found: 0, alive: 0.\n"
        assert check(b"", "--json").result == {"findings": []}

    def test_what_the_check_characters_refuse_is_not_looked_up(self, check: Cli, acme: Acme) -> None:
        looked_up: list[Any] = []

        def on_statement(*arguments: Any) -> None:
            if "secrets.digest IN" in arguments[2]:
                looked_up.append(arguments[3])

        event.listen(Engine, "before_cursor_execute", on_statement)
        try:
            fakes = "".join(f"ecs_{BASE62[number % 62] * 49}\n" for number in range(2000))
            assert check((fakes + acme["clientSecret"] * 3).encode()).code == 6
        finally:
            event.remove(Engine, "before_cursor_execute", on_statement)
        assert [len(parameters) for parameters in looked_up] == [1]

    @pytest.mark.usefixtures("acme")
    def test_without_a_standard_input_it_says_so(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", None)
        assert cli("secrets", "check", "--json").code == 2


@pytest.mark.parametrize("chunk", [1, 7, 53, 54, 1000, 10_000])
def test_a_secret_is_found_wherever_the_text_is_cut(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(rules, "CHUNK", chunk)
    first, second = new_client_secret(), new_client_secret()
    filler = b"x" * 3000
    text = b"\n".join([filler + b"ecs_" + first.encode() + second.encode(), b"", first.encode(), b"ecs_", filler])
    found = list(rules.sightings(io.BytesIO(text)))
    assert [tuple(each) for each in found] == [(1, 3005, first), (1, 3058, second), (3, 1, first)]
    assert first not in repr(found)


def test_times_are_shown_as_everywhere(cli: Cli, acme: Acme) -> None:
    out = cli("credentials", "leaked", acme["clientId"], "--json").result
    assert out["endedAt"] == rfc3339(parse_instant(out["endedAt"]))

"""`ecross-server credentials`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ecross_server.kit.clock import parse_instant
from ecross_server.kit.database import Database
from ecross_server.merchants.rules import Peppers, is_client_secret
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from conftest import Register

Cli = Callable[..., Any]

SECRET = re.compile(r"ecs_[0-9A-Za-z]{49}")
SECRET_KEYS = ["secretId", "label", "status", "createdAt", "expiresAt", "retiresAt", "lastUsedAt", "lastUsedAddress"]


@pytest.mark.usefixtures("prepared")
class TestIssue:
    def test_prints_a_new_client_with_its_secret(self, cli: Cli, register: Register) -> None:
        first = register("ACME")
        out = cli("credentials", "issue", "ACME", "--label", "ERP", "--expires-in", "90d", "--json").result
        assert list(out) == [
            "merchantId", "clientId", "secretId", "clientSecret", "label", "createdAt", "expiresAt", "scope",
            "allowedNetworks",
        ]  # fmt: skip
        assert (out["merchantId"], out["label"]) == ("ACME", "ERP")
        assert out["clientId"] != first.client.id
        assert is_client_secret(out["clientSecret"])
        assert parse_instant(out["expiresAt"]) - parse_instant(out["createdAt"]) == timedelta(days=90)
        assert abs(parse_instant(out["createdAt"]) - datetime.now(UTC)) < timedelta(minutes=1)

    def test_without_options_it_has_no_label_and_lasts_for_good(self, cli: Cli, register: Register) -> None:
        register("ACME")
        out = cli("credentials", "issue", "ACME", "--json").result
        assert (out["label"], out["expiresAt"]) == (None, None)

    def test_what_is_kept_opens_with_what_was_printed(
        self, cli: Cli, register: Register, database: Database, peppers: Peppers
    ) -> None:
        register("ACME")
        out = cli("credentials", "issue", "ACME", "--json").result
        with database.engine.connect() as connection:
            digests = [bytes(row[0]) for row in connection.exec_driver_sql("SELECT digest FROM secrets")]
        assert peppers.digest(out["clientSecret"]) in digests

    def test_people_see_the_secret_once(self, cli: Cli, register: Register) -> None:
        register("ACME")
        ended = cli("credentials", "issue", "ACME", "--label", "ERP", "--expires-in", "12h")
        assert (ended.code, ended.err) == (0, "")
        assert len(SECRET.findall(ended.out)) == 1
        assert ended.out.startswith("Issued a new client of ACME.\n")
        assert re.search(r"^  label         ERP$", ended.out, re.MULTILINE)
        assert re.search(r"^  expires       \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$", ended.out, re.MULTILINE)
        assert max(map(len, ended.out.splitlines())) <= 80

    def test_people_learn_that_it_lasts_for_good(self, cli: Cli, register: Register) -> None:
        register("ACME")
        out = cli("credentials", "issue", "ACME").out
        assert re.search(r"^  label         -$", out, re.MULTILINE)
        assert re.search(r"^  expires       never$", out, re.MULTILINE)

    def test_an_unknown_merchant_is_not_found(self, cli: Cli) -> None:
        ended = cli("credentials", "issue", "NOBODY", "--json")
        assert (ended.code, ended.error["code"]) == (3, "merchant_not_found")

    def test_a_disabled_merchant_gets_none(self, cli: Cli, register: Register) -> None:
        register("ACME")
        cli("merchants", "disable", "ACME")
        ended = cli("credentials", "issue", "ACME", "--json")
        assert (ended.code, ended.error["code"]) == (4, "merchant_disabled")
        assert "ecross-server merchants enable ACME" in ended.error["message"]


@pytest.mark.usefixtures("prepared")
class TestList:
    def test_shows_every_client_with_the_lives_of_its_secrets(self, cli: Cli, register: Register) -> None:
        acme = register("ACME", label="ERP")
        beta = register("BETA")
        listed = cli("credentials", "list", "--json").result["credentials"]
        assert [(row["clientId"], row["merchantId"], row["status"]) for row in listed] == [
            (acme.client.id, "ACME", "active"),
            (beta.client.id, "BETA", "active"),
        ]
        for row in listed:
            assert list(row) == ["clientId", "merchantId", "status", "scope", "allowedNetworks", "createdAt", "secrets"]
            assert [list(secret) for secret in row["secrets"]] == [SECRET_KEYS]
        assert listed[0]["secrets"][0]["label"] == "ERP"
        assert listed[0]["secrets"][0]["secretId"] == acme.secret.id
        assert listed[0]["secrets"][0]["lastUsedAt"] is None

    def test_can_be_kept_to_one_merchant(self, cli: Cli, register: Register) -> None:
        register("ACME")
        beta = register("BETA")
        listed = cli("credentials", "list", "BETA", "--json").result["credentials"]
        assert [row["clientId"] for row in listed] == [beta.client.id]
        assert cli("credentials", "list", "NOBODY", "--json").code == 3

    def test_people_see_no_secret(self, cli: Cli, register: Register) -> None:
        issued = register("ACME", label="ERP")
        ended = cli("credentials", "list")
        header, row = ended.out.splitlines()
        assert header.split() == [
            "MERCHANT", "CLIENT", "ID", "SECRET", "LABEL", "STATUS", "ISSUED", "EXPIRES", "RETIRES", "LAST", "USED",
            "SCOPE", "FROM",
        ]  # fmt: skip
        assert row.split()[:5] == ["ACME", issued.client.id, issued.secret.id, "ERP", "active"]
        assert row.split()[7:] == ["never", "-", "-", "merchant", "anywhere"]
        assert issued.client_secret not in ended.out

    def test_without_any_there_is_a_way_on(self, cli: Cli) -> None:
        assert cli("credentials", "list").out == ("No credentials. Issue some: ecross-server credentials issue ACME\n")

    def test_one_that_has_run_out_is_shown_as_expired(self, cli: Cli, register: Register) -> None:
        register("ACME", expires_in=timedelta(milliseconds=1))
        time.sleep(0.01)
        secret = cli("credentials", "list", "--json").result["credentials"][0]["secrets"][0]
        assert secret["status"] == "expired"
        assert " expired " in cli("credentials", "list").out


@pytest.mark.usefixtures("prepared")
class TestRevoke:
    def test_prints_the_client_as_it_is_then(self, cli: Cli, register: Register) -> None:
        issued = register("ACME")
        for _ in range(2):  # twice does no harm
            out = cli("credentials", "revoke", issued.client.id, "--json").result
            assert list(out) == ["clientId", "merchantId", "status", "scope", "allowedNetworks", "createdAt", "secrets"]
            assert out["clientId"] == issued.client.id
            assert (out["status"], out["secrets"][0]["status"]) == ("revoked", "revoked")

    def test_tells_people(self, cli: Cli, register: Register) -> None:
        issued = register("ACME")
        ended = cli("credentials", "revoke", issued.client.id)
        assert ended.out == f"Revoked {issued.client.id}. Its tokens stop working within 5 seconds.\n"

    def test_an_unknown_client_is_not_found(self, cli: Cli, register: Register) -> None:
        register("ACME")
        for client_id in ("acme-aaaaaaaaaaaaa", "ACME", ""):
            ended = cli("credentials", "revoke", client_id, "--json")
            assert (ended.code, ended.error["code"]) == (3, "client_not_found")

    def test_a_secret_given_in_the_place_of_an_id_is_not_repeated(self, cli: Cli, register: Register) -> None:
        secret = register("ACME").client_secret
        for ended in (cli("credentials", "revoke", secret), cli("credentials", "revoke", secret, "--json")):
            assert ended.code == 3
            assert secret not in ended.out + ended.err
            assert "[redacted]" in ended.err


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"peppers": []}', '{"peppers": [{"id": "a", "value": "c2hvcnQ="}]}']
)
def test_peppers_that_cannot_be_used_are_told_in_a_sentence(cli: Cli, on_sqlite: Settings, content: str) -> None:
    cli("merchants", "register", "ACME", "--name", "Acme", "--no-credentials")
    on_sqlite.peppers_file.write_text(content)
    ended = cli("credentials", "issue", "ACME", "--json")
    assert (ended.code, ended.error["code"]) == (4, "unsafe_file")
    assert str(on_sqlite.peppers_file) in ended.error["message"]


def test_missing_peppers_are_not_made_anew_by_issuing(cli: Cli, on_sqlite: Settings) -> None:
    cli("merchants", "register", "ACME", "--name", "Acme", "--no-credentials")
    Path(on_sqlite.peppers_file).unlink()
    ended = cli("credentials", "issue", "ACME", "--json")
    assert ended.code == 5
    assert str(on_sqlite.peppers_file) in ended.error["message"]
    assert not on_sqlite.peppers_file.exists()


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    "duration", ["", "90", "d", "0d", "-1d", "1y", "1.5h", "1d1h", " 1d", "90 d", "9999999d", "٣d", "999999w"]
)
def test_a_duration_that_is_none_is_refused(cli: Cli, duration: str) -> None:
    ended = cli("credentials", "issue", "ACME", f"--expires-in={duration}", "--json")
    assert ended.code == 2
    assert ended.error["errors"][0]["path"] == "expires-in"
    assert len(cli("credentials", "list", "--json").result["credentials"]) == 1


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(("duration", "delta"), [("1m", 60), ("12h", 43200), ("2w", 1209600)])
def test_minutes_hours_and_weeks_are_understood(cli: Cli, duration: str, delta: int) -> None:
    out = cli("credentials", "issue", "ACME", "--expires-in", duration, "--json").result
    assert (parse_instant(out["expiresAt"]) - parse_instant(out["createdAt"])).total_seconds() == delta


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("label", ["", "\t", "E\x1bRP", "E\nRP", "x" * 101])
def test_a_label_that_would_disturb_a_terminal_is_refused(cli: Cli, label: str) -> None:
    ended = cli("credentials", "issue", "ACME", "--label", label)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: label must be 1 to 100 printable characters\n"
    assert len(cli("credentials", "list", "--json").result["credentials"]) == 1

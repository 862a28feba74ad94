"""`--hand-over`, and `ecross-server hand-overs`."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ecross_server.handover import service
from ecross_server.kit.clock import parse_instant, utc_now
from ecross_server.kit.database import Database
from ecross_server.merchants import service as merchants

if TYPE_CHECKING:
    from ecross_server.audit.service import Actor
    from ecross_server.merchants.rules import Peppers
    from ecross_server.settings import Settings

Cli = Callable[..., Any]
LINK = re.compile(r"http://127\.0\.0\.1:8000/hand-over/eho_[0-9A-Za-z]{32}")


def life(out: dict[str, Any]) -> timedelta:
    return parse_instant(out["handOverExpiresAt"]) - parse_instant(out["createdAt"])


@pytest.mark.usefixtures("prepared")
class TestOffer:
    def test_a_merchant_is_registered_with_a_link_instead_of_the_secret(self, cli: Cli) -> None:
        out = cli("merchants", "register", "ACME", "--name", "Acme", "--hand-over", "--json").result
        assert list(out) == [
            "merchantId", "name", "status", "createdAt", "clientId", "handOverId", "handOverUrl", "handOverExpiresAt",
            "handOverCode",
        ]  # fmt: skip
        assert LINK.fullmatch(out["handOverUrl"])
        assert (life(out), out["handOverCode"]) == (timedelta(days=3), None)
        assert cli("credentials", "list", "--json").result["credentials"][0]["secrets"] == []

    def test_a_client_is_issued_with_one(self, cli: Cli) -> None:
        cli("merchants", "register", "ACME", "--name", "Acme", "--no-credentials")
        options = ("--label", "ERP", "--expires-in", "90d", "--hand-over", "--hand-over-expires-in", "12h", "--code")
        out = cli("credentials", "issue", "ACME", *options, "--json").result
        assert list(out) == [
            "merchantId", "clientId", "secretId", "handOverId", "handOverUrl", "handOverExpiresAt", "handOverCode",
            "label", "createdAt", "expiresAt", "scope", "allowedNetworks",
        ]  # fmt: skip
        assert (life(out), out["label"], out["secretId"]) == (timedelta(hours=12), "ERP", None)
        assert re.fullmatch("[a-z2-7]{5}-[a-z2-7]{5}", out["handOverCode"])
        assert parse_instant(out["expiresAt"]) - parse_instant(out["createdAt"]) == timedelta(days=90)


def test_people_are_told_what_to_do_with_it(cli: Cli, on_sqlite: Settings) -> None:
    del on_sqlite
    ended = cli("merchants", "register", "ACME", "--name", "Acme", "--hand-over")
    assert (ended.code, ended.err, len(LINK.findall(ended.out))) == (0, "", 1)
    assert "code" not in ended.out
    assert "ecross-server hand-overs show hov_" in ended.out
    ended = cli("credentials", "issue", "ACME", "--hand-over", "--code")
    assert re.search(r"^  code +[a-z2-7]{5}-[a-z2-7]{5}$", ended.out, re.MULTILINE)
    assert "No e-mail is sent" in ended.out
    assert max(len(line) for line in ended.out.splitlines() if "eho_" not in line) <= 80


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    ("options", "path"),
    [
        (["--code"], "code"),
        (["--hand-over-expires-in", "3d"], "hand-over-expires-in"),
        (["--hand-over", "--hand-over-expires-in", "3"], "hand-over-expires-in"),
        (["--hand-over", "--hand-over-expires-in", "31d"], "hand-over-expires-in"),
        (["--hand-over", "--label", "a\tb"], "label"),
        (["--hand-over", "--no-credentials"], "hand-over"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_made(cli: Cli, options: list[str], path: str) -> None:
    is_registering = "--no-credentials" in options
    start = ("merchants", "register", "BETA", "--name", "B") if is_registering else ("credentials", "issue", "ACME")
    ended = cli(*start, *options, "--json")
    assert (ended.code, ended.error["errors"][0]["path"]) == (2, path)
    assert len(cli("credentials", "list", "--json").result["credentials"]) == 1


@pytest.mark.usefixtures("acme")
def test_without_a_way_to_the_server_no_link_is_made(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECROSS_SERVER_HOST", "0.0.0.0")  # noqa: S104 - what is tested
    ended = cli("credentials", "issue", "ACME", "--hand-over", "--json")
    assert (ended.code, ended.error["code"]) == (4, "unusable_public_url")
    assert "ECROSS_SERVER_PUBLIC_URL" in ended.error["message"]
    monkeypatch.setenv("ECROSS_SERVER_PUBLIC_URL", "https://api.example.com/ecross/")
    out = cli("credentials", "issue", "ACME", "--hand-over", "--json").result
    assert out["handOverUrl"].startswith("https://api.example.com/ecross/hand-over/eho_")


@pytest.mark.usefixtures("acme")
def test_a_disabled_merchant_gets_no_link(cli: Cli) -> None:
    cli("merchants", "disable", "ACME")
    assert cli("credentials", "issue", "ACME", "--hand-over", "--json").error["code"] == "merchant_disabled"


class TestRotation:
    @pytest.mark.usefixtures("prepared")
    def test_the_second_secret_is_made_when_the_link_is_used(
        self, cli: Cli, database: Database, peppers: Peppers, operator: Actor
    ) -> None:
        acme = cli("merchants", "register", "ACME", "--name", "Acme", "--json").result
        rotate = ("credentials", "rotate", acme["clientId"], "--label", "new", "--hand-over", "--json")
        out = cli(*rotate).result
        assert (out["merchantId"], out["clientId"], out["secretId"], out["label"]) == (
            "ACME", acme["clientId"], None, "new",
        )  # fmt: skip
        assert LINK.fullmatch(out["handOverUrl"])
        show = ("credentials", "list", "--json")
        assert len(cli(*show).result["credentials"][0]["secrets"]) == 1
        with database.write() as session:
            service.reveal_secret(session, out["handOverId"], peppers=peppers, now=utc_now(), by=operator)
        secrets = cli(*show).result["credentials"][0]["secrets"]
        assert [(each["label"], each["status"]) for each in secrets] == [(None, "active"), ("new", "active")]
        ended = cli(*rotate)
        assert (ended.code, ended.error["code"]) == (4, "too_many_secrets")

    @pytest.mark.parametrize("option", [("--overlap", "24h"), ("--retire-old-at", "2099-01-01T00:00:00Z")])
    def test_the_old_one_does_not_end_while_nobody_has_the_new_one(
        self, cli: Cli, acme: dict[str, str], option: tuple[str, str]
    ) -> None:
        ended = cli("credentials", "rotate", acme["clientId"], "--hand-over", *option, "--json")
        assert (ended.code, ended.error["errors"][0]["path"]) == (2, option[0].removeprefix("--"))
        assert cli("hand-overs", "list", "--json").result == {"handOvers": []}

    def test_a_client_without_room_or_life_gets_no_link(self, cli: Cli, acme: dict[str, str]) -> None:
        cli("credentials", "revoke", acme["clientId"])
        ended = cli("credentials", "rotate", acme["clientId"], "--hand-over", "--json")
        assert (ended.code, ended.error["code"]) == (4, "client_revoked")


@pytest.fixture
def issue(cli: Cli) -> Callable[..., Any]:
    def make(*options: str) -> Any:
        return cli("credentials", "issue", "ACME", "--hand-over", *options, "--json").result

    return make


@pytest.mark.usefixtures("prepared")
class TestReceipts:
    def test_tell_what_became_of_each(
        self, cli: Cli, issue: Any, database: Database, peppers: Peppers, operator: Actor
    ) -> None:
        cli("merchants", "register", "ACME", "--name", "Acme", "--no-credentials")
        cli("merchants", "register", "BETA", "--name", "Beta", "--hand-over")
        made = [issue("--label", "ERP") for _ in range(4)]
        now = utc_now()
        with database.write() as session:
            for each in made[:2]:
                service.note_opening(session, each["handOverId"], now=now, by=operator)
                service.reveal_secret(session, each["handOverId"], peppers=peppers, now=now, by=operator)
            service.deny_reveal(session, made[1]["handOverId"], now=now, by=operator)
            later = now + timedelta(days=4)
            assert service.show_hand_over(session, made[3]["handOverId"], now=later).state == "expired"
        assert cli("hand-overs", "cancel", made[2]["handOverId"]).out.startswith("Cancelled hov_")
        assert cli("hand-overs", "cancel", made[2]["handOverId"], "--json").result["state"] == "cancelled"
        listed = cli("hand-overs", "list", "ACME", "--json").result["handOvers"]
        assert [each["state"] for each in listed] == ["revealed", "denied", "cancelled", "open"]
        assert len(cli("hand-overs", "list").out.splitlines()) == 6
        shown = cli("hand-overs", "show", made[0]["handOverId"], "--json").result
        assert shown == listed[0]
        assert list(shown) == [
            "handOverId", "merchantId", "clientId", "label", "state", "hasCode", "createdAt", "createdBy", "expiresAt",
            "openedAt", "openedAddress", "revealedAt", "revealedAddress", "secretId", "deniedAt", "deniedAddress",
            "cancelledAt", "cancelledBy",
        ]  # fmt: skip
        assert shown["createdBy"].startswith("operator:")
        assert shown["revealedAt"] == shown["openedAt"]
        for each in made:
            text = cli("hand-overs", "show", each["handOverId"]).out
            assert re.search(r"^  client id +acme-", text, re.MULTILINE)
            assert each["handOverUrl"].rpartition("/")[2] not in text

    def test_what_was_revealed_cannot_be_cancelled(
        self, cli: Cli, issue: Any, database: Database, peppers: Peppers, operator: Actor
    ) -> None:
        cli("merchants", "register", "ACME", "--name", "Acme", "--no-credentials")
        made = issue()
        with database.write() as session:
            issued = service.reveal_secret(session, made["handOverId"], peppers=peppers, now=utc_now(), by=operator)
            secret_id = issued.secret.id
        ended = cli("hand-overs", "cancel", made["handOverId"], "--json")
        assert (ended.code, ended.error["code"]) == (4, "hand_over_revealed")
        assert f"credentials leaked {made['clientId']} {secret_id}" in ended.error["message"]

    def test_an_expired_one_is_shown_as_never_revealed(
        self, cli: Cli, database: Database, peppers: Peppers, operator: Actor
    ) -> None:
        cli("merchants", "register", "ACME", "--name", "Acme", "--no-credentials")
        before = utc_now() - timedelta(days=5)
        with database.write() as session:
            client = merchants.issue_credential(session, "ACME", peppers=peppers, now=before, by=operator).client
            terms = service.Terms(lasts=timedelta(days=3))
            made = service.offer_secret(session, client, terms, peppers=peppers, now=before, by=operator)
        assert "expired, never revealed" in cli("hand-overs", "show", made.hand_over.id).out

    def test_unknown_ones_are_not_found(self, cli: Cli) -> None:
        assert cli("hand-overs", "list").out.startswith("No hand-overs.")
        assert cli("hand-overs", "list", "NOBODY", "--json").error["code"] == "merchant_not_found"
        for verb in ("show", "cancel"):
            ended = cli("hand-overs", verb, "eho_" + "x" * 32, "--json")
            assert (ended.code, ended.error["code"]) == (3, "hand_over_not_found")
            assert "eho_" not in ended.error["message"]

"""Operators by command: invited, enrolled without a console, changed, and signed out."""

from __future__ import annotations

import json
import os
import re
import termios
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyotp
import pytest
from sqlalchemy import bindparam, text
from sqlalchemy.orm import Session

from ecross_server.admin.tokens import AdminTokens
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database, UtcDateTime
from ecross_server.merchants.rules import Peppers
from ecross_server.operators import service
from ecross_server.operators.rules import OperatorKeys, Role
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from packages.server.tests.cli.conftest import Cli

PASSWORD = "four words make one"
FACTS = ["operatorId", "name", "role", "status", "createdAt", "lastSignedInAt", "hasPassword", "hasTotp"]


class Typed:
    """Standard input of a program, which answers each question when it comes."""

    def __init__(self, answers: Iterator[str]) -> None:
        self._answers = answers

    def isatty(self) -> bool:
        return False

    def readline(self) -> str:
        return next(self._answers, "") + "\n"


@pytest.fixture
def enroll(cli: Cli, database: Database, peppers: Peppers, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Uses an invitation, as a program does."""

    def use(token: str, password: str = PASSWORD, code: str | None = None, *options: str) -> Any:
        def answers() -> Iterator[str]:
            yield token
            yield password
            with database.read() as session:
                keys = OperatorKeys(peppers.current, peppers.keys)
                seed = service.begin_enrolment(session, token, keys=keys, now=utc_now()).totp_secret
            yield pyotp.TOTP(seed).now() if code is None else code

        monkeypatch.setattr("sys.stdin", Typed(answers()))
        return cli("operators", "enroll", *options)

    return use


@pytest.fixture
def jane(cli: Cli, prepared: Settings, enroll: Callable[..., Any]) -> Settings:
    """An owner who has enrolled."""
    invited = cli("operators", "add", "jane", "--name", "Jane Doe", "--role", "owner", "--json").result
    assert enroll(invited["invitationToken"]).code == 0
    return prepared


def test_an_operator_is_invited_and_enrolls_without_a_console(
    cli: Cli, prepared: Settings, enroll: Callable[..., Any]
) -> None:
    del prepared
    assert cli("operators", "list").out.startswith("No operators. Invite the first: ecross-server operators add")
    invited = cli("operators", "add", "jane", "--name", "Jane Doe", "--role", "owner", "--json").result
    assert list(invited) == [*FACTS, "invitationToken", "invitationExpiresAt"]
    assert (invited["status"], invited["hasPassword"]) == ("invited", False)
    wrong = enroll(invited["invitationToken"], PASSWORD, "000000")
    assert (wrong.code, "not the code that the authenticator shows" in wrong.err) == (4, True)
    weak = enroll(invited["invitationToken"], "short")
    assert (weak.code, "password must have 12 characters" in weak.err) == (2, True)
    done = enroll(invited["invitationToken"])
    assert (done.code, done.out) == (0, "Enrolled jane as owner.\n")
    assert "█" in done.err
    assert PASSWORD not in done.out + done.err
    assert enroll(invited["invitationToken"], PASSWORD, "000000").code == 3
    shown = cli("operators", "show", "jane", "--json").result
    assert list(shown) == FACTS
    assert (shown["status"], shown["hasPassword"], shown["hasTotp"]) == ("active", True, True)
    assert cli("operators", "list", "--json").result == {"operators": [shown]}


@pytest.mark.usefixtures("prepared")
def test_the_result_alone_is_on_standard_output(cli: Cli, enroll: Callable[..., Any]) -> None:
    token = cli("operators", "add", "jo", "--name", "Jo", "--role", "viewer", "--json").result["invitationToken"]
    assert json.loads(enroll(token, PASSWORD, None, "--json").out)["operatorId"] == "jo"


class TestPeople:
    def test_read_sentences(self, cli: Cli, on_sqlite: Settings) -> None:
        del on_sqlite
        out = cli("operators", "add", "jane", "--name", "Jane Doe", "--role", "owner").out
        assert out.startswith("Invited jane (Jane Doe) as owner.\n\n  invitation   eoi_")
        assert out.endswith("To use it:\n  ecross-server operators enroll\n")
        assert cli("operators", "reinvite", "jane").out.startswith("Invited jane")
        assert cli("operators", "list").out.splitlines()[1].split()[:5] == ["jane", "Jane", "Doe", "owner", "invited"]
        assert cli("operators", "show", "jane").out.splitlines()[2].split() == ["role", "owner"]
        assert cli("operators", "role", "jane", "--role", "viewer").out == "jane is viewer now.\n"
        assert cli("operators", "disable", "jane").out == "Disabled jane.\n"
        assert cli("operators", "enable", "jane").out == "Enabled jane.\n"
        assert cli("operators", "sessions", "jane").out == "No sessions.\n"
        assert cli("operators", "sign-out", "jane").out == "Ended 0 sessions of jane.\n"

    def test_type_without_being_shown(self, cli: Cli, on_sqlite: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        del on_sqlite
        token = cli("operators", "add", "jane", "--name", "Jane", "--role", "owner", "--json").result["invitationToken"]
        controlling, terminal = os.openpty()
        os.set_blocking(controlling, False)
        typed = iter((token, PASSWORD, "another one"))
        set_attributes = termios.tcsetattr

        def set_and_type(descriptor: int, when: int, attributes: list[Any]) -> None:
            set_attributes(descriptor, when, attributes)
            if not attributes[3] & termios.ECHO:  # a person waits for the question
                os.write(controlling, f"{next(typed)}\n".encode())

        monkeypatch.setattr("termios.tcsetattr", set_and_type)
        with open(terminal, encoding="utf-8") as stdin:  # noqa: PTH123 - a descriptor
            monkeypatch.setattr("sys.stdin", stdin)
            ended = cli("operators", "enroll")
            assert termios.tcgetattr(terminal)[3] & termios.ECHO, "as before"
            with pytest.raises(BlockingIOError):
                os.read(controlling, 4096)
        os.close(controlling)
        assert (ended.code, "password was not the same twice" in ended.err) == (2, True)
        assert list(typed) == []

    def test_are_told_that_there_is_nothing_to_read(
        self, cli: Cli, on_sqlite: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        del on_sqlite
        monkeypatch.setattr("sys.stdin", None)
        assert cli("operators", "enroll").code == 2


class TestChanging:
    def test_a_role_and_an_end(self, cli: Cli, jane: Settings) -> None:
        del jane
        assert cli("operators", "role", "jane", "--role", "viewer", "--json").error["code"] == "last_owner"
        assert cli("operators", "disable", "jane", "--json").error["code"] == "last_owner"
        cli("operators", "add", "jo", "--name", "Jo", "--role", "viewer")
        assert cli("operators", "role", "jo", "--role", "representative", "--json").result["role"] == "representative"
        assert cli("operators", "disable", "jo", "--json").result["status"] == "disabled"
        assert cli("operators", "enable", "jo", "--json").result["status"] == "invited"
        assert cli("operators", "reinvite", "jo", "--json").result["invitationToken"].startswith("eoi_")
        assert cli("operators", "show", "john").code == 3
        records = cli("audit", "list", "--json").result["records"]
        assert [each["action"] for each in records[-4:]] == [
            "operators.role", "operators.disable", "operators.enable", "operators.reinvite",
        ]  # fmt: skip

    def test_sessions_are_listed_and_ended(
        self, cli: Cli, jane: Settings, database: Database, peppers: Peppers
    ) -> None:
        del jane, peppers
        assert cli("operators", "sessions", "jane", "--json").result == {"operatorId": "jane", "sessions": []}
        with database.write() as session:
            session.execute(
                text(
                    "INSERT INTO operator_sessions VALUES ('ses_1', :digest, 'jane', :now, :now, :ends, '::1', 'B')"
                ).bindparams(bindparam("now", type_=UtcDateTime), bindparam("ends", type_=UtcDateTime)),
                {"digest": b"d" * 32, "now": utc_now(), "ends": utc_now() + timedelta(hours=1)},
            )
        (found,) = cli("operators", "sessions", "jane", "--json").result["sessions"]
        assert (found["sessionId"], found["address"], found["userAgent"]) == ("ses_1", "::1", "B")
        assert cli("operators", "sign-out", "jane", "ses_2", "--json").error["code"] == "session_not_found"
        assert cli("operators", "sign-out", "jane", "ses_1", "--json").result == {
            "operatorId": "jane", "ended": ["ses_1"],
        }  # fmt: skip

    def test_passkeys_are_listed_and_removed(
        self, cli: Cli, jane: Settings, database: Database, peppers: Peppers
    ) -> None:
        del jane, peppers
        assert cli("operators", "passkeys", "jane", "--json").result == {"operatorId": "jane", "passkeys": []}
        assert cli("operators", "passkeys", "jane").out == "No passkeys. They are added in the console.\n"
        with database.write() as session:
            add_passkey(session, "psk_1")
        (found,) = cli("operators", "passkeys", "jane", "--json").result["passkeys"]
        assert list(found) == ["passkeyId", "label", "createdAt", "lastUsedAt"]
        assert (found["passkeyId"], found["label"], found["lastUsedAt"]) == ("psk_1", "Laptop", None)
        assert re.search(r"psk_1 +Laptop +2\S+", cli("operators", "passkeys", "jane").out)
        assert cli("operators", "remove-passkey", "jane", "psk_2", "--json").error["code"] == "passkey_not_found"
        assert cli("operators", "remove-passkey", "jane", "psk_1").out == "Removed the passkey psk_1 of jane.\n"
        assert cli("operators", "remove-passkey", "jane", "psk_1", "--json").code == 3
        assert cli("operators", "passkeys", "jane", "--json").result["passkeys"] == []

    def test_what_is_left_of_them_is_told(self, cli: Cli, jane: Settings, database: Database) -> None:
        del jane
        with database.write() as session:
            for name in ("psk_1", "psk_2"):
                add_passkey(session, name)
        left = cli("operators", "remove-passkey", "jane", "psk_1", "--json").result
        assert (left["operatorId"], [each["passkeyId"] for each in left["passkeys"]]) == ("jane", ["psk_2"])


def add_passkey(session: Session, passkey_id: str) -> None:
    """Put one into the database, as no browser has made it."""
    session.execute(
        text(
            "INSERT INTO operator_passkeys "
            "VALUES (:id, 'jane', 'Laptop', :digest, :digest, 'pep_1', :digest, 0, :now, NULL)"
        ).bindparams(bindparam("now", type_=UtcDateTime)),
        {"id": passkey_id, "digest": passkey_id.encode() * 4, "now": utc_now()},
    )


class TestTokens:
    def test_a_token_for_scripts_names_the_operator(self, cli: Cli, jane: Settings, peppers: Peppers) -> None:
        tokens = AdminTokens(
            jane.signing_keys_file, lambda: peppers, issuer=jane.issuer, audience=jane.admin_audience,
            lifetime_seconds=60, clock=time.time,
        )  # fmt: skip
        raw = cli("operators", "token", "jane", "--raw").out.strip()
        claims = tokens.read(raw)
        assert (claims.operator_id, claims.role) == ("jane", Role.OWNER)
        assert cli("operators", "token", "jane", "--header").out.startswith("Authorization: Bearer eyJ")
        answer = cli("operators", "token", "jane", "--json").result
        assert (list(answer), answer["expiresIn"]) == (["token", "tokenType", "expiresIn"], 3600)
        record = cli("audit", "list", "--json").result["records"][-1]
        assert (record["action"], record["details"]["operatorId"]) == ("operators.issue_token", "jane")
        assert raw not in str(record)

    @pytest.mark.parametrize("options", [(), ("--raw", "--header")])
    def test_it_is_printed_only_as_asked_for(self, cli: Cli, jane: Settings, options: tuple[str, ...]) -> None:
        del jane
        assert cli("operators", "token", "jane", *options).code == 2

    def test_who_cannot_sign_in_gets_none(self, cli: Cli, prepared: Settings) -> None:
        del prepared
        cli("operators", "add", "jane", "--name", "Jane", "--role", "owner")
        assert cli("operators", "token", "jane", "--json").error["code"] == "operator_not_enrolled"


def test_where_the_console_has_an_address_the_invitation_is_a_link_too(
    cli: Cli, prepared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    del prepared
    plain = cli("operators", "add", "jo", "--name", "Jo", "--role", "viewer").out
    assert "/console/" not in plain
    monkeypatch.setenv("ECROSS_SERVER_CONSOLE_URL", "https://console.example")
    out = cli("operators", "reinvite", "jo").out
    assert re.search(r"^  https://console\.example/console/invitations/eoi_[0-9A-Za-z]{43}$", out, re.MULTILINE)

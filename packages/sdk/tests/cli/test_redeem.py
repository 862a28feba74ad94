"""`ecross redeem`: what is sent, what is stored, what uses a link up. With the real server: tests/e2e."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecross.cli import redeem
from ecross.testing import Answer, FakeServer, Merchant, lost_connection, server_error

Cli = Callable[..., Any]
Send = Callable[[bytes], None]
OnTerminal = Callable[..., Any]
TOKEN = "eho_0123456789abcdefghijABCDEFGHIJ01"
PATH = f"/hand-over/{TOKEN}"
SECRET = "ecs_" + "x" * 49


@pytest.fixture
def home() -> Path:
    return Path(os.environ["HOME"])


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redeem, "PAUSE_SECONDS", 0.0)


class Link:
    """A link of the fake server, which answers as the real one."""

    def __init__(self, server: FakeServer, merchant: Merchant) -> None:
        self.server = server
        self.url = server.url + PATH
        self.facts = {
            "state": "open", "merchantId": "ACME", "merchantName": "Acme", "clientId": merchant.client_id,
            "label": None, "needsCode": False, "nonce": "N0nce",
        }  # fmt: skip
        self.given = {"merchantId": "ACME", "clientId": merchant.client_id, "clientSecret": merchant.client_secret}

    def opens(self, **changes: Any) -> None:
        """Let it be looked at once."""
        self.server.script(f"GET {PATH}", Answer(json=self.facts | changes))

    def gives(self, **changes: Any) -> None:
        """Let it be used once."""
        self.server.script(f"POST {PATH}", Answer(json=self.given | changes))

    @property
    def sent(self) -> list[Any]:
        """The bodies of what was sent to be given the secret."""
        return [json.loads(each.content) for each in self.posts]

    @property
    def posts(self) -> list[Any]:
        return [each for each in self.server.requests if each.method == "POST" and each.path == PATH]


@pytest.fixture
def link(ecross_server: FakeServer, merchant: Merchant) -> Link:
    return Link(ecross_server, merchant)


def test_the_secret_goes_where_the_next_command_finds_it_and_is_not_shown(
    cli: Cli, link: Link, merchant: Merchant, home: Path
) -> None:
    link.opens()
    link.gives()
    ended = cli("redeem", link.url)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"Redeemed: {merchant.client_id} at {link.server.url}, profile default.\n")
    assert merchant.client_secret not in ended.out
    file = home / ".config/ecross/config.credentials.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "probe" not in file.read_text() + file.with_name("config.toml").read_text()
    assert link.sent == [{"act": "reveal", "nonce": "N0nce", "code": ""}]
    assert link.posts[0].headers["origin"] == link.server.url
    assert cli("whoami", "--json").result["merchantId"] == "ACME"


def test_a_script_sends_link_and_code_and_is_told_the_place(
    cli: Cli, link: Link, merchant: Merchant, send: Send, home: Path
) -> None:
    link.opens(needsCode=True)
    link.gives()
    send(f"{link.url}\n\n abcde-fghij \n".encode())
    result = cli("redeem", "--stdin", "--profile", "second", "--json").result
    assert result.pop("whyNotKeyring")
    assert result == {
        "profile": "second", "clientId": merchant.client_id, "merchantId": "ACME",
        "server": link.server.url, "isChecked": True, "secretPlace": "credentials file",
        "secretFile": str(home / ".config/ecross/config.credentials.toml"),
    }  # fmt: skip
    assert link.sent[0]["code"] == "abcde-fghij"


def test_a_person_is_asked_for_both(on_terminal: OnTerminal, link: Link, merchant: Merchant) -> None:
    link.opens(needsCode=True)
    link.gives()
    terminal = on_terminal("redeem")
    terminal.read_until("Link (not shown): ")
    terminal.type(f"{link.url}\n")
    terminal.read_until("Code: ")
    terminal.type("abcde-fghij\n")
    code, screen = terminal.end()
    assert (code, "Redeemed:" in screen) == (0, True)
    assert TOKEN not in screen
    assert merchant.client_secret not in screen
    assert link.sent[0]["code"] == "abcde-fghij"


def test_what_is_no_safe_link_is_refused_and_not_repeated(cli: Cli) -> None:
    for told in (
        " ", "x", TOKEN, "https://api.example.com/hand-over/", f"https://api.example.com{PATH}?x=1",
        f"https://api.example.com/{TOKEN}", f"http://api.example.com{PATH}", f"https://u:p@api.example.com{PATH}",
        f"ftp://api.example.com{PATH}", f"https://[{PATH}",
    ):  # fmt: skip
        ended = cli("redeem", told)
        assert (ended.code, ended.out) == (2, ""), told
        assert TOKEN not in ended.err


def test_link_and_code_must_come_from_somewhere(
    cli: Cli, link: Link, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(b"")
    assert cli("redeem").code == 3
    for content in (b"", b" \n \n"):
        send(content)
        assert "no link on standard input" in cli("redeem", "--stdin").err
    assert "not both" in cli("redeem", link.url, "--stdin").err
    link.opens(needsCode=True)
    ended = cli("redeem", link.url)
    assert (ended.code, "on the line after the link" in ended.err, link.sent) == (3, True, [])
    monkeypatch.setattr(sys, "stdin", None)
    assert "nothing on standard input" in cli("redeem", "--stdin").err


def test_a_refusal_is_told_in_the_server_s_words(cli: Cli, link: Link) -> None:
    link.server.script(f"GET {PATH}", Answer(404, json={"message": "Shown already.", "code": "hand_over_spent"}))
    ended = cli("redeem", link.url, "--json")
    assert (ended.code, ended.error["code"]) == (6, "hand_over_spent")
    assert ended.error["message"].startswith("Shown already.")
    link.server.script(f"POST {PATH}", Answer(403, json={"message": f"No {TOKEN}.", "code": "wrong_code"}))
    link.opens()
    ended = cli("redeem", link.url, "--json")
    assert TOKEN not in ended.err


def test_a_profile_of_another_client_is_left_alone_and_the_link_is_not_used(cli: Cli, link: Link, send: Send) -> None:
    send(b"secret\n")
    cli("login", "--base-url", link.server.url, "--client-id", "another", "--secret-stdin", "--no-check")
    link.opens()
    ended = cli("redeem", link.url)
    assert (ended.code, link.sent) == (2, [])
    assert "The profile default holds another. Name another one with --profile" in ended.err


def test_where_nothing_can_be_stored_the_link_is_not_used(cli: Cli, link: Link, home: Path) -> None:
    (home / ".config").write_text("no folder")
    link.opens()
    assert (cli("redeem", link.url).code, link.sent) == (2, [])


def test_a_secret_that_cannot_be_stored_after_all_is_told_with_what_to_do(
    cli: Cli, link: Link, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    link.opens()
    link.gives(clientSecret="two\nlines")
    ended = cli("redeem", link.url)
    assert (ended.code, "two" in ended.err) == (2, False)
    link.opens()
    link.gives()
    monkeypatch.setattr(redeem, "_require_place", lambda *_: None)
    monkeypatch.setenv("ECROSS_CONFIG_FILE", "/proc/nowhere/config.toml")
    ended = cli("redeem", link.url)
    assert ended.code == 2
    assert "could not be stored, and is lost" in ended.err
    assert "Not you?" in ended.err
    assert merchant.client_secret not in ended.err


def test_a_server_that_does_not_know_the_secret_yet_is_waited_for(cli: Cli, link: Link) -> None:
    refused = Answer(401, json={"message": "Incorrect username or password."})
    for answers, is_known in (([refused] * 2, True), ([refused] * 5, False), ([server_error(503)], False)):
        link.opens()
        link.gives()
        link.server.script("/token", *answers)
        ended = cli("redeem", link.url)
        assert (ended.code, "did not accept it yet" in ended.err) == (0, not is_known)
        assert not link.server.unused_answers


def test_facts_of_another_form_use_nothing_up(cli: Cli, link: Link) -> None:
    for answer, code in (({"nonce": 1}, 6), ({"nonce": None}, 6), ({"clientId": None}, 2)):
        link.opens(**answer)
        assert (cli("redeem", link.url).code, link.sent) == (code, []), answer


def test_a_page_that_is_no_hand_over_is_refused(cli: Cli, link: Link) -> None:
    for content in (b"<html>", b"[]"):
        link.server.script(f"GET {PATH}", Answer(content=content))
        ended = cli("redeem", link.url)
        assert (ended.code, "something else than a hand-over" in ended.err) == (6, True)


def test_a_secret_of_another_form_or_client_is_not_stored(cli: Cli, link: Link) -> None:
    for answer in ({"clientSecret": None}, {"clientId": "another"}):
        link.opens()
        link.gives(**answer)
        ended = cli("redeem", link.url)
        assert (ended.code, "something else than a hand-over" in ended.err) == (6, True)
    assert cli("whoami").code == 3


def test_when_the_answer_is_lost_the_way_on_is_told(cli: Cli, link: Link) -> None:
    link.opens()
    link.server.script(f"POST {PATH}", lost_connection())
    ended = cli("redeem", link.url)
    assert (ended.code, "is not known" in ended.err, "Not you?" in ended.err) == (5, True, True)
    assert len(link.sent) == 1

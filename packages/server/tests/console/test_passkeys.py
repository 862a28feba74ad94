"""Passkeys on the console: the pages on which browsers make and use them, and what comes back from there."""

from __future__ import annotations

import html
import json
import re
from datetime import timedelta
from typing import Any

import pytest

from ecross_server.app.administration import Administration
from ecross_server.audit.service import RecordFilter, list_records
from ecross_server.console.desk import HEADERS
from ecross_server.kit.database import Database
from ecross_server.operators.rules import Role
from ecross_server.settings import Settings
from packages.server.tests.authenticators import Device
from packages.server.tests.console.conftest import PASSWORD, Browser, Console, Enroll, Enrolled, SignIn, TestClock

PASSKEYS = "/console/passkeys"
BY_PASSKEY = "/console/sign-in/passkey"


def options_on(page: Any) -> Any:
    """What the page's form asks the browser for."""
    found = re.search(r'data-passkey="(?:create|get)" data-origin="([^"]*)" data-options="([^"]*)"', page.text)
    assert found is not None
    assert found[1] == "https://console.example.com"
    return json.loads(html.unescape(found[2]))


@pytest.fixture
def jane(enroll: Enroll) -> Enrolled:
    return enroll()


@pytest.fixture
def at_home(browser: Browser, jane: Enrolled) -> Browser:
    """Jane's browser, in which she has signed in."""
    answer = browser.post("/console/sign-in", operator="jane", password=PASSWORD, code=jane.next_code())
    assert answer.status_code == 303
    return browser


@pytest.fixture
def device() -> Device:
    return Device()


def begin(browser: Browser, jane: Enrolled, **typed: str) -> Any:
    fields = {"label": "Work laptop", "password": PASSWORD, "code": jane.next_code(), **typed}
    return browser.post(f"{PASSKEYS}/begin", **fields)


def add(browser: Browser, jane: Enrolled, device: Device, label: str = "Work laptop") -> Any:
    options = options_on(begin(browser, jane, label=label))
    return browser.post(PASSKEYS, label=label, answer=device.create(options))


def enter(browser: Browser, device: Device, **fields: str) -> Any:
    options = options_on(browser.get("/console/sign-in"))
    return browser.post(BY_PASSKEY, answer=device.get(options), **fields)


def test_it_is_added_used_and_removed(console: Console, at_home: Browser, jane: Enrolled, device: Device) -> None:
    assert "None yet." in at_home.get(PASSKEYS).text
    answer = add(at_home, jane, device)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PASSKEYS}?done=passkey-added")
    page = at_home.get(answer.headers["location"]).text
    assert "The passkey is added" in page
    assert "Work laptop" in page
    elsewhere = Browser(console, "198.51.100.9")
    answer = enter(elsewhere, device, next="/console/trail")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/trail")
    assert re.fullmatch(
        r"__Host-ecross-console=eos_[0-9A-Za-z]{43}; HttpOnly; Path=/; SameSite=strict; Secure",
        answer.headers["set-cookie"],
    )
    assert "Jane Doe" in elsewhere.get("/console/trail").text
    passkey_id = re.findall(r'name="passkey" value="(psk_[^"]*)"', page)[0]
    answer = at_home.post(f"{PASSKEYS}/remove", passkey=passkey_id)
    assert answer.headers["location"] == f"{PASSKEYS}?done=passkey-removed"
    assert "opens nothing any more" in at_home.get(answer.headers["location"]).text
    answer = enter(Browser(console), device)
    assert answer.status_code == 409
    assert "This passkey opens nothing here." in answer.text
    assert "set-cookie" not in answer.headers
    assert at_home.post(f"{PASSKEYS}/remove", passkey=passkey_id).status_code == 404
    assert elsewhere.get("/console/trail").status_code == 200, "a session goes on"


def test_it_opens_a_new_session_and_the_one_before_ends(
    console: Console, at_home: Browser, jane: Enrolled, device: Device
) -> None:
    add(at_home, jane, device)
    before = str(at_home.cookie)
    stranger = Browser(console)
    options = options_on(stranger.get("/console/sign-in"))
    assert at_home.post(BY_PASSKEY, answer=device.get(options)).status_code == 303
    assert at_home.cookie != before
    stranger.cookie = before
    assert stranger.get("/console/merchants").status_code == 303


def test_a_session_alone_adds_none(console: Console, at_home: Browser, jane: Enrolled, device: Device) -> None:
    for wrong in ({"password": "another set of words"}, {"code": "000000"}):
        answer = begin(at_home, jane, **wrong)
        assert answer.status_code == 409
        assert "Incorrect operator, password or code." in answer.text
        assert "words" not in answer.text
        assert 'value="Work laptop"' in answer.text
    options = options_on(Browser(console).get("/console/sign-in"))
    answer = at_home.post(PASSKEYS, label="x", answer=device.create({**options, "user": {"id": ""}}))
    assert answer.status_code == 409, "what asks for one is no leave to add one"


def test_what_was_begun_in_another_session_is_not_kept(
    at_home: Browser, jane: Enrolled, device: Device, database: Database
) -> None:
    said = device.create(options_on(begin(at_home, jane)))
    at_home.post("/console/sign-in", operator="jane", password=PASSWORD, code=jane.next_code())
    answer = at_home.post(PASSKEYS, label="Work laptop", answer=said)
    assert answer.status_code == 409
    assert "made no passkey that can be used here" in answer.text
    with database.read() as session:
        assert not list(list_records(session, RecordFilter(action="operators.add_passkey")))


def test_a_page_that_has_waited_too_long_says_so(
    at_home: Browser, jane: Enrolled, device: Device, clock: TestClock, console: Console
) -> None:
    add(at_home, jane, device)
    browser = Browser(console)
    said = device.get(options_on(browser.get("/console/sign-in")))
    clock.ahead += timedelta(minutes=11)
    answer = browser.post(BY_PASSKEY, answer=said, next="/console/trail")
    assert answer.status_code == 409
    assert "waited for too long" in answer.text
    assert 'name="next" value="/console/trail"' in answer.text
    said = device.get(options_on(answer))
    assert browser.post(BY_PASSKEY, answer=said).status_code == 303, "the page that says so begins anew"


def test_a_label_is_text(at_home: Browser, jane: Enrolled, device: Device) -> None:
    label = "\"><script>alert('x')</script>"
    assert "<script>alert" not in begin(at_home, jane, label=label).text
    assert add(at_home, jane, device, label).status_code == 303
    page = at_home.get(PASSKEYS).text
    assert label in html.unescape(page)
    assert "<script>alert" not in page
    answer = begin(at_home, jane, label="")
    assert 'id="label-fault"' in answer.text
    assert answer.status_code == 400


def test_an_owner_sees_and_removes_those_of_others(  # noqa: PLR0917 - fixtures
    console: Console, at_home: Browser, jane: Enrolled, device: Device, sign_in: SignIn, database: Database
) -> None:
    add(at_home, jane, device)
    owner = sign_in(Role.OWNER, "olga")
    page = owner.get("/console/operators/jane").text
    passkey_id = re.findall(r'name="passkey" value="(psk_[^"]*)"', page)[0]
    answer = owner.post("/console/operators/jane/remove-passkey", passkey=passkey_id)
    assert answer.headers["location"] == "/console/operators/jane?done=passkey-removed"
    assert "Passkeys</h2>" not in owner.get("/console/operators/jane").text
    assert enter(Browser(console), device).status_code == 409
    with database.read() as session:
        [act] = list_records(session, RecordFilter(action="operators.remove_passkey"))
    assert act.draft.actor == "operator:olga"
    assert '"operatorId":"jane"' in (act.draft.details or "")


def test_scripts_are_loaded_where_they_serve_and_the_headers_are_those_of_every_page(
    at_home: Browser, jane: Enrolled, console: Console
) -> None:
    pages = [Browser(console).get("/console/sign-in"), begin(at_home, jane)]
    for page in pages:
        [script] = re.findall(r'<script src="(/console/static/passkeys\.[0-9a-f]{16}\.js)" defer></script>', page.text)
        assert at_home.get(script).headers["content-type"].startswith("text/javascript")
        assert {name: page.headers[name] for name in HEADERS} == dict(HEADERS)
        assert re.search(r"<form [^>]*data-passkey[^>]* hidden>", page.text), "nothing to click without the script"
    assert "passkeys." not in at_home.get("/console/merchants").text


class TestWithoutAName:
    """Reached at an address, the console has no name that passkeys could be made for."""

    @pytest.fixture
    def console(self, console: Console, settings: Settings) -> Console:
        nameless = Administration(settings.model_copy(update={"console_url": "https://192.0.2.1"}))
        console.app.state.console_desk = nameless.desk
        nameless.database.close()
        return console

    def test_pages_say_what_is_to_be_done(self, at_home: Browser) -> None:
        page = at_home.get(PASSKEYS).text
        assert "ECROSS_SERVER_CONSOLE_URL" in page
        assert "Go on" not in page
        for path in (f"{PASSKEYS}/begin", PASSKEYS, BY_PASSKEY):
            answer = at_home.post(path, answer="{}", label="x")
            assert answer.status_code == 409
            assert "need a name" in answer.text
        at_home.client.cookies.clear()
        assert "data-passkey" not in at_home.get("/console/sign-in").text

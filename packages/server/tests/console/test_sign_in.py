"""Signing in and out, and what a session is worth."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pyotp
import pytest

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.audit.service import RecordFilter, list_records
from ecross_server.console.desk import COOKIE
from ecross_server.kit.database import Database
from ecross_server.operators import repository
from ecross_server.operators import service as operators
from ecross_server.operators.rules import OperatorKeys, Role
from packages.server.tests.console.conftest import PASSWORD, Browser, Console, Enroll, SignIn, TestClock

HOME = "/console/merchants"


def enter(browser: Browser, someone: Any, **fields: str) -> Any:
    typed = {"operator": someone.operator_id, "password": PASSWORD, "code": someone.next_code(), **fields}
    return browser.post("/console/sign-in", **typed)


class TestSigningIn:
    def test_a_stranger_is_asked_to_sign_in_and_then_goes_where_he_wanted(
        self, browser: Browser, enroll: Enroll
    ) -> None:
        answer = browser.get("/console/trail?merchant=ACME")
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in?next=%2Fconsole%2Ftrail")
        page = browser.get(answer.headers["location"])
        assert 'name="next" value="/console/trail"' in page.text
        answer = enter(browser, enroll(), next="/console/trail")
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/trail")
        assert "Jane Doe" in browser.get("/console/trail").text
        assert browser.get("/console/sign-in").headers["location"] == HOME, "who is signed in goes on"

    def test_the_cookie_is_for_this_host_alone_and_not_for_scripts(self, browser: Browser, enroll: Enroll) -> None:
        cookie = enter(browser, enroll()).headers["set-cookie"]
        name, _, rest = cookie.partition("=")
        value, *attributes = rest.split("; ")
        assert (name, re.fullmatch(r"eos_[0-9A-Za-z]{43}", value) is not None) == ("__Host-ecross-console", True)
        assert {each.lower() for each in attributes} == {"httponly", "path=/", "samesite=strict", "secure"}

    def test_whatever_is_wrong_is_answered_alike_and_no_password_comes_back(
        self, browser: Browser, enroll: Enroll
    ) -> None:
        someone = enroll()
        answers = [
            enter(browser, someone, password="another set of words"), enter(browser, someone, code="000000"),
            enter(browser, someone, operator="nobody"), enter(browser, someone, operator="", password="", code=""),
        ]  # fmt: skip
        assert {answer.status_code for answer in answers} == {409}
        texts = {re.sub(r'(value|data-options)="[^"]*"', "", answer.text) for answer in answers}
        assert len(texts) == 1
        assert "Incorrect operator, password or code." in texts.pop()
        assert all("words" not in answer.text for answer in answers)
        assert all("set-cookie" not in answer.headers for answer in answers)
        assert 'value="jane"' in answers[0].text, "what is no secret is kept"

    def test_a_code_works_once(self, browser: Browser, enroll: Enroll) -> None:
        someone = enroll()
        code = someone.next_code()
        assert enter(browser, someone, code=code).status_code == 303
        assert enter(browser, someone, code=code).status_code == 409

    def test_who_guesses_has_to_wait(self, browser: Browser, enroll: Enroll) -> None:
        someone = enroll()
        answers = [enter(browser, someone, password="wrong" * 4) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [409] * 5 + [429]
        assert 0 < int(answers[-1].headers["retry-after"]) <= 30
        assert 'role="alert"' in answers[-1].text

    def test_nobody_can_choose_the_session_that_somebody_else_will_use(
        self, browser: Browser, enroll: Enroll, console: Console
    ) -> None:
        someone = enroll()
        browser.cookie = planted = "eos_" + "A" * 43
        assert enter(browser, someone).status_code == 303
        thief = Browser(console)
        thief.cookie = planted
        assert thief.get(HOME).status_code == 303
        before = browser.cookie
        assert enter(browser, someone).status_code == 303
        assert browser.cookie != before
        thief.cookie = str(before)
        assert thief.get(HOME).status_code == 303, "the session from before ended"

    @pytest.mark.parametrize(
        "path",
        [
            "https://evil.example", "//evil.example", "/\\evil.example", "/console/../x\\y", "/console", "/token",
            "/console/sign-in", "/console/sign-out", "/console/merchants?done=merchant-disabled", "/console/\r\nX: y",
            "/console/\u202e", "",
        ],
    )  # fmt: skip
    def test_after_it_one_goes_nowhere_but_to_a_page(self, browser: Browser, enroll: Enroll, path: str) -> None:
        assert enter(browser, enroll(), next=path).headers["location"] == HOME

    def test_no_secret_stands_in_what_is_told_of_the_request(self, browser: Browser, enroll: Enroll) -> None:
        someone = enroll()
        enter(browser, someone)
        browser.get(HOME)
        context = browser.contexts[-1]
        assert (context.client_id, context.outcome) == ("operator:jane", None)
        enter(browser, someone, password="wrong" * 4)
        assert browser.contexts[-1].outcome == "sign_in_refused"


class TestEnding:
    def test_signing_out_ends_the_session_everywhere(self, sign_in: SignIn, console: Console) -> None:
        browser = sign_in()
        copy = Browser(console)
        copy.cookie = str(browser.cookie)
        answer = browser.post("/console/sign-out")
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in")
        assert browser.cookie is None
        assert "Max-Age=0" in answer.headers["set-cookie"]
        assert copy.get(HOME).status_code == 303
        assert browser.post("/console/sign-out").status_code == 303, "twice does no harm"

    def test_a_session_ends_after_half_an_hour_without_use(self, sign_in: SignIn, clock: TestClock) -> None:
        browser = sign_in()
        for _ in range(2):
            clock.ahead += timedelta(minutes=29)
            assert browser.get(HOME).status_code == 200
        clock.ahead += timedelta(minutes=30)
        assert browser.get(HOME).status_code == 303

    def test_a_session_ends_after_twelve_hours_in_any_case(self, sign_in: SignIn, clock: TestClock) -> None:
        browser = sign_in()
        last = 0
        for _ in range(26):
            last = browser.get(HOME).status_code
            clock.ahead += timedelta(minutes=29)
        assert last == 303

    def test_what_a_page_asks_by_its_own_clock_is_no_use_of_it(self, sign_in: SignIn, clock: TestClock) -> None:
        browser = sign_in()
        for _ in range(3):
            clock.ahead += timedelta(minutes=9)
            assert browser.get(HOME, **{"HX-Request": "true"}).status_code == 200
        clock.ahead += timedelta(minutes=4)
        answer = browser.get(HOME, **{"HX-Request": "true"})
        assert (answer.status_code, answer.headers["hx-refresh"]) == (403, "true")

    def test_a_form_that_comes_too_late_does_nothing_and_says_so(self, browser: Browser) -> None:
        answer = browser.post("/console/register", id="ACME", name="Acme")
        assert (answer.status_code, "Sign in first" in answer.text) == (403, True)

    def test_a_disabled_operator_is_out_at_once(
        self, sign_in: SignIn, database: Database, operator: Actor, clock: TestClock
    ) -> None:
        browser = sign_in(Role.VIEWER)
        with database.write() as session:
            operators.disable_operator(session, "jane-viewer", now=clock(), by=operator)
        assert browser.get(HOME).status_code == 303

    @pytest.mark.parametrize("value", ["", "x", "eos_", "eos_" + "0" * 43, "eos_" + "0" * 44, "é", '"', "a" * 5000])
    def test_no_made_up_cookie_opens_anything(self, browser: Browser, value: str) -> None:
        answer = browser.client.get(HOME, headers={b"Cookie": f"{COOKIE}={value}".encode()})
        assert answer.status_code == 303


class TestSessionsPage:
    def test_it_lists_one_s_own_and_ends_them(self, sign_in: SignIn, console: Console, database: Database) -> None:
        here = sign_in()
        sign_in(Role.VIEWER)
        value, other = another_session(here, console, database)
        text = here.get("/console/sessions").text
        assert text.count('class="acts"') == 2
        assert "203.0.113.9" in text
        assert "Another &lt;browser&gt;" in text
        named = re.findall(r'name="session" value="(ses_\w+)"', text)
        assert len(named) == 1
        assert value not in text
        assert here.post("/console/sessions/end", session=named[0]).status_code == 303
        assert other.get(HOME).status_code == 303
        assert here.get("/console/sessions").status_code == 200

    def test_all_others_end_by_one_button(self, sign_in: SignIn, console: Console, database: Database) -> None:
        here = sign_in()
        others = [another_session(here, console, database)[1] for _ in range(2)]
        assert here.post("/console/sessions/end").status_code == 303
        assert [each.get(HOME).status_code for each in (here, *others)] == [200, 303, 303]

    def test_somebody_else_s_session_cannot_be_ended(self, sign_in: SignIn) -> None:
        mine, theirs = sign_in(Role.OWNER), sign_in(Role.VIEWER)
        page = mine.get("/console/operators/jane-viewer").text
        name = re.findall(r'name="session" value="(ses_\w+)"', page)[0]
        answer = mine.post("/console/sessions/end", session=name)
        assert (answer.status_code, "There is no such session" in answer.text) == (404, True)
        assert theirs.get(HOME).status_code == 200


def another_session(browser: Browser, console: Console, database: Database) -> tuple[str, Browser]:
    """Another session of the same operator, opened as the sign-in does once the proof is there."""
    desk, now = console.app.state.console_desk, console.app.state.clock()
    with database.write() as session:
        signed_in = operators.find_session(session, str(browser.cookie), ends=desk.ends, now=now)
        assert signed_in is not None
        account = repository.get_operator(session, signed_in.operator.operator_id)
        proof = operators.Proof(account.id, (account.totp_step or 0) + 1, account.password_hash or "")
        peppers = desk.peppers()
        keys = derive_keys(peppers.current, peppers.keys)
        caller = operators.Caller(keys, "203.0.113.9", None, "Another <browser>", "203.0.113.9")
        value, _ = operators.open_session(session, proof, ends=desk.ends, caller=caller, now=now)
    other = Browser(console)
    other.cookie = value
    return value, other


class TestInvitation:
    @pytest.fixture
    def invitation(
        self, database: Database, keys: OperatorKeys, operator: Actor, clock: TestClock
    ) -> operators.Invitation:
        with database.write() as session:
            return operators.invite_operator(
                session, "rob", "Rob <b>", Role.VIEWER, keys=keys, now=clock(), by=operator
            )

    def test_it_shows_the_authenticator_s_key_and_lets_in_who_proves_to_have_it(
        self, browser: Browser, invitation: operators.Invitation, clock: TestClock
    ) -> None:
        path = f"/console/invitations/{invitation.token}"
        page = browser.get(path)
        assert page.status_code == 200
        assert "Rob &lt;b&gt;" in page.text
        key = re.findall(r'<code class="handed"[^>]*>([A-Z2-7]{32})</code>', page.text)[0]
        assert re.search(r'<div class="qr"[^>]*><svg [^>]*><path ', page.text)
        assert "style=" not in page.text
        code = pyotp.TOTP(key).at(clock())
        answer = browser.post(path, password="a password of mine", again="a password of mine", code=code)
        assert (answer.status_code, "You are enrolled" in answer.text) == (200, True)
        assert browser.get(path).status_code == 404
        clock.ahead += timedelta(seconds=30)
        answer = browser.post(
            "/console/sign-in", operator="rob", password="a password of mine", code=pyotp.TOTP(key).at(clock())
        )
        assert answer.status_code == 303

    def test_what_is_wrong_is_said_at_its_field_and_uses_nothing_up(
        self, browser: Browser, invitation: operators.Invitation, clock: TestClock
    ) -> None:
        path = f"/console/invitations/{invitation.token}"
        key = re.findall(r">([A-Z2-7]{32})<", browser.get(path).text)[0]
        code = pyotp.TOTP(key).at(clock())
        for fields, said in (
            ({"password": "a password of mine", "again": "another", "code": code}, 'id="again-fault"'),
            ({"password": "short", "again": "short", "code": code}, 'id="password-fault"'),
            ({"password": "a password of mine", "again": "a password of mine", "code": "000000"}, "not the code"),
        ):
            answer = browser.post(path, **fields)
            assert (answer.status_code in {400, 409}, said in answer.text) == (True, True), said
            assert "of mine" not in answer.text
        assert (
            browser.post(path, password="a password of mine", again="a password of mine", code=code).status_code == 200
        )

    def test_no_other_token_is_told_anything_and_none_stands_in_the_log(self, browser: Browser) -> None:
        answers = [browser.get(f"/console/invitations/{token}") for token in ("eoi_" + "0" * 43, "x", "eoi_")]
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.content for answer in answers}) == 1
        assert {context.path for context in browser.contexts} == {"/console/invitations/{token}"}

    def test_looking_too_often_has_to_wait(self, browser: Browser) -> None:
        statuses = [browser.get("/console/invitations/x").status_code for _ in range(21)]
        assert statuses == [404] * 20 + [429]


def test_signing_in_and_out_are_acts_of_the_trail(browser: Browser, enroll: Enroll, database: Database) -> None:
    enter(browser, enroll())
    browser.post("/console/sign-out")
    with database.read() as session:
        records = list(list_records(session, RecordFilter(acts_only=True)))[-2:]
    assert [(each.draft.action, each.draft.actor, each.draft.address) for each in records] == [
        ("operators.sign_in", "operator:jane", "203.0.113.7"), ("operators.sign_out", "operator:jane", "203.0.113.7"),
    ]  # fmt: skip
    assert all(each.draft.request_id for each in records)

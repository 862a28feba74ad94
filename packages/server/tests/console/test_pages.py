"""What every page has and never has, and what each of them shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import structlog
from starlette.requests import Request
from starlette.testclient import TestClient

from ecross_server.audit import service as audit
from ecross_server.audit.rules import Actor, Draft, TokenEvent
from ecross_server.console.desk import CONTENT_SECURITY_POLICY, COOKIE, HEADERS, PAGES, Visit
from ecross_server.console.errors import NotSignedInError
from ecross_server.handover.service import Terms, offer_secret
from ecross_server.kit.checks import Check
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.merchants import grants, service, uses
from ecross_server.merchants.rules import Peppers
from ecross_server.merchants.service import IssuedCredential
from ecross_server.operators.rules import Role
from packages.server.tests.console.conftest import FORM_HEADERS, FROM_PAGE, Browser, Console, SignIn

EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>&{{7*7}}"
HARMLESS = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;&gt;&lt;img src=x onerror=alert(1)&gt;&amp;{{7*7}}"


@pytest.fixture
def browser(sign_in: SignIn) -> Browser:
    """An owner's, who sees all pages."""
    return sign_in(Role.OWNER)


@pytest.fixture
def use(database: Database) -> Callable[..., None]:
    def note(issued: IssuedCredential, at: float | None = None) -> None:
        event = TokenEvent(
            at or utc_now().timestamp(), "issued", issued.client.id, issued.client.merchant_id, "198.51.100.4", "r",
            issued.secret.id, "t", None,
        )  # fmt: skip
        with database.write() as session:
            uses.note_secret_uses(session, [event])

    return note


@pytest.fixture
def refuse(database: Database, operator: Actor) -> Callable[..., None]:
    def record(
        client_id: str | None, outcome: str, request_id: str | None = "req-1", details: str | None = None
    ) -> None:
        at = int(utc_now().timestamp() * 1_000_000)
        draft = Draft(
            at, client_id or "anonymous", "token.issue", None, client_id, outcome, "198.51.100.7", request_id, None,
            None, details,
        )  # fmt: skip
        with database.write() as session:
            audit.append(session, [draft], operator.keys, now=at)

    return record


@pytest.fixture
def evil_paths(database: Database, peppers: Peppers, operator: Actor, use: Any) -> list[str]:
    """Pages about a merchant whose every name and label is an attack."""
    now = utc_now()
    with database.write() as session:
        service.register_merchant(session, "EVIL", EVIL, now=now, by=operator)
        issued = service.issue_credential(session, "EVIL", peppers=peppers, now=now, by=operator, label=EVIL[:90])
        client = grants.add_client(session, "EVIL", now=now, by=operator, label=EVIL[:90])
        terms = Terms(lasts=timedelta(days=3), label=EVIL[:90])
        link = offer_secret(session, client, terms, peppers=peppers, now=now, by=operator)
    use(issued)
    path = f"/console/clients/{issued.client.id}"
    acts = (
        "rotate",
        "limit",
        "limit?suggested=1",
        "cancel-rotation",
        "leaked",
        "revoke",
        f"secrets/{issued.secret.id}/retire",
    )
    return [
        "/console/merchants", "/console/merchants/EVIL", "/console/merchants/EVIL/issue",
        "/console/merchants/EVIL/disable",
        path, *(f"{path}/{act}" for act in acts), f"/console/clients/{client.id}",
        "/console/hand-overs", "/console/hand-overs?merchant=EVIL", f"/console/hand-overs/{link.hand_over.id}",
        "/console/trail", "/console/trail?merchant=EVIL", f"/console/refusals?q={client.id}", "/console/operators",
        "/console/operators/jane-owner", "/console/sessions", "/console/installation", "/console/register",
        "/console/no",
    ]  # fmt: skip


class TestEveryPage:
    def test_names_and_labels_are_text_and_nothing_is_inline(
        self, sign_in: SignIn, evil_paths: list[str], browser: Browser
    ) -> None:
        sign_in(Role.VIEWER, "mallory", EVIL[:90])
        seen = 0
        for path in evil_paths:
            text = browser.get(path).text
            assert "<script>" not in text, path
            assert "<img" not in text, path
            assert not re.search(
                r"\son\w+=|\sstyle=|<style|javascript:|http-equiv|<iframe|<base", text.replace(HARMLESS, "")
            )
            assert set(re.findall(r"<script[^>]*>", text)) == {
                f'<script src="{script}" defer>' for script in scripts(text)
            }
            seen += text.count("&lt;script&gt;alert")
        assert seen > 20, "the names and labels are shown"

    def test_what_was_typed_and_what_stands_in_an_address_is_text(self, browser: Browser) -> None:
        answers = [
            browser.client.get("/console/merchants", params={"q": EVIL}),
            browser.client.get("/console/refusals", params={"q": EVIL}),
            browser.client.get("/console/trail", params=dict.fromkeys(("merchant", "client", "action", "since"), EVIL)),
            browser.client.get("/console/hand-overs", params={"merchant": EVIL}),
            browser.client.get("/console/sign-in", params={"next": EVIL}, headers={"Cookie": ""}),
            browser.post("/console/register", id=EVIL, name=EVIL, label=EVIL),
            browser.client.get("/console/" + EVIL), browser.client.get("/console/merchants/" + EVIL),
        ]  # fmt: skip
        for answer in answers:
            assert "<script>" not in answer.text
            assert "<img" not in answer.text
        assert sum(HARMLESS in answer.text for answer in answers) >= 4

    def test_every_answer_has_the_headers_that_keep_it_to_itself(
        self, browser: Browser, evil_paths: list[str], console: Console
    ) -> None:
        answers = [browser.get(path) for path in evil_paths]
        answers += [
            browser.get("/console"), browser.post("/console/register"), browser.post("/console/register", {}),
            browser.post("/console/merchants/NONE/enable"), Browser(console).get("/console/merchants"),
            Browser(console).get("/console/sign-in"), Browser(console).post("/console/sign-out"),
        ]  # fmt: skip
        for answer in answers:
            for name, value in HEADERS.items():
                assert answer.headers[name] == value, answer.url

    def test_the_policy_lets_in_what_is_ours_alone(self, browser: Browser) -> None:
        assert dict(part.strip().partition(" ")[::2] for part in CONTENT_SECURITY_POLICY.split(";")) == {
            "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'",
            "connect-src": "'self'", "form-action": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'",
        }  # fmt: skip
        text = browser.get("/console/merchants").text
        sources = re.findall(r'(?:src|href)="(/console/static/[^"]*)"', text)
        assert len(sources) == 3
        for source in sources:
            answer = browser.get(source)
            assert (answer.status_code, answer.headers["x-content-type-options"]) == (200, "nosniff")
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert browser.get("/console/static/console.css").status_code == 404
        assert browser.get("/console/static/..%2fdesk.py").status_code == 404

    def test_scripts_are_told_to_bring_nothing_inline_and_to_keep_no_page(self, browser: Browser) -> None:
        text = browser.get("/console/merchants").text
        for setting in (
            '"includeIndicatorStyles":false',
            '"allowEval":false',
            '"historyCacheSize":0',
            '"selfRequestsOnly":true',
        ):
            assert setting in text

    def test_nothing_but_reading_is_asked_by_scripts(self) -> None:
        for template in PAGES.glob("*.html"):
            text = template.read_text()
            assert not re.search(r"hx-(post|put|patch|delete|on|vals|headers|ext)", text), template
            assert "| safe" not in text.replace("{{ qr | safe }}", ""), template

    def test_every_page_says_where_one_is_and_can_be_passed_over(self, browser: Browser) -> None:
        for path, name in (("/console/merchants", "page"), ("/console/register", None), ("/console/clients/x", "true")):
            text = browser.get(path).text
            assert re.findall(r'aria-current="(\w+)"', text) == ([] if name is None else [name])
            assert '<a class="skip" href="#main">' in text
            assert '<html lang="en">' in text
            assert len(re.findall("<h1", text)) == 1

    def test_a_viewer_is_shown_no_acts(self, sign_in: SignIn, credential: IssuedCredential) -> None:
        viewer = sign_in(Role.VIEWER)
        client = f"/console/clients/{credential.client.id}"
        for path in ("/console/merchants", "/console/merchants/ACME", client, "/console/hand-overs"):
            text = viewer.get(path).text
            assert re.findall(r'<form method="post" action="([^"]*)"', text) == ["/console/sign-out"]
            assert not re.search(r"/(register|issue|disable|rotate|leaked|revoke|retire|operators)\"", text)

    def test_what_fails_is_a_page_too_and_tells_nothing_of_it(self, browser: Browser, console: Console) -> None:
        console.app.state.console_desk = replace(console.app.state.console_desk, peppers=lambda: 1 / 0)
        with structlog.testing.capture_logs() as lines:
            answer = browser.post("/console/merchants/ACME/enable")
        assert (answer.status_code, "<h1>Internal Server Error</h1>" in answer.text) == (500, True)
        assert "ZeroDivision" not in answer.text
        assert "request_failed" in [line["event"] for line in lines]

    def test_a_body_that_never_ends_is_cut_off(self, browser: Browser) -> None:
        def blocks() -> Iterator[bytes]:
            for _ in range(5):
                yield b"x" * 1024 * 1024

        answer = browser.client.post("/console/register", content=blocks(), headers=FORM_HEADERS)
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")
        assert "<h1>" in answer.text

    def test_nobody_acts_who_is_not_signed_in(self, console: Console) -> None:
        request = Request({"type": "http", "app": console.app, "headers": [], "method": "GET", "path": "/console"})
        visit = Visit(request, utc_now(), {})
        assert not visit.may(Role.VIEWER)
        with pytest.raises(NotSignedInError):
            _ = visit.operator

    def test_while_the_database_is_away_a_page_says_so(self, browser: Browser, console: Console, settings: Any) -> None:
        path = settings.data_dir / "ecross.db"
        console.app.state.database.close()
        path.rename(path.with_suffix(".away"))
        console.app.state.database = Database(f"sqlite:///{path}", may_create=False)
        answer = browser.get("/console/merchants")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "Not at the moment" in answer.text


def scripts(text: str) -> Iterator[str]:
    return iter(re.findall(r'<script src="(/console/static/[^"]+\.js)"', text))


class TestMerchants:
    def test_they_are_searched_by_text_state_and_hygiene(self, browser: Browser, register: Any, use: Any) -> None:
        register("ACME")
        use(register("OTHER", expires_in=timedelta(days=9)))

        def found(query: str) -> list[str]:
            return re.findall(r'href="/console/merchants/([A-Z]+)"', browser.get(f"/console/merchants{query}").text)

        assert found("") == ["ACME", "OTHER"]
        assert found("?q=acm") == ["ACME"]
        assert found("?status=disabled") == []
        assert found("?status=x&hygiene=x") == ["ACME", "OTHER"], "what is no choice chooses nothing"
        assert found("?hygiene=never-used") == found("?hygiene=never-expires") == ["ACME"]
        text = browser.get("/console/merchants").text
        assert re.findall(r"<strong>(\d+)</strong>", text) == ["1", "0", "1"]
        assert "2 live secrets in all" in text

    def test_pages_follow_each_other_and_keep_what_was_asked(
        self, browser: Browser, database: Database, operator: Actor
    ) -> None:
        with database.write() as session:
            for number in range(51):
                service.register_merchant(session, f"M{number:02}", "Merchant & Co", now=utc_now(), by=operator)
        text = browser.get("/console/merchants?q=merchant+%26").text
        assert "M49<" in text
        assert "M50<" not in text
        path = re.findall(r'href="(/console/merchants\?q=[^"]*)"', text)[0].replace("&amp;", "&")
        text = browser.get(path).text
        assert "M50<" in text
        assert ">More<" not in text

    def test_where_there_is_nothing_one_is_told_what_to_do(self, browser: Browser) -> None:
        assert "No merchant is registered yet" in browser.get("/console/merchants").text
        assert "Nothing was found" in browser.get("/console/merchants?q=x").text
        assert "No hand-overs" in browser.get("/console/hand-overs").text

    def test_a_merchant_s_tokens_stand_in_a_chart_and_in_a_table(
        self, browser: Browser, credential: IssuedCredential, use: Any
    ) -> None:
        assert "No token was given for this merchant" in browser.get("/console/merchants/ACME").text
        for _ in range(3):
            use(credential)
        text = browser.get("/console/merchants/ACME").text
        assert re.search(r'<svg class="chart"[^>]*role="img" aria-labelledby="chart-title chart-text">', text)
        assert "3 tokens from " in text
        assert '<td class="number">3</td>' in text
        assert text.count('<rect class="series-0"') == 2, "a bar, and its place in the legend"

    def test_a_client_that_was_used_before_that_was_kept_says_so(
        self, browser: Browser, credential: IssuedCredential, database: Database
    ) -> None:
        with database.write() as session:
            service.list_credentials(session)[0].secrets[0].last_used_at = utc_now()
        assert "was first used before that was kept" in browser.get(f"/console/clients/{credential.client.id}").text

    def test_the_page_of_a_disabled_merchant_says_that_nothing_works(
        self, browser: Browser, credential: IssuedCredential, database: Database, operator: Actor
    ) -> None:
        with database.write() as session:
            service.disable_merchant(session, "ACME", by=operator)
        assert "none of its clients gets a token" in browser.get("/console/merchants/ACME").text
        assert "this client gets no token" in browser.get(f"/console/clients/{credential.client.id}").text


class TestHandOvers:
    def test_pages_follow_each_other(
        self, browser: Browser, database: Database, operator: Actor, peppers: Peppers, credential: IssuedCredential
    ) -> None:
        now = utc_now()
        with database.write() as session:
            client = grants.get_client(session, credential.client.id)
            for number in range(51):
                terms = Terms(lasts=timedelta(days=3), label=f"no. {number}")
                at = now + timedelta(seconds=number)
                offer_secret(session, client, terms, peppers=peppers, now=at, by=operator)
        first = browser.get("/console/hand-overs?merchant=ACME").text
        assert ("no. 50<" in first, "no. 0<" in first) == (True, False)
        path = re.findall(r'href="(/console/hand-overs\?merchant=ACME&amp;before=[^"]*)"', first)[0].replace(
            "&amp;", "&"
        )
        second = browser.get(path).text
        assert ("no. 50<" in second, "no. 0<" in second) == (False, True)
        assert 'href="/console/hand-overs?merchant=ACME">Newest' in second
        assert browser.get("/console/hand-overs?before=hov_x").status_code == 404


class TestRefusals:
    def test_a_request_is_explained_beside_what_is_known_of_its_client(
        self, browser: Browser, credential: IssuedCredential, refuse: Any
    ) -> None:
        refuse(credential.client.id, "invalid_client", "req-7", '{"secretFingerprint":"0f1e2d3c4b5a6978"}')
        text = browser.get("/console/refusals?q=%20req-7%20").text
        assert "the secret was wrong or has ended" in text
        assert "0f1e2d3c4b5a6978" in text
        assert "198.51.100.7" in text
        assert "What is known of the client now" in text
        assert "credentials.issue" in text
        assert text.count('class="badge good">active') == 3

    def test_all_of_a_client_s_come_and_one_that_does_not_exist_is_told(self, browser: Browser, refuse: Any) -> None:
        client_id = "acme-q7w4k2m5zt3xa"
        for number in range(21):
            refuse(client_id, "rate_limited", None if number else "req-1", '{"count":5}')
        text = browser.get(f"/console/refusals?q={client_id}").text
        assert text.count("What to do:") == 20
        assert "The newest 20" in text
        assert "There is no such client" in text
        assert "5 times" in text

    def test_what_has_not_even_the_form_of_a_client_id_is_not_repeated(self, browser: Browser, refuse: Any) -> None:
        refuse(None, "invalid_request", "req-3")
        assert "is not kept" in browser.get("/console/refusals?q=req-3").text

    def test_where_nothing_is_recorded_it_says_what_that_can_mean(self, browser: Browser) -> None:
        assert "Nothing is recorded under this id" in browser.get("/console/refusals?q=req-9").text
        assert "Nothing is recorded" not in browser.get("/console/refusals").text


class TestTrail:
    def test_records_are_chosen_and_come_page_by_page(
        self, browser: Browser, refuse: Any, credential: IssuedCredential
    ) -> None:
        for number in range(51):
            refuse(credential.client.id, "issued" if number % 2 else "invalid_client", f"req-{number}")

        def seen(query: str) -> str:
            text: str = browser.get(f"/console/trail{query}").text
            return text

        assert "request req-50<" in seen("")
        assert "request req-49<" not in seen(""), "tokens are shown if asked for"
        assert "request req-49<" in seen("?tokens=yes")
        assert re.findall(r"request req-(\d+)<", seen("?request=req-4")) == ["4"]
        assert "request req" not in seen("?action=merchants.register")
        assert "merchants.register" in seen("?merchant=ACME")
        assert "merchants.register" not in seen(f"?client={credential.client.id}")
        assert "No records" in seen("?outcome=nothing")
        assert "No records" in seen("?since=2100-01-01T00:00:00Z")
        assert "merchants.register" in seen("?since=2020-01-01T00:00:00Z&before=x")
        first = seen("?tokens=yes")
        path = re.findall(r'href="(/console/trail\?tokens=yes&amp;before=\d+)"', first)[0].replace("&amp;", "&")
        second = browser.get(path).text
        assert "request req-0<" in second
        assert 'href="/console/trail?tokens=yes">Newest' in second

    def test_a_time_that_is_none_is_marked(self, browser: Browser) -> None:
        text = browser.get("/console/trail?since=yesterday").text
        assert 'id="since-fault"' in text
        assert 'value="yesterday"' in text

    def test_it_is_checked_by_a_button(self, browser: Browser, database: Database) -> None:
        assert "It is as it was written" in browser.post("/console/trail/verify").text
        with database.write() as session:
            session.connection().exec_driver_sql("UPDATE audit_records SET actor = 'somebody else' WHERE seq = 1")
        text = browser.post("/console/trail/verify").text
        assert "NOT as it was written, from record 1 on" in text
        assert "this machine has none yet" in text


class TestInstallation:
    def test_keys_and_peppers_are_listed_without_themselves(
        self, browser: Browser, console: Console, settings: Any
    ) -> None:
        desk = console.app.state.console_desk
        console.app.state.console_desk = replace(
            desk, check=lambda: [Check("jobs", "warning", "3 dead", "look at <them>")]
        )
        text = browser.get("/console/installation").text
        assert "<code>look at &lt;them&gt;</code>" in text
        assert text.count('class="badge good">active') == 2
        for file in (settings.signing_keys_file, settings.peppers_file):
            for secret in re.findall(r'"(?:k|value)": "([^"]+)"', file.read_text()):
                assert secret not in text

    def test_a_file_that_cannot_be_read_is_told_of(self, browser: Browser, settings: Any) -> None:
        settings.signing_keys_file.chmod(0o644)
        text = browser.get("/console/installation").text
        assert "files of keys" in text
        assert 'class="badge bad">failed' in text


class TestListeners:
    def test_the_listener_of_merchants_has_no_page_of_it(self, client: TestClient, browser: Browser) -> None:
        for path in ("/console", "/console/sign-in", "/console/merchants"):
            assert client.get(path, headers={"Cookie": f"{COOKIE}={browser.cookie}"}).status_code == 404
        assert browser.client.post("/token", json={}).status_code == 404
        assert browser.get("/ext/merchant/skus").status_code == 404

    def test_a_session_opens_nothing_of_the_administration_over_http(self, browser: Browser) -> None:
        assert browser.get("/admin/me").status_code == 401
        assert browser.client.post("/admin/keys/rotate", json={}, headers=FROM_PAGE).status_code == 401

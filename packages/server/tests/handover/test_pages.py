"""What a link shows, to whom, and what of it stays anywhere. On SQLite alone: nothing here depends on the database."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from ecross_server.handover.endpoints import CONTENT_SECURITY_POLICY, HEADERS, PAGES
from ecross_server.kit.database import Database
from ecross_server.merchants import service as merchants

if TYPE_CHECKING:
    from starlette.testclient import TestClient as HttpClient

    from ecross_server.audit.service import Actor
    from packages.server.tests.handover.conftest import Hold, Offer, TestClock

SECRET = re.compile(r"ecs_[0-9A-Za-z]{49}")
FROM_PAGE = {"Sec-Fetch-Site": "same-origin", "Origin": "null"}


@pytest.fixture
def backend() -> str:
    return "sqlite"


class TestLooking:
    def test_a_hundred_looks_of_any_kind_use_nothing_up(self, offer: Offer, hold: Hold) -> None:
        holder = hold(offer())
        for number in range(100):
            answer = holder.look(("GET", "HEAD", "OPTIONS")[number % 3])
            assert answer.status_code == (405 if number % 3 == 2 else 200)
            assert not SECRET.search(answer.text)
        assert SECRET.search(holder.reveal().text)

    def test_the_page_says_whose_secret_it_is_and_that_nothing_happens_by_itself(
        self, offer: Offer, hold: Hold
    ) -> None:
        link = offer(label="ERP")
        text = hold(link).look().text
        assert f"<code>{link.hand_over.client_id}</code>" in text
        assert "<dt>For</dt><dd>ERP</dd>" in text
        assert '<form method="post"' in text
        assert not re.search(r"<script|\bon\w+=|http-equiv|<img|<iframe|style=|autofocus", text)
        assert re.findall(r'(?:href|src|action)="([^"]*)"', text) == ["/hand-over.css"]
        assert "Acme" not in re.findall("<title>(.*)</title>", text)[0], "previews show titles"

    def test_programs_learn_the_same(self, offer: Offer, hold: Hold) -> None:
        link = offer(label="ERP", with_code=True)
        facts = hold(link).facts()
        assert facts.pop("nonce")
        created, expires = facts.pop("createdAt"), facts.pop("expiresAt")
        assert created < expires
        assert facts == {
            "state": "open", "merchantId": "ACME", "merchantName": "Acme", "clientId": link.hand_over.client_id,
            "label": "ERP", "needsCode": True,
        }  # fmt: skip

    def test_who_does_not_ask_for_json_alone_gets_the_page(self, offer: Offer, hold: Hold) -> None:
        for accept in ("*/*", "text/html, application/json"):
            assert "html" in hold(offer()).look(Accept=accept).headers["content-type"]

    def test_names_and_labels_are_text(self, offer: Offer, hold: Hold) -> None:
        evil = "<script>alert('x')</script>\"&"
        holder = hold(offer(name=evil, label=evil))
        for text in (holder.look().text, holder.reveal().text, holder.look().text):
            assert "<script" not in text
        assert (
            hold(offer(label=evil)).look().text.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;&amp;") == 2
        )


class TestHeaders:
    def test_every_answer_forbids_storing_telling_and_indexing(self, offer: Offer, hold: Hold) -> None:
        holder = hold(offer())
        for answer in (
            holder.look(), holder.look("HEAD"), holder.look(Accept="application/json"), holder.press(),
            holder.reveal(), holder.look(), hold("eho_unknown").look(),
        ):  # fmt: skip
            for name, value in HEADERS.items():
                assert answer.headers[name] == value
            assert "set-cookie" not in answer.headers

    def test_the_policy_lets_nothing_in_but_our_own_style(self, application: Any, client: HttpClient) -> None:
        del application
        assert dict(part.strip().partition(" ")[::2] for part in CONTENT_SECURITY_POLICY.split(";")) == {
            "default-src": "'none'", "style-src": "'self'", "form-action": "'self'", "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }  # fmt: skip
        style = client.get("/hand-over.css")
        assert style.headers["content-type"].startswith("text/css")
        assert style.headers["x-content-type-options"] == "nosniff"
        assert "url(" not in style.text
        assert "@import" not in style.text
        for template in PAGES.glob("*.html"):
            assert not re.search(r"//|<style|<script|style=", template.read_text().replace("<!doctype", ""))


class TestStrangers:
    def test_every_token_that_was_not_given_out_is_answered_alike(self, hold: Hold) -> None:
        expected = hold("eho_" + "9" * 32).look()
        for token in (
            "", "eho_", "eho_" + "0" * 32, "x", "eho_" + "0" * 31, "eho_" + "0" * 33, "EHO_" + "0" * 32, "a/b",
            "%00", "%2f", "é", "eho_" + "0" * 32 + "/", "' OR 1=1 --", "x" * 5000,
        ):  # fmt: skip
            for method in ("GET", "POST"):
                answer = hold(token).look(method)
                assert (answer.status_code, answer.content) == (404, expected.content), token
                assert list(answer.headers) == list(expected.headers)
        assert hold("x").look(Accept="application/json").json() == {
            "message": "This link is not known here.", "code": "hand_over_not_found",
        }  # fmt: skip

    def test_a_newline_at_the_end_is_none_of_our_paths(self, offer: Offer, hold: Hold) -> None:
        assert hold(offer().token + "%0A").look().status_code == 404

    def test_unknown_spent_and_expired_have_one_status(self, offer: Offer, hold: Hold, clock: TestClock) -> None:
        spent, expired = hold(offer()), hold(offer(lasts=timedelta(hours=1)))
        spent.reveal()
        clock.ahead = timedelta(hours=2)
        assert {holder.look().status_code for holder in (spent, expired, hold("eho_x"))} == {404}
        assert spent.press().status_code == expired.press().status_code == 404


class TestWhoPresses:
    def test_another_page_reveals_nothing_even_with_the_nonce(self, offer: Offer, hold: Hold) -> None:
        holder = hold(offer())
        nonce = holder.nonce()
        for headers in (
            {},
            {"Origin": "null"},
            {"Origin": "https://evil.example"},
            {"Origin": "http://[evil"},
            {"Origin": "ftp://testserver"},
            {"Origin": "http://testserver.evil.example"},
            {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
            {"Sec-Fetch-Site": "same-site", "Origin": "null"},
            {"Sec-Fetch-Site": "none"},
            {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
        ):
            answer = holder.press(headers=headers, nonce=nonce)
            assert (answer.status_code, 'role="alert"' in answer.text) == (403, True), headers
            assert not SECRET.search(answer.text)
        assert SECRET.search(holder.reveal().text)

    def test_its_own_page_does(self, offer: Offer, hold: Hold) -> None:
        for headers in (
            {"Sec-Fetch-Site": "same-origin"},
            {"Sec-Fetch-Site": "same-origin", "Origin": "http://testserver"},
            {"Origin": "http://testserver"},
            {"Origin": "HTTP://TestServer"},
            {"Origin": "http://127.0.0.1:8000"},
        ):
            holder = hold(offer())
            assert SECRET.search(holder.press(headers=headers, nonce=holder.nonce()).text), headers

    def test_the_nonce_is_the_link_s_own_for_this_act_and_an_hour(
        self, offer: Offer, hold: Hold, clock: TestClock
    ) -> None:
        holder, other = hold(offer()), hold(offer())
        nonce = holder.nonce()
        wrong = ["", "x", other.nonce(), nonce[:-1], nonce + "A", "é"]
        for each in wrong:
            answer = holder.press(nonce=each)
            assert (answer.status_code, bool(SECRET.search(answer.text))) == (403, False)
        assert holder.press(nonce=nonce, act="deny").status_code == 403, "there is nothing to end yet"
        clock.ahead = timedelta(hours=1, seconds=1)
        answer = holder.press(nonce=nonce)
        assert (answer.status_code, "open for too long" in answer.text) == (403, True)
        assert SECRET.search(holder.reveal().text)

    def test_what_cannot_be_read_reveals_nothing(self, offer: Offer, hold: Hold) -> None:
        holder = hold(offer())
        form = "application/x-www-form-urlencoded"
        for content, media_type in (
            (b"", form), (b"\xff=1", form), (b"&".join([b"a=1"] * 20), form), (b"act=burn", "text/plain"),
            (b"nonce=" + b"x" * 5000, form), (b"{", "application/json"), (b'{"nonce": 1}', "application/json"),
            (b"[]", "application/json"), (b'{"nonce": "a", "nonce": "b"}', "application/json"),
        ):  # fmt: skip
            headers = {**FROM_PAGE, "Content-Type": media_type}
            assert holder._client.post(holder.path, content=content, headers=headers).status_code == 403, content

    def test_a_program_is_told_why_with_a_new_nonce(self, offer: Offer, hold: Hold) -> None:
        holder = hold(offer())
        headers = {"Accept": "application/json", "Origin": "http://testserver"}
        answer = holder._client.post(holder.path, json={"nonce": "old"}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "stale_page")
        nonce = answer.json()["nonce"]
        assert holder._client.post(holder.path, json={"nonce": nonce}, headers=headers).status_code == 200


class TestSpent:
    def test_going_back_reloading_and_opening_again_show_when_and_to_whom(self, offer: Offer, hold: Hold) -> None:
        link = offer()
        holder = hold(link)
        nonce = holder.nonce()
        secret = SECRET.findall(holder.press(nonce=nonce).text)[0]
        for answer in (holder.press(nonce=nonce), holder.look(), hold(link, "198.51.100.9").look()):
            assert secret not in answer.text
            assert "The secret was shown already" in answer.text
            assert re.search(r"Secret shown</dt><dd>20[\d-]+ [\d:]+ UTC to 203\.0\.113\.7<", answer.text)
            assert "Not you?" in answer.text
        facts = holder.facts()
        assert (facts["code"], facts["state"], facts["revealedAddress"]) == (
            "hand_over_spent", "revealed", "203.0.113.7",
        )  # fmt: skip

    def test_not_me_ends_the_secret_and_all_see_that(self, offer: Offer, hold: Hold, application: Any) -> None:
        link = offer()
        holder = hold(link)
        secret = SECRET.findall(holder.reveal().text)[0]
        application.auth.refresh()
        application.auth.issue_access_token(link.hand_over.client_id, secret)
        for nonce in (holder.nonce(), "x"):
            assert hold(link).press(act="deny", nonce=nonce, headers={}).status_code == 403
        answer = hold(link, "198.51.100.9").press(act="deny", nonce=holder.nonce())
        assert (answer.status_code, "The secret was ended" in answer.text) == (200, True)
        application.auth.refresh()
        with pytest.raises(Exception, match="Incorrect"):
            application.auth.issue_access_token(link.hand_over.client_id, secret)
        facts = holder.facts()
        assert (facts["state"], "nonce" in facts) == ("denied", False)
        assert holder.press(act="deny", nonce="x").status_code == 404

    def test_an_old_message_ends_nothing(self, offer: Offer, hold: Hold, clock: TestClock) -> None:
        holder = hold(offer())
        holder.reveal()
        clock.ahead = timedelta(days=6, hours=23, minutes=30)
        nonce = holder.nonce()
        clock.ahead = timedelta(days=7, minutes=1)
        text = holder.press(act="deny", nonce=nonce).text
        assert "tell whoever sent you the link" in text
        assert "Not you?" not in text
        assert holder.facts()["state"] == "revealed"

    def test_an_expired_link_says_so(self, offer: Offer, hold: Hold, clock: TestClock) -> None:
        holder = hold(offer(lasts=timedelta(hours=1)))
        nonce = holder.nonce()
        clock.ahead = timedelta(hours=1)
        answer = holder.press(nonce=nonce)
        assert (answer.status_code, "This link has expired" in answer.text) == (404, True)
        assert not SECRET.search(answer.text)

    @pytest.mark.parametrize("act", [merchants.revoke_client, merchants.disable_merchant])
    def test_withdrawn_credentials_are_not_given(
        self, offer: Offer, hold: Hold, database: Database, operator: Actor, act: Callable[..., Any]
    ) -> None:
        link = offer()
        holder = hold(link)
        nonce = holder.nonce()
        subject = link.hand_over.client_id if act is merchants.revoke_client else "ACME"
        with database.write() as session:
            act(session, subject, by=operator)
        for answer in (holder.look(), holder.press(nonce=nonce)):
            assert (answer.status_code, "gives nothing at the moment" in answer.text) == (404, True)


class TestLogs:
    def test_neither_token_nor_secret_stand_in_any_line(self, offer: Offer, hold: Hold) -> None:
        link = offer(with_code=True)
        holder = hold(link)
        with structlog.testing.capture_logs() as events:
            secret = SECRET.findall(holder.reveal(code=link.code or "").text)[0]
            holder.look("OPTIONS")
            holder._client.post(holder.path, headers={"Content-Length": "99999999"})
            holder._client.get(holder.path + "%0A")
            holder._client.get(holder.path + "/x")
        requests = [event for event in events if event["event"] == "request"]
        assert {event["path"] for event in requests} == {"/hand-over/{token}"}
        assert len(requests) == 6
        for hidden in (secret, link.token, link.token[4:], link.code):
            assert str(hidden) not in str(events)

    def test_no_repr_shows_them(self, offer: Offer) -> None:
        link = offer(with_code=True)
        assert link.token not in repr(link)
        assert str(link.code) not in repr(link)

"""What a client may do and from where, on the console: chosen, looked at, confirmed."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from ecross_server.audit import service as audit
from ecross_server.audit.rules import Actor, Draft
from ecross_server.audit.service import RecordFilter, list_records
from ecross_server.console.forms import form_of, limits_of
from ecross_server.console.words import networks_in_words, scope_in_words
from ecross_server.kit.database import Database
from ecross_server.kit.errors import InvalidInputError
from ecross_server.merchants import service
from ecross_server.merchants.rules import API_GROUPS, SCOPES, UNRESTRICTED, Restrictions
from ecross_server.merchants.service import IssuedCredential
from ecross_server.merchants.uses import CallKind, note_calls
from ecross_server.operators.rules import Role
from packages.server.tests.console.conftest import Browser, SignIn

ANYTHING = {"scope": "merchant", "from": "anywhere"}
CATALOG = {"scope": "some", "catalog:read": "yes", "from": "networks", "allow": " 198.51.100.0/24 \r\n\r\n10.0.0.1\r\n"}
KEPT = ("catalog:read", "10.0.0.1/32 198.51.100.0/24")
NOW = "Allowed: <strong>{}</strong>, {}."

WRONG = [
    ({"scope": "some"}, {"scope": "tick at least one"}),
    ({"scope": ""}, {"scope": "choose what it may do"}),
    ({"scope": "catalog:read merchant"}, {"scope": "choose what it may do"}),
    ({"from": "here"}, {"from": "choose from where"}),
    ({"from": "networks"}, {"allow": "must be 1 to 64 networks"}),
    ({"from": "networks", "allow": "\n10.0.0.1\n\n0.0.0.0/0\nhome"}, {"allow": "line 4 holds every address"}),
    ({"from": "networks", "allow": "10.0.0.1\n0.0.0.0/0\nhome"}, {"allow": "; line 3 must be an address"}),
    ({"scope": "some", "from": "networks", "allow": "x"}, {"scope": "tick", "allow": "line 1 must be"}),
]


@pytest.fixture
def browser(sign_in: SignIn) -> Browser:
    """A representative's."""
    return sign_in(Role.REPRESENTATIVE)


@pytest.fixture
def path(credential: IssuedCredential) -> str:
    return f"/console/clients/{credential.client.id}"


@pytest.fixture
def see(database: Database, operator: Actor, credential: IssuedCredential) -> Callable[..., None]:
    """A token of the client from an address, and with a scope a call."""

    def note(address: str, scope: str | None = None) -> None:
        client_id, now = credential.client.id, time.time()
        at = int(now * 1_000_000)
        draft = Draft(at, client_id, "token.issue", "ACME", client_id, "issued", address, "r", "t", "s", None)
        with database.write() as session:
            if scope is not None:
                note_calls(session, {CallKind(client_id, scope, address): 1}, at=now)
            audit.append(session, [draft], operator.keys, now=at)

    return note


def kept(database: Database, merchant_id: str = "ACME") -> tuple[str, str | None]:
    with database.read() as session:
        client = service.list_credentials(session, merchant_id)[-1]
        return client.scope, client.allowed_networks


def records(database: Database) -> list[tuple[str, str]]:
    with database.read() as session:
        found = list_records(session, RecordFilter(action="credentials.limit"))
        return [(each.draft.actor, each.draft.outcome) for each in found]


def hidden(text: str) -> dict[str, str]:
    """What a page keeps of the form before it."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', text)
    return {name: html.unescape(value) for name, value in found}


def checked(text: str) -> set[str]:
    return set(re.findall(r'id="([^"]*)"[^>]* checked>', text))


class TestWords:
    @pytest.mark.parametrize(
        ("scope", "words"),
        [
            ("merchant", "all of its merchant"), ("merchant:read", "reading all of its merchant"),
            ("catalog:read", "reading the catalog"),
            ("catalog:read inventory:write", "reading the catalog and writing the inventory"),
            ("merchant:read catalog:write inventory:write",
             "reading all of its merchant, writing the catalog and writing the inventory"),
        ],
    )  # fmt: skip
    def test_a_scope_is_told_in_words(self, scope: str, words: str) -> None:
        assert scope_in_words(scope) == words

    def test_networks_are_told_in_words(self) -> None:
        assert networks_in_words(None) == "from anywhere"
        assert networks_in_words(["10.0.0.1/32", "198.51.100.0/24"]) == "only from 10.0.0.1/32, 198.51.100.0/24"


class TestForm:
    @pytest.mark.parametrize("scope", [*SCOPES, "catalog:read inventory:write", "merchant:read catalog:write"])
    @pytest.mark.parametrize("networks", [None, ["10.0.0.1/32", "2001:db8::/48"]])
    def test_every_limit_is_read_from_the_form_that_shows_it(self, scope: str, networks: list[str] | None) -> None:
        assert limits_of(form_of(scope, networks)) == Restrictions(scope, networks)

    def test_what_belongs_to_a_choice_that_is_not_made_does_not_count(self) -> None:
        assert limits_of({**ANYTHING, "catalog:read": "yes", "allow": "10.0.0.1"}) == UNRESTRICTED

    @pytest.mark.parametrize("missing", ["scope", "from"])
    def test_nothing_is_taken_for_chosen(self, missing: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            limits_of({name: value for name, value in ANYTHING.items() if name != missing})
        assert [fault.path for fault in caught.value.faults] == [missing]


class TestNewClients:
    def test_they_are_limited_from_the_first_moment_on(self, browser: Browser, database: Database) -> None:
        answer = browser.post("/console/register", id="ACME", name="Acme", **CATALOG)
        told = "Allowed: reading the catalog, only from 10.0.0.1/32, 198.51.100.0/24."
        assert (answer.status_code, told in answer.text, kept(database)) == (200, True, KEPT)
        answer = browser.post("/console/merchants/ACME/issue", **{**CATALOG, "scope": "merchant:read"})
        assert "Allowed: reading all of its merchant, only from" in answer.text
        assert "limited</span>" in browser.get("/console/merchants/ACME").text

    def test_most_are_not_and_the_choice_is_folded(self, browser: Browser, database: Database) -> None:
        text = browser.get("/console/register").text
        assert '<details class="field"><summary>Limit what it may do' in text
        assert checked(text) == {"scope-merchant", "from-anywhere"}
        answer = browser.post("/console/register", id="ACME", name="Acme")
        assert "Allowed: all of its merchant, from anywhere." in answer.text
        assert kept(database) == ("merchant", None)
        assert "limited</span>" not in browser.get("/console/merchants/ACME").text

    @pytest.mark.parametrize(("fields", "faults"), WRONG, ids=str)
    def test_a_wrong_field_is_marked_unfolded_and_nothing_is_done(
        self, browser: Browser, database: Database, credential: Any, fields: dict[str, str], faults: dict[str, str]
    ) -> None:
        del credential
        for path, typed in (("/console/register", {"id": "NEW", "name": "New"}), ("/console/merchants/ACME/issue", {})):
            answer = browser.post(path, **typed, **{**ANYTHING, **fields})
            assert answer.status_code == 400
            assert '<details class="field" open>' in answer.text
            for name, message in faults.items():
                assert re.search(rf'id="{name}-fault">[^<]*{message}', answer.text)
        with database.read() as session:
            assert len(service.list_merchants(session)) == len(service.list_credentials(session)) == 1


class TestLimiting:
    def test_it_is_looked_at_before_it_is_confirmed(
        self, browser: Browser, path: str, database: Database, see: Any, credential: IssuedCredential
    ) -> None:
        see("203.0.113.9", "inventory:write")
        assert NOW.format("all of its merchant", "from anywhere") in browser.get(path).text
        preview = browser.post(f"{path}/limit/preview", **CATALOG)
        assert preview.status_code == 200
        for told in (
            "would have been refused:", "203.0.113.9", "writing the inventory", "asking for tokens",
            "<strong>reading the catalog, only from 10.0.0.1/32, 198.51.100.0/24</strong>", "It holds within 2 seconds",
        ):  # fmt: skip
            assert told in preview.text
        assert (kept(database), records(database)) == (("merchant", None), [])
        typed = hidden(preview.text)
        wrong = browser.post(f"{path}/limit", confirm="ACME", **typed)
        assert (wrong.status_code, 'id="confirm-fault"' in wrong.text, hidden(wrong.text)) == (400, True, typed)
        assert kept(database) == ("merchant", None)
        done = browser.post(f"{path}/limit", confirm=credential.client.id, **typed)
        assert (done.status_code, done.headers["location"]) == (303, f"{path}?done=client-limited")
        assert kept(database) == KEPT
        assert records(database) == [("operator:jane-representative", "done")]
        shown = browser.get(done.headers["location"]).text
        assert NOW.format("reading the catalog", "only from 10.0.0.1/32, 198.51.100.0/24") in shown
        assert "The limits hold within 2 seconds" in shown

    def test_what_was_chosen_can_be_changed_before(self, browser: Browser, path: str, database: Database) -> None:
        typed = hidden(browser.post(f"{path}/limit/preview", **CATALOG).text)
        again = browser.post(f"{path}/limit/preview", edit="yes", **typed).text
        assert checked(again) == {"scope-some", "catalog-read", "from-networks"}
        assert "198.51.100.0/24" in again[again.index("<textarea") : again.index("</textarea>")]
        assert kept(database) == ("merchant", None)

    def test_who_may_do_more_is_told_that_tokens_end(
        self, browser: Browser, path: str, credential: IssuedCredential, database: Database
    ) -> None:
        name = credential.client.id
        assert "nothing would change" in browser.post(f"{path}/limit/preview", **ANYTHING).text
        browser.post(f"{path}/limit", confirm=name, **CATALOG)
        assert checked(browser.get(f"{path}/limit").text) == {"scope-some", "catalog-read", "from-networks"}
        wider = browser.post(f"{path}/limit/preview", **ANYTHING).text
        assert "It may do more than before." in wider
        assert "Nothing of its traffic since" in wider
        browser.post(f"{path}/limit", confirm=name, **ANYTHING)
        assert kept(database) == ("merchant", None)

    @pytest.mark.parametrize(("fields", "faults"), WRONG, ids=str)
    def test_a_wrong_field_is_marked_what_was_typed_is_kept_and_nothing_is_done(
        self, browser: Browser, path: str, database: Database, fields: dict[str, str], faults: dict[str, str]
    ) -> None:
        for step in ("limit", "limit/preview"):
            answer = browser.post(f"{path}/{step}", confirm=path.rpartition("/")[2], **{**ANYTHING, **fields})
            assert answer.status_code == 400
            described = re.findall(r'aria-describedby="([^"]*)"', answer.text)
            for name, message in faults.items():
                assert re.search(rf'id="{name}-fault">[^<]*{message}', answer.text)
                assert any(f"{name}-fault" in told for told in described)
            assert fields.get("allow", "") in answer.text
        assert (kept(database), records(database)) == (("merchant", None), [])

    def test_what_was_typed_is_text(self, browser: Browser, path: str) -> None:
        evil = "</textarea><script>alert(1)</script>\"'"
        text = browser.post(f"{path}/limit/preview", **{**ANYTHING, "from": "networks", "allow": evil}).text
        assert "&lt;/textarea&gt;&lt;script&gt;" in text
        assert "<script>" not in text
        kept_typed = browser.post(f"{path}/limit/preview", **{**ANYTHING, "allow": evil}).text
        assert "<script>" not in kept_typed
        assert hidden(kept_typed)["allow"] == evil

    def test_a_revoked_client_and_none_are_told_in_words_of_the_console(
        self, browser: Browser, path: str, credential: IssuedCredential
    ) -> None:
        browser.post(f"{path}/revoke", confirm=credential.client.id)
        for step in ("limit", "limit/preview"):
            answer = browser.post(f"{path}/{step}", confirm=credential.client.id, **CATALOG)
            assert (answer.status_code, "revoked for good. Issue another" in answer.text) == (409, True)
        nobody = "/console/clients/acme-aaaaaaaaaaaaa/limit"
        assert browser.get(nobody).status_code == 404
        for step in ("", "/preview"):
            assert browser.post(nobody + step, confirm="acme-aaaaaaaaaaaaa", **CATALOG).status_code == 404

    def test_every_group_of_the_api_can_be_ticked(self, browser: Browser, path: str) -> None:
        text = browser.get(f"{path}/limit").text
        boxes = set(re.findall(r'<input type="checkbox" id="[^"]*" name="([^"]*)"', text))
        assert boxes == {f"{group}:{kind}" for group in API_GROUPS for kind in ("read", "write")}


class TestSuggestion:
    def test_it_stands_beside_the_form_and_fills_it_in(self, browser: Browser, path: str, see: Any) -> None:
        see("198.51.100.7", "catalog:read")
        see("10.0.0.8", "inventory:write")
        plain = browser.get(f"{path}/limit").text
        assert 'id="suggested-scope">reading the catalog and writing the inventory<' in plain
        assert 'id="suggested-networks">only from 10.0.0.8/32, 198.51.100.7/32<' in plain
        assert "Some addresses are of a private network." in plain
        assert checked(plain) == {"scope-merchant", "from-anywhere"}
        assert f'href="{path}/limit?suggested=1"' in plain
        filled = browser.get(f"{path}/limit?suggested=1").text
        assert checked(filled) == {"scope-some", "catalog-read", "inventory-write", "from-networks"}
        assert "10.0.0.8/32\n198.51.100.7/32</textarea>" in filled
        assert "Nothing is changed yet." in filled

    def test_what_is_not_suggested_stays_as_it_is(
        self, browser: Browser, path: str, credential: IssuedCredential, see: Any
    ) -> None:
        assert "so nothing can be suggested" in browser.get(f"{path}/limit").text
        browser.post(f"{path}/limit", confirm=credential.client.id, **CATALOG)
        see("198.51.100.7")
        text = browser.get(f"{path}/limit?suggested=1").text
        assert "no call was seen, so nothing is suggested" in text
        assert checked(text) == {"scope-some", "catalog-read", "from-networks"}
        assert "198.51.100.7/32</textarea>" in text
        for number in range(65):
            see(f"198.18.{number}.1")
        text = browser.get(f"{path}/limit?suggested=1").text
        assert "no list of at most 64 networks holds all of it" in text
        assert "10.0.0.1/32\n198.51.100.0/24</textarea>" in text

    def test_a_viewer_sees_limits_and_sets_none(self, sign_in: SignIn, path: str) -> None:
        viewer = sign_in(Role.VIEWER)
        text = viewer.get(path).text
        assert NOW.format("all of its merchant", "from anywhere") in text
        assert f"{path}/limit" not in text
        assert viewer.get(f"{path}/limit").status_code == 403

"""What representatives and owners do on the console, and what comes of forms that are wrong."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from ecross_server.audit.rules import Actor, TokenEvent
from ecross_server.audit.service import RecordFilter, list_records
from ecross_server.handover import service as hand_overs
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.private_files import read_private_json
from ecross_server.merchants import rotation, service, uses
from ecross_server.merchants.rules import Peppers
from ecross_server.merchants.service import IssuedCredential
from ecross_server.operators import service as operators
from ecross_server.operators.rules import Role
from ecross_server.settings import Settings
from packages.server.tests.console.conftest import Browser, Console, SignIn

LINK = re.compile(r"https://api\.example\.com/hand-over/(eho_[0-9A-Za-z]{32})<")
SECRET = re.compile(r"ecs_[0-9A-Za-z]{49}")


@pytest.fixture
def browser(sign_in: SignIn) -> Browser:
    """A representative's."""
    return sign_in(Role.REPRESENTATIVE)


@pytest.fixture
def owner(sign_in: SignIn) -> Browser:
    return sign_in(Role.OWNER)


@pytest.fixture
def client_path(credential: IssuedCredential) -> str:
    return f"/console/clients/{credential.client.id}"


@pytest.fixture
def acts(database: Database) -> Any:
    """The newest acts of the trail: what, by whom, with what outcome."""

    def read(count: int) -> list[tuple[str, str, str]]:
        with database.read() as session:
            records = list(list_records(session, RecordFilter(acts_only=True), count))
        assert all(each.draft.request_id and each.draft.address == "203.0.113.7" for each in records)
        return [(each.draft.action, each.draft.actor, each.draft.outcome) for each in records]

    return read


def by(action: str, who: str = "representative", outcome: str = "done") -> tuple[str, str, str]:
    return (action, f"operator:jane-{who}", outcome)


def statuses(database: Database) -> list[str]:
    with database.read() as session:
        client = service.list_credentials(session)[0]
        return [client.merchant.status, client.status, *(secret.status for secret in client.secrets)]


class TestRegistering:
    def test_the_link_is_on_the_very_screen_and_the_secret_nowhere(
        self, browser: Browser, database: Database, acts: Any
    ) -> None:
        answer = browser.post(
            "/console/register", id=" ACME ", name="Acme & Sons", label="ERP", expires_in="90d",
            hand_over_expires_in="7d", code="yes",
        )  # fmt: skip
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert "Acme &amp; Sons is registered" in answer.text
        token = LINK.findall(answer.text)[0]
        assert re.search(r">[a-z2-7]{5}-[a-z2-7]{5}<", answer.text), "the code"
        assert not SECRET.search(answer.text)
        with database.read() as session:
            receipt = hand_overs.look_at_link(session, token, now=utc_now())
            assert service.list_credentials(session, "ACME")[0].secrets == []
        it = receipt.hand_over
        assert (it.merchant_id, it.label, it.created_by) == ("ACME", "ERP", "operator:jane-representative")
        assert it.expires_at - it.created_at == timedelta(days=7)
        assert it.secret_expires_at == it.created_at + timedelta(days=90)
        assert acts(3) == [by("merchants.register"), by("credentials.add_client"), by("hand-overs.create")]
        assert token not in browser.get("/console/hand-overs").text

    def test_the_recipient_gets_the_secret_and_its_arrival_is_seen(
        self, browser: Browser, database: Database, peppers: Peppers, operator: Actor
    ) -> None:
        page = browser.post("/console/register", id="ACME", name="Acme").text
        path = re.findall(r'href="(/console/clients/acme-[a-z2-7]{13})"', page)[0]
        assert "on its way" in browser.get(path).text
        with database.write() as session:
            receipt = hand_overs.look_at_link(session, LINK.findall(page)[0], now=utc_now())
            issued = hand_overs.reveal_secret(
                session, receipt.hand_over.id, peppers=peppers, now=utc_now(), by=operator
            )
        assert "not yet" in browser.get(path).text
        event = TokenEvent(
            1_795_000_000.0, "issued", issued.client.id, "ACME", "198.51.100.4", "r", issued.secret.id, "t", None
        )
        with database.write() as session:
            uses.note_secret_uses(session, [event])
        text = browser.get(path).text
        assert "First token for" in text
        assert '2026-11-18 11:06:40 UTC</time> from <span class="mono">198.51.100.4</span>' in text
        arrival = text[text.index('id="arrival"') : text.index('id="meter"')]
        assert "hx-get" not in arrival, "what has arrived is not waited for"

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"id": "acme"}, "id"), ({"id": ""}, "id"), ({"name": ""}, "name"), ({"name": "x" * 201}, "name"),
            ({"label": "a\u0007b"}, "label"), ({"expires_in": "tomorrow"}, "expires-in"),
            ({"hand_over_expires_in": "400d"}, "hand-over-expires-in"),
        ],
    )  # fmt: skip
    def test_a_wrong_field_is_marked_what_was_typed_is_kept_and_nothing_is_done(
        self, browser: Browser, database: Database, fields: dict[str, str], field: str
    ) -> None:
        typed = {"id": "ACME", "name": 'Acme "<&', "label": "ERP", "code": "yes", **fields}
        answer = browser.post("/console/register", **typed)
        assert answer.status_code == 400
        assert f'id="{field}-fault"' in answer.text
        assert any(f"{field}-fault" in told for told in re.findall(r'aria-describedby="([^"]*)"', answer.text))
        if "name" not in fields:
            assert 'value="Acme &#34;&lt;&amp;"' in answer.text
        assert 'name="code" value="yes" checked' in answer.text
        with database.read() as session:
            assert service.list_merchants(session) == []

    def test_every_fault_is_told_at_once(self, browser: Browser) -> None:
        text = browser.post(
            "/console/register", id="x", name="", label="a\u0007", expires_in="x", hand_over_expires_in="y"
        ).text
        assert re.findall(r'class="fault" id="([\w-]+)-fault"', text) == [
            "id", "name", "label", "expires-in", "hand-over-expires-in",
        ]  # fmt: skip

    def test_a_taken_id_is_told_in_words_of_the_console(self, browser: Browser, credential: Any) -> None:
        del credential
        answer = browser.post("/console/register", id="ACME", name="Another")
        assert answer.status_code == 409
        assert "A merchant with this id is registered already." in answer.text
        assert "ecross-server" not in answer.text

    def test_without_an_address_that_could_be_followed_nobody_fills_the_form_in_for_nothing(
        self, browser: Browser, console: Console, database: Database
    ) -> None:
        desk = console.app.state.console_desk
        console.app.state.console_desk = type(desk)(
            **{name: getattr(desk, name) for name in desk.__slots__} | {"public_url": "http://0.0.0.0:8000"}
        )
        assert "No link can be made" in browser.get("/console/register").text
        answer = browser.post("/console/register", id="ACME", name="Acme")
        assert (answer.status_code, "No link can be made" in answer.text) == (409, True)
        with database.read() as session:
            assert service.list_merchants(session) == []


class TestMerchant:
    def test_another_client_is_issued_with_its_link(self, browser: Browser, credential: Any, acts: Any) -> None:
        del credential
        answer = browser.post("/console/merchants/ACME/issue", label="WMS")
        assert LINK.search(answer.text)
        assert acts(2) == [by("credentials.add_client"), by("hand-overs.create")]

    def test_a_faulty_form_comes_back(self, browser: Browser, credential: Any) -> None:
        del credential
        answer = browser.post("/console/merchants/ACME/issue", label="x" * 101)
        assert (answer.status_code, 'id="label-fault"' in answer.text) == (400, True)

    def test_it_is_disabled_by_its_typed_name_and_enabled_again(
        self, browser: Browser, credential: Any, database: Database, acts: Any
    ) -> None:
        del credential
        answer = browser.post("/console/merchants/ACME/disable", confirm="acme")
        assert (answer.status_code, 'id="confirm-fault"' in answer.text) == (400, True)
        assert statuses(database)[0] == "active"
        answer = browser.post("/console/merchants/ACME/disable", confirm="ACME")
        assert answer.headers["location"] == "/console/merchants/ACME?done=merchant-disabled"
        page = browser.get(answer.headers["location"]).text
        assert 'role="status">The merchant is disabled.' in page
        assert statuses(database)[0] == "disabled"
        answer = browser.post("/console/merchants/ACME/issue")
        assert (answer.status_code, "Enable it first" in answer.text) == (409, True)
        assert browser.post("/console/merchants/ACME/enable").status_code == 303
        assert statuses(database)[0] == "active"
        assert acts(2) == [by("merchants.disable"), by("merchants.enable")]

    def test_what_does_not_exist_is_a_page_that_says_so(self, browser: Browser) -> None:
        for path in ("/console/merchants/NONE", "/console/clients/none-x", "/console/hand-overs/hov_x", "/console/x"):
            answer = browser.get(path)
            assert (answer.status_code, "<h1>There is nothing here</h1>" in answer.text) == (404, True)
        assert browser.post("/console/merchants/NONE/enable").status_code == 404
        assert browser.post("/console/merchants/NONE/disable", confirm="NONE").status_code == 404

    def test_no_address_makes_a_page_say_what_was_not_done(self, browser: Browser, credential: Any) -> None:
        del credential
        assert 'role="status"' not in browser.get("/console/merchants/ACME?done=<b>gone").text


class Rotating(NamedTuple):
    """A client with two secrets, and who looks at it."""

    browser: Browser
    client_path: str
    credential: IssuedCredential
    rotated: rotation.RotatedCredential


class TestRotation:
    @pytest.fixture
    def rotated(
        self, database: Database, credential: IssuedCredential, peppers: Peppers, operator: Actor
    ) -> rotation.RotatedCredential:
        with database.write() as session:
            return rotation.rotate_credential(
                session, credential.client.id, peppers=peppers, now=utc_now(), by=operator, label="ERP 2"
            )

    @pytest.fixture
    def rotating(
        self, browser: Browser, client_path: str, credential: IssuedCredential, rotated: rotation.RotatedCredential
    ) -> Rotating:
        return Rotating(browser, client_path, credential, rotated)

    @staticmethod
    def use(database: Database, issued: IssuedCredential, count: int = 1) -> None:
        event = TokenEvent(
            utc_now().timestamp(), "issued", issued.client.id, "ACME", "198.51.100.4", "r", issued.secret.id, "t", None
        )
        with database.write() as session:
            uses.note_secret_uses(session, [event] * count)

    def test_it_begins_with_a_link_and_the_old_secret_works_on(
        self, browser: Browser, client_path: str, database: Database, acts: Any
    ) -> None:
        assert "Rotate the secret" in browser.get(f"{client_path}/rotate").text
        answer = browser.post(f"{client_path}/rotate", label="ERP 2")
        assert LINK.search(answer.text)
        assert statuses(database) == ["active", "active", "active"]
        assert acts(1) == [by("hand-overs.create")]

    def test_a_third_secret_is_refused_in_words(self, browser: Browser, client_path: str, rotated: Any) -> None:
        del rotated
        answer = browser.post(f"{client_path}/rotate")
        assert (answer.status_code, "has two live secrets" in answer.text) == (409, True)
        assert "ecross-server" not in answer.text

    def test_the_meter_tells_how_much_is_the_new_one_s(
        self, browser: Browser, client_path: str, credential: IssuedCredential, rotated: Any, database: Database
    ) -> None:
        assert "Last hour: no tokens" in browser.get(client_path).text
        self.use(database, credential, 1)
        self.use(database, rotated, 3)
        text = browser.get(client_path).text
        assert "Last hour: 75 % with the new secret" in text
        assert '<rect class="share" width="75"' in text
        assert 'hx-select="#meter"' in text

    def test_cancelling_ends_the_newer_one_and_asks_once_more_if_it_was_used(
        self, rotating: Rotating, database: Database, acts: Any
    ) -> None:
        browser, client_path, credential, rotated = rotating
        path = f"{client_path}/cancel-rotation"
        name = credential.client.id
        assert 'id="confirm-fault"' in browser.post(path).text
        self.use(database, rotated)
        assert 'name="force"' in browser.get(path).text
        answer = browser.post(path, confirm=name)
        assert (answer.status_code, "somebody would be locked out" in answer.text) == (409, True)
        assert browser.post(path, confirm=name, force="yes").headers["location"].endswith("?done=rotation-cancelled")
        assert statuses(database)[2:] == ["active", "retired"]
        assert acts(1) == [by("credentials.cancel_rotation")]
        assert browser.post(path, confirm=name).status_code == 409

    def test_retiring_says_first_who_would_be_locked_out(
        self, rotating: Rotating, database: Database, acts: Any
    ) -> None:
        browser, client_path, credential, rotated = rotating
        path, name = f"{client_path}/secrets/{credential.secret.id}/retire", credential.client.id
        assert "Nobody would notice" in browser.get(path).text
        self.use(database, credential)
        page = browser.get(path).text
        assert "Somebody would be locked out" in page
        assert "198.51.100.4" in page
        assert browser.post(path, confirm=name).status_code == 409
        assert statuses(database)[2] == "active"
        assert browser.post(path, confirm=name, force="yes").headers["location"].endswith("?done=secret-retired")
        assert statuses(database)[2:] == ["retired", "active"]
        assert acts(1) == [by("credentials.retire")]
        last = f"{client_path}/secrets/{rotated.secret.id}/retire"
        assert "only secret that is to stay" in browser.get(last).text
        assert browser.get(f"{client_path}/secrets/sec_x/retire").status_code == 404

    def test_a_leak_ends_all_and_hands_another_secret_over(
        self, rotating: Rotating, database: Database, acts: Any
    ) -> None:
        browser, client_path, credential, _ = rotating
        path, name = f"{client_path}/leaked", credential.client.id
        assert 'id="confirm-fault"' in browser.post(path).text
        answer = browser.post(path, confirm=name, label="ERP 3")
        assert LINK.search(answer.text)
        assert credential.secret.id in answer.text
        assert statuses(database) == ["active", "active", "revoked", "revoked"]
        with database.read() as session:
            assert service.list_credentials(session)[0].epoch == 2
        assert acts(2) == [by("credentials.leaked"), by("hand-overs.create")]

    def test_one_leaked_secret_can_be_named(
        self, browser: Browser, client_path: str, rotated: Any, database: Database, credential: Any
    ) -> None:
        path, name = f"{client_path}/leaked", credential.client.id
        assert LINK.search(browser.post(path, confirm=name, secret=rotated.secret.id).text)
        assert statuses(database)[2:] == ["active", "revoked"]
        answer = browser.post(path, confirm=name, secret=rotated.secret.id)
        assert (answer.status_code, "opens nothing any more" in answer.text) == (409, True)
        for _ in range(2):
            answer = browser.post(path, confirm=name)
        assert "no secret, for none was live" in answer.text

    def test_a_client_is_revoked_by_its_typed_name(
        self, browser: Browser, client_path: str, database: Database, acts: Any, credential: Any
    ) -> None:
        assert 'id="confirm-fault"' in browser.post(f"{client_path}/revoke", confirm="ACME").text
        answer = browser.post(f"{client_path}/revoke", confirm=credential.client.id)
        assert answer.headers["location"].endswith("?done=client-revoked")
        page = browser.get(answer.headers["location"]).text
        assert "No secret of this client is live" in page
        assert "/rotate" not in page
        assert statuses(database)[1:] == ["revoked", "revoked"]
        assert acts(1) == [by("credentials.revoke")]


class TestHandOvers:
    def test_an_open_link_is_cancelled_and_then_cannot_be_again(
        self, browser: Browser, credential: Any, acts: Any
    ) -> None:
        del credential
        page = browser.post("/console/merchants/ACME/issue", label="WMS").text
        token = LINK.findall(page)[0]
        listed = browser.get("/console/hand-overs?merchant=ACME").text
        path = re.findall(r'href="(/console/hand-overs/hov_[a-z2-7]+)"', listed)[0]
        assert token not in listed
        assert "Cancel the link" in browser.get(path).text
        answer = browser.post(f"{path}/cancel")
        assert answer.headers["location"] == f"{path}?done=hand-over-cancelled"
        text = browser.get(path).text
        assert "Cancel the link" not in text
        assert 'by <span class="mono">operator:jane-representative' in text
        assert acts(1) == [by("hand-overs.cancel")]

    def test_what_was_revealed_cannot_be_cancelled(
        self, browser: Browser, credential: Any, database: Database, peppers: Peppers, operator: Actor
    ) -> None:
        del credential
        token = LINK.findall(browser.post("/console/merchants/ACME/issue").text)[0]
        with database.write() as session:
            it = hand_overs.look_at_link(session, token, now=utc_now()).hand_over
            hand_overs.reveal_secret(session, it.id, peppers=peppers, now=utc_now(), by=operator)
        answer = browser.post(f"/console/hand-overs/{it.id}/cancel")
        assert (answer.status_code, "revealed already" in answer.text) == (409, True)


class TestKeys:
    def test_an_owner_rotates_them_by_a_typed_word(self, owner: Browser, settings: Settings, acts: Any) -> None:
        path = "/console/installation/rotate-keys"
        answer = owner.post(path, confirm="yes")
        assert (answer.status_code, 'id="confirm-fault"' in answer.text) == (400, True)
        before = read_private_json(settings.signing_keys_file)["keys"]
        assert owner.post(path, confirm="rotate").headers["location"].endswith("?done=keys-rotated")
        rotated = read_private_json(settings.signing_keys_file)["keys"]
        assert [key["kid"] for key in rotated[1:]] == [key["kid"] for key in before]
        assert acts(2) == [by("keys.rotate", "owner", "begun"), by("keys.rotate", "owner")]
        assert owner.post(path, confirm="rotate").status_code == 303
        answer = owner.post(path, confirm="rotate")
        assert (answer.status_code, "Three signing keys are live" in answer.text) == (409, True)
        answer = owner.post(path, confirm="rotate", drop_old="yes")
        assert (
            'role="status">A new key signs now and all older ones are gone'
            in owner.get(answer.headers["location"]).text
        )
        assert len(read_private_json(settings.signing_keys_file)["keys"]) == 1


class TestOperators:
    def test_an_invitation_is_shown_once(self, owner: Browser, acts: Any) -> None:
        answer = owner.post("/console/operators", id="rob", name="Rob & Co", role="viewer")
        links = re.findall(r"https://console\.example\.com/console/invitations/eoi_[0-9A-Za-z]{43}<", answer.text)
        assert (len(links), "Rob &amp; Co" in answer.text) == (1, True)
        assert "invited" in owner.get("/console/operators").text
        assert acts(1) == [by("operators.add", "owner")]

    @pytest.mark.parametrize(
        ("fields", "field"), [({"id": "Rob"}, "id"), ({"name": ""}, "name"), ({"role": "king"}, "role")]
    )
    def test_a_wrong_field_is_marked(self, owner: Browser, fields: Any, field: str) -> None:
        answer = owner.post("/console/operators", **{"id": "rob", "name": "Rob", "role": "viewer", **fields})
        assert (answer.status_code, f'id="{field}-fault"' in answer.text) == (400, True)

    def test_a_role_is_changed_and_the_last_owner_stays_one(self, owner: Browser, sign_in: SignIn, acts: Any) -> None:
        other = sign_in(Role.VIEWER)
        answer = owner.post("/console/operators/jane-viewer/role", role="representative")
        assert answer.headers["location"].endswith("?done=role-changed")
        assert acts(1) == [by("operators.role", "owner")]
        assert other.get("/console/register").status_code == 200, "it holds at once"
        answer = owner.post("/console/operators/jane-owner/role", role="viewer")
        assert (answer.status_code, "only active owner" in answer.text) == (409, True)
        answer = owner.post("/console/operators/jane-owner/disable", confirm="jane-owner")
        assert answer.status_code == 409

    def test_one_is_disabled_by_the_typed_id_signed_out_and_enabled(
        self, owner: Browser, sign_in: SignIn, acts: Any
    ) -> None:
        other = sign_in(Role.VIEWER)
        path = "/console/operators/jane-viewer"
        assert 'id="confirm-fault"' in owner.post(f"{path}/disable").text
        assert owner.post(f"{path}/disable", confirm="jane-viewer").status_code == 303
        assert other.get("/console/merchants").status_code == 303
        assert owner.post(f"{path}/reinvite").status_code == 409
        assert "Enable" in owner.get(path).text
        assert owner.post(f"{path}/enable").status_code == 303
        assert acts(2) == [by("operators.disable", "owner"), by("operators.enable", "owner")]

    def test_another_invitation_is_made_for_who_has_forgotten(self, owner: Browser, acts: Any) -> None:
        owner.post("/console/operators", id="rob", name="Rob", role="viewer")
        answer = owner.post("/console/operators/rob/reinvite")
        assert "/console/invitations/eoi_" in answer.text
        assert acts(1) == [by("operators.reinvite", "owner")]

    def test_sessions_of_another_are_ended_one_or_all(
        self, owner: Browser, sign_in: SignIn, database: Database
    ) -> None:
        other = sign_in(Role.VIEWER)
        path = "/console/operators/jane-viewer"
        named = re.findall(r'name="session" value="(ses_\w+)"', owner.get(path).text)
        assert owner.post(f"{path}/sign-out", session=named[0]).status_code == 303
        assert other.get("/console/merchants").status_code == 303
        with database.read() as session:
            before = operators.get_operator(session, "jane-viewer").epoch
        assert owner.post(f"{path}/sign-out").status_code == 303
        with database.read() as session:
            assert operators.get_operator(session, "jane-viewer").epoch == before + 1
        assert "None." in owner.get(path).text

"""The pages that limit a client, in a real browser: chosen, looked at and confirmed, with scripts and without."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import pyotp
import pytest
import uvicorn

from ecross_server.app.administration import Administration
from ecross_server.audit import service as audit
from ecross_server.audit.rules import Actor, Draft
from ecross_server.console.desk import COOKIE
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.merchants import service as merchants
from ecross_server.merchants.service import IssuedCredential
from ecross_server.merchants.uses import CallKind, note_calls
from ecross_server.operators import service as operators
from ecross_server.operators.rules import Role, SessionEnds
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from tests.browser.conftest import Visit, Visitor

PHONE = (360, 740)
NARROWEST = (320, 256)
"""A window of 1280 by 1024 at 400 % (WCAG 1.4.10)."""

PASSWORD = "four quite usual words"


@pytest.fixture
def backend() -> str:
    """SQLite alone: pages look the same on both."""
    return "sqlite"


@pytest.fixture
def administration(settings: Settings) -> Iterator[Administration]:
    made = Administration(settings)
    yield made
    made.database.close()


@pytest.fixture
def address(administration: Administration) -> Iterator[str]:
    """Where the console is to be had on this machine."""
    server = uvicorn.Server(uvicorn.Config(administration, log_config=None, lifespan="off"))
    listening = socket.create_server(("127.0.0.1", 0))
    serving = threading.Thread(target=server.run, args=([listening],))
    serving.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/console"
    server.should_exit = True
    serving.join()


@pytest.fixture
def cookie(administration: Administration, database: Database, operator: Actor) -> str:
    """The session of a representative who has signed in."""
    door, past = administration.office.door, utc_now() - timedelta(minutes=5)
    with database.write() as session:
        invitation = operators.invite_operator(
            session, "jane", "Jane Doe", Role.REPRESENTATIVE, keys=door.keys(), now=past, by=operator
        )
        enrolment = operators.begin_enrolment(session, invitation.token, keys=door.keys(), now=past)
    totp, caller = pyotp.TOTP(enrolment.totp_secret), operators.Caller(operator.keys)
    operators.finish_enrolment(database, invitation.token, PASSWORD, totp.at(past), door=door, caller=caller, now=past)
    now = utc_now()
    attempt = operators.Attempt("jane", PASSWORD, totp.at(now))
    proof = operators.check_sign_in(database, attempt, door=door, caller=caller, now=now)
    with database.write() as session:
        value, _ = operators.open_session(session, proof, ends=SessionEnds(), caller=caller, now=now)
    return value


def sign_in(visitor: Visitor, cookie: str) -> Visitor:
    visitor.context.add_cookies([
        {"name": COOKIE, "value": cookie, "domain": "127.0.0.1", "path": "/", "secure": True, "httpOnly": True}
    ])  # fmt: skip
    return visitor


@pytest.fixture
def jane(visitor: Visitor, cookie: str) -> Visitor:
    return sign_in(visitor, cookie)


@pytest.fixture
def client_id(database: Database, operator: Actor, credential: IssuedCredential) -> str:
    """A client of which some traffic was seen."""
    name, now = credential.client.id, time.time()
    at = int(now * 1_000_000)
    with database.write() as session:
        note_calls(session, {CallKind(name, "catalog:read", "198.51.100.7"): 340}, at=now)
        note_calls(session, {CallKind(name, "inventory:write", "203.0.113.9"): 12}, at=now)
        audit.append(session, [
            Draft(at, name, "token.issue", "ACME", name, "issued", address, "r", "t", "s", None)
            for address in ("198.51.100.7", "198.51.100.8", "203.0.113.9")
        ], operator.keys, now=at)  # fmt: skip
    return name


def limits(database: Database) -> tuple[str, str | None]:
    with database.read() as session:
        (client,) = merchants.list_credentials(session)
        return client.scope, client.allowed_networks


@pytest.fixture(params=[True, False], ids=["with scripts", "without scripts"])
def either(request: pytest.FixtureRequest, visit: Visit, cookie: str) -> Visitor:
    """Jane, in a browser that runs scripts and in one that does not."""
    return sign_in(visit(java_script_enabled=request.param), cookie)


def test_a_client_is_limited_to_what_its_traffic_needs(
    either: Visitor, address: str, client_id: str, database: Database
) -> None:
    page = either.page
    page.goto(f"{address}/clients/{client_id}")
    assert "Allowed: all of its merchant, from anywhere." in page.inner_text("#limits")
    page.get_by_role("link", name="Limit this client").click()
    networks, reading = page.get_by_label("One a line"), page.locator("#inventory-read")
    assert (networks.is_visible(), reading.is_visible()) == (False, False), "what is not chosen is not shown"
    page.get_by_role("link", name="Fill the form in with this").click()
    assert (networks.is_visible(), reading.is_visible(), reading.is_checked()) == (True, True, False)
    assert networks.input_value() == "198.51.100.7/32\n198.51.100.8/32\n203.0.113.9/32"
    either.draw("limit-a-client")
    networks.fill("198.51.100.0/24\nhome")
    page.get_by_role("button", name="See what that refuses").click()
    assert page.locator("#allow-fault").inner_text().startswith("line 2 must be an address or a network")
    page.get_by_label("One a line").fill("198.51.100.0/24")
    page.get_by_role("button", name="See what that refuses").click()
    assert "203.0.113.9" in page.inner_text("main table")
    either.draw("limit-a-client-preview")
    page.get_by_role("button", name="Change it").click()
    assert page.get_by_label("One a line").input_value() == "198.51.100.0/24"
    page.get_by_role("button", name="See what that refuses").click()
    assert limits(database) == ("merchant", None)
    page.get_by_label("Type").fill(client_id)
    page.get_by_label("Type").press("Enter")
    page.wait_for_url("**?done=client-limited")
    told = "Allowed: reading the catalog and writing the inventory, only from 198.51.100.0/24."
    assert told in page.inner_text("#limits")
    assert limits(database) == ("catalog:read inventory:write", "198.51.100.0/24")
    assert either.complaints == []


def test_everybody_can_use_the_pages(jane: Visitor, address: str, client_id: str) -> None:
    page = jane.page
    path = f"{address}/clients/{client_id}"

    def look(name: str) -> None:
        jane.page.set_viewport_size({"width": 1280, "height": 900})
        assert jane.faults() == [], name
        assert (jane.too_wide(*PHONE), jane.too_wide(*NARROWEST)) == ([], []), name

    for place in (path, f"{path}/limit", f"{path}/limit?suggested=1", f"{address}/register"):
        page.goto(place)
        for folded in page.locator("details").all():
            folded.evaluate("each => { each.open = true; }")
        look(place)
    page.goto(f"{path}/limit?suggested=1")
    page.get_by_label("One a line").fill("home")
    page.locator("#catalog-read").uncheck()
    page.locator("#inventory-write").uncheck()
    page.get_by_role("button", name="See what that refuses").click()
    assert page.locator(".fault").count() == 2
    look("faults")
    page.locator("#catalog-read").check()
    page.get_by_label("One a line").fill("2001:db8:1234:5678::/64")
    page.get_by_role("button", name="See what that refuses").click()
    look("preview")
    assert jane.complaints == []

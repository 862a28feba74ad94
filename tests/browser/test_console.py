"""A representative at the console, in a real browser, and the merchant's developer in another one."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pyotp
import pytest

from processes import in_every_process

if TYPE_CHECKING:
    from processes import ServerProcess, StartServer
    from tests.browser.conftest import Visit, Visitor

PASSWORD = "four words make one"
PHONE = (360, 740)
SEED = re.compile(r"\b[A-Z2-7]{32}\b")
STEP_SECONDS = 30

WaitFor = Callable[[Callable[[], object]], None]


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """Two processes that serve, and the administration beside them."""
    with socket.socket() as public, socket.socket() as private:
        for probe in (public, private):
            probe.bind(("127.0.0.1", 0))
        port, admin_port = public.getsockname()[1], private.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    options = ("--workers", "2", "--port", str(port), "--admin-port", str(admin_port))
    return start_server(*options, ECROSS_SERVER_PUBLIC_URL=url, ECROSS_SERVER_JOB_PROCESSES="1")


@pytest.fixture
def console(server: ServerProcess) -> str:
    """Where the console is."""
    admin_url: str = server.facts["adminUrl"]
    return admin_url.removesuffix("/admin") + "/console"


def enroll(server: ServerProcess, console: str, visitor: Visitor, ahead: int = 0) -> pyotp.TOTP:
    """Make Jane an owner, with a code of so many seconds from now: no code works twice. Her authenticator."""
    invited = server.json("operators", "add", "jane", "--name", "Jane Doe", "--role", "owner")
    page = visitor.page
    page.goto(f"{console}/invitations/{invited['invitationToken']}")
    found = SEED.search(page.inner_text("main"))
    assert found is not None
    authenticator = pyotp.TOTP(found[0])
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_label("Code that the authenticator shows now").fill(authenticator.at(int(time.time()) + ahead))
    page.get_by_role("button", name="Begin").click()
    return authenticator


def sign_in(console: str, visitor: Visitor, code: str) -> None:
    """Type operator, password and code."""
    page = visitor.page
    page.goto(f"{console}/merchants")  # which asks for a sign-in first
    page.get_by_label("Operator").fill("jane")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Code of your authenticator").fill(code)
    page.keyboard.press("Enter")
    page.wait_for_url("**/console/merchants")


@pytest.fixture
def jane(server: ServerProcess, console: str, visitor: Visitor) -> Visitor:
    """An owner who has enrolled and signed in."""
    authenticator = enroll(server, console, visitor)
    # The code of half a minute from now is good already.
    sign_in(console, visitor, authenticator.at(int(time.time()) + STEP_SECONDS))
    return visitor


def reveal(visit: Visit, link: str) -> dict[str, str]:
    """What the recipient of a link gets."""
    page = visit().page
    page.goto(link)
    page.get_by_role("button", name="Show the secret, once").click()
    return {
        "clientId": page.locator("dd").first.inner_text(),
        "clientSecret": page.get_by_label("Client secret").inner_text(),
    }


def link_on(visitor: Visitor) -> str:
    """The link that the page shows, this once."""
    return visitor.page.get_by_label("The link").inner_text()


def opens(server: ServerProcess, credentials: dict[str, str]) -> bool:
    """Whether both processes give a token."""
    return in_every_process(lambda: server.token(credentials).status_code == 200)


def is_refused(server: ServerProcess, credentials: dict[str, str]) -> bool:
    """Whether neither does."""
    return in_every_process(lambda: server.token(credentials).status_code == 401)


def test_a_merchant_is_registered_and_its_first_token_seen(
    server: ServerProcess, console: str, jane: Visitor, visit: Visit, wait_for: WaitFor
) -> None:
    page = jane.page
    page.get_by_role("link", name="Register a merchant").click()
    page.get_by_label("Id", exact=True).fill("ACME")
    page.get_by_label("Name", exact=True).fill("Acme")
    jane.draw("console-register")
    page.get_by_role("button", name="Register and make the link").click()
    page.get_by_role("heading", name="Acme is registered").wait_for()
    link = link_on(jane)
    jane.draw("console-registered", hidden=".handed")
    page.get_by_role("link", name="To the client").click()
    page.get_by_text("on its way").wait_for()

    credentials = reveal(visit, link)
    wait_for(lambda: opens(server, credentials))
    # Nobody touches the page: it looks by itself.
    page.get_by_text(re.compile("First token for .* at .* UTC from")).wait_for(timeout=20_000)
    jane.draw("console-arrival", height=460)
    page.goto(f"{console}/merchants?q=acm")
    assert page.get_by_role("link", name="ACME").is_visible()
    assert jane.hosts() == {console.split("/")[2]}
    assert jane.complaints == []


def test_a_secret_is_rotated_and_the_old_one_retired_by_its_name(
    server: ServerProcess, console: str, jane: Visitor, visit: Visit, wait_for: WaitFor
) -> None:
    old = server.json("merchants", "register", "ACME", "--name", "Acme")
    wait_for(lambda: opens(server, old))
    page = jane.page
    page.goto(f"{console}/clients/{old['clientId']}")
    page.get_by_role("link", name="Rotate the secret").click()
    page.get_by_label("What the secret is for").fill("from December")
    page.get_by_role("button", name="Make the link").click()
    new = reveal(visit, link_on(jane))
    wait_for(lambda: opens(server, new))
    page.goto(f"{console}/clients/{old['clientId']}")
    page.get_by_role("heading", name="Old and new").wait_for()
    page.get_by_role("row", name=re.compile(r"^from December \(new\) [1-9]")).first.wait_for(timeout=20_000)
    jane.draw("console-rotation", height=560)

    page.get_by_role("link", name=re.compile("^Retire sec_")).click()
    assert "Somebody would be locked out" in page.inner_text("main")
    page.get_by_label("Lock them out all the same").check()
    page.get_by_label(re.compile("^Type ")).fill("another-name")
    page.get_by_role("button", name="Retire this secret").click()
    assert "exactly" in page.inner_text("main")
    assert opens(server, old)
    page.get_by_label(re.compile("^Type ")).fill(old["clientId"])
    page.get_by_role("button", name="Retire this secret").click()
    page.wait_for_url("**done=secret-retired")
    wait_for(lambda: is_refused(server, old))
    assert opens(server, new)
    assert jane.complaints == []


def test_a_leak_is_closed_everywhere_by_one_page(
    server: ServerProcess, console: str, jane: Visitor, visit: Visit, wait_for: WaitFor
) -> None:
    leaked = server.json("merchants", "register", "ACME", "--name", "Acme")
    wait_for(lambda: opens(server, leaked))
    token = server.token(leaked).json()["token"]
    assert server.skus(token).status_code == 200
    page = jane.page
    page.goto(f"{console}/clients/{leaked['clientId']}/leaked")
    page.get_by_label(re.compile("^Type ")).fill(leaked["clientId"])
    jane.draw("console-leaked")
    page.get_by_role("button", name=re.compile("^End it")).click()
    page.get_by_role("heading", name="The leak is closed").wait_for()
    link = link_on(jane)
    wait_for(lambda: in_every_process(lambda: server.skus(token).status_code == 401))
    wait_for(lambda: is_refused(server, leaked))
    new = reveal(visit, link)
    wait_for(lambda: opens(server, new))
    page.goto(f"{console}/refusals?q={leaked['clientId']}")
    page.get_by_text(re.compile("secret", re.IGNORECASE)).first.wait_for()
    jane.draw("console-refusals", height=640)
    assert jane.complaints == []


def test_a_passkey_of_the_device_signs_in(server: ServerProcess, console: str, visitor: Visitor) -> None:
    console = console.replace("127.0.0.1", "localhost")  # browsers make none for addresses
    page = visitor.page
    device = visitor.context.new_cdp_session(page)
    device.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    device_id = device.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]
    while (left := STEP_SECONDS - time.time() % STEP_SECONDS) < STEP_SECONDS / 2:
        time.sleep(left)  # three codes of three steps, within this one
    authenticator = enroll(server, console, visitor, -STEP_SECONDS)
    sign_in(console, visitor, authenticator.now())
    page.get_by_role("link", name="Jane Doe").click()
    page.get_by_role("link", name="Your passkeys").click()
    page.get_by_label("Name").fill("Work laptop")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Code of your authenticator").fill(authenticator.at(int(time.time()) + STEP_SECONDS))
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("heading", name="Make the passkey").wait_for()
    assert page.get_by_text("This browser makes no passkeys here").is_hidden()
    assert visitor.faults() == []
    page.get_by_role("button", name="Make the passkey").click()
    page.wait_for_url("**done=passkey-added")
    assert visitor.faults() == []
    assert visitor.too_wide(*PHONE) == []
    [made] = server.json("operators", "passkeys", "jane")["passkeys"]
    assert made["label"] == "Work laptop"
    visitor.draw("console-passkeys")

    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{console}/trail")
    assert visitor.faults() == []
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url("**/console/trail")
    assert page.get_by_role("link", name="Jane Doe").is_visible()

    # Whoever has the device but is not its owner.
    page.get_by_role("button", name="Sign out").click()
    device.send("WebAuthn.setUserVerified", {"authenticatorId": device_id, "isUserVerified": False})
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.get_by_role("alert").get_by_text("No passkey was used").wait_for()
    device.send("WebAuthn.setUserVerified", {"authenticatorId": device_id, "isUserVerified": True})

    server.json("operators", "remove-passkey", "jane", made["passkeyId"])
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.get_by_text("This passkey opens nothing here.").wait_for()
    page.goto(console.replace("localhost", "127.0.0.1"))
    assert page.get_by_role("button", name="Sign in with a passkey").is_hidden()
    assert visitor.complaints == []


def test_everybody_can_use_every_page(server: ServerProcess, console: str, jane: Visitor, visit: Visit) -> None:
    made = server.json("merchants", "register", "ACME", "--name", "A" * 60)
    offer = server.json("credentials", "issue", "ACME", "--hand-over")
    server.token(made | {"clientSecret": "ecs_wrong"})
    client = f"clients/{made['clientId']}"
    (secret,) = server.json("credentials", "list", "ACME")["credentials"][0]["secrets"]
    listed = (
        "merchants", "merchants/ACME", "merchants/NOBODY", "register", "merchants/ACME/issue", "merchants/ACME/disable",
        client, *(f"{client}/{act}" for act in ("rotate", "leaked", "revoke", f"secrets/{secret['secretId']}/retire")),
        "hand-overs", f"hand-overs/{offer['handOverId']}", f"refusals?q={made['clientId']}", "trail", "installation",
        "operators", "operators/jane", "sessions", "passkeys", "approvals",
    )  # fmt: skip
    for path in listed:
        jane.page.goto(f"{console}/{path}")
        assert jane.faults() == [], path
        assert jane.too_wide(*PHONE) == [], path
    stranger = visit()
    stranger.page.goto(f"{console}/merchants")
    assert stranger.faults() == []
    assert jane.complaints == []


def test_pages_of_others_can_neither_send_forms_nor_show_the_console(
    server: ServerProcess, console: str, jane: Visitor
) -> None:
    server.json("merchants", "register", "ACME", "--name", "Acme", "--no-credentials")
    target = f"{console}/merchants/ACME/disable"
    body = (
        f'<form method="post" action="{target}"><input name="confirm" value="ACME"><button>Win a prize</button></form>'
        f'<iframe src="{target}"></iframe>'
    )
    jane.page.route("http://elsewhere.test/", lambda route: route.fulfill(content_type="text/html", body=body))
    jane.page.goto("http://elsewhere.test/")
    assert jane.page.frames[1].get_by_role("button").count() == 0
    jane.page.get_by_role("button", name="Win a prize").click()
    jane.page.wait_for_url("**/disable")
    assert server.json("merchants", "show", "ACME")["status"] == "active"
    jane.page.goto(f"{console}/merchants/ACME")
    assert jane.page.get_by_role("heading", name="Acme").is_visible()

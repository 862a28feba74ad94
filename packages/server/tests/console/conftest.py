"""What the tests of the console share: operators of each role, and browsers in which they are signed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx2
import pyotp
import pytest
from argon2 import PasswordHasher
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from ecross_server.app.administration import Administration
from ecross_server.audit.rules import Actor
from ecross_server.console.desk import COOKIE
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.merchants.rules import Peppers
from ecross_server.operators import service as operators
from ecross_server.operators.rules import OperatorKeys, Role
from ecross_server.operators.service import Caller, Door
from ecross_server.settings import Settings
from ecross_server.web.context import RequestContext, context_of

PASSWORD = "four quite usual words"
FROM_PAGE = {"Sec-Fetch-Site": "same-origin", "Origin": "null"}
"""What a browser says of a form on a page that tells no referrer."""

FORM_HEADERS = {**FROM_PAGE, "Content-Type": "application/x-www-form-urlencoded"}


class TestClock:
    """The time, and what was added to it."""

    __test__ = False

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> Any:
        return utc_now() + self.ahead


@pytest.fixture
def backend() -> str:
    """SQLite alone: what pages ask of the database is tested where it is asked."""
    return "sqlite"


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def keys(peppers: Peppers) -> OperatorKeys:
    return OperatorKeys(peppers.current, peppers.keys)


class Console:
    """The listener for administration as an ASGI application, and what it has to tell of each request."""

    def __init__(self, administration: Administration) -> None:
        self.app = administration.api
        self.contexts: list[RequestContext] = []
        self._administration = administration

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._administration(scope, receive, send)
        finally:
            self.contexts.append(context_of(scope))


@pytest.fixture
def console(settings: Settings, clock: TestClock) -> Iterator[Console]:
    addresses = {"public_url": "https://api.example.com", "console_url": "https://console.example.com"}
    administration = Administration(settings.model_copy(update=addresses), clock=lambda: clock().timestamp())
    # Argon2 as always, but for how much of it.
    administration.office.door.passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    yield Console(administration)
    administration.database.close()


class Browser:
    """Somebody's browser on the console: it keeps cookies, and says of each form that it comes from the page."""

    def __init__(self, console: Console, address: str = "203.0.113.7") -> None:
        self.client = TestClient(
            console, base_url="https://console.example.com", raise_server_exceptions=False, client=(address, 40000),
            follow_redirects=False,
        )  # fmt: skip
        self.contexts = console.contexts

    def get(self, path: str, **headers: str) -> httpx2.Response:
        """Open a page."""
        return self.client.get(path, headers=headers)

    def post(self, path: str, headers: Any = FROM_PAGE, **fields: str) -> httpx2.Response:
        """Send a form. A dash in a field's name is written as an underscore."""
        data = {name.replace("_", "-"): value for name, value in fields.items()}
        return self.client.post(
            path, data=data, headers={"Content-Type": "application/x-www-form-urlencoded", **headers}
        )

    @property
    def cookie(self) -> str | None:
        """The value of the session's cookie."""
        return self.client.cookies.get(COOKIE)

    @cookie.setter
    def cookie(self, value: str) -> None:
        self.client.cookies.set(COOKIE, value, domain="console.example.com", path="/")


class Enrolled:
    """An operator with password and authenticator."""

    def __init__(self, operator_id: str, totp: pyotp.TOTP, clock: TestClock) -> None:
        self.operator_id = operator_id
        self._totp = totp
        self._clock = clock

    def code(self) -> str:
        """What the authenticator shows now."""
        return self._totp.at(self._clock())

    def next_code(self) -> str:
        """What it shows half a minute later, when it is that late."""
        self._clock.ahead += timedelta(seconds=30)
        return self.code()


Enroll = Callable[..., Enrolled]
SignIn = Callable[..., Browser]


@pytest.fixture
def enroll(database: Database, console: Console, clock: TestClock, keys: OperatorKeys, operator: Actor) -> Enroll:
    """Makes an operator of a role who can sign in."""

    def make(operator_id: str = "jane", role: Role = Role.OWNER, name: str = "Jane Doe") -> Enrolled:
        now = clock()
        with database.write() as session:
            invitation = operators.invite_operator(session, operator_id, name, role, keys=keys, now=now, by=operator)
            enrolment = operators.begin_enrolment(session, invitation.token, keys=keys, now=now)
        totp = pyotp.TOTP(enrolment.totp_secret)
        door: Door = console.app.state.console_desk.door
        operators.finish_enrolment(
            database, invitation.token, PASSWORD, totp.at(now), door=door, caller=Caller(operator.keys), now=now
        )
        return Enrolled(operator_id, totp, clock)

    return make


@pytest.fixture
def sign_in(database: Database, console: Console, enroll: Enroll, clock: TestClock, operator: Actor) -> SignIn:
    """A browser in which a new operator of a role is signed in, without the work that its password takes."""

    def begin(role: Role = Role.OWNER, operator_id: str | None = None, name: str = "Jane Doe") -> Browser:
        someone = enroll(operator_id or f"jane-{role}", role, name)
        door: Door = console.app.state.console_desk.door
        caller = Caller(operator.keys, "203.0.113.7", None, "Test", "203.0.113.7")
        attempt = operators.Attempt(someone.operator_id, PASSWORD, someone.next_code())
        proof = operators.check_sign_in(database, attempt, door=door, caller=caller, now=clock())
        with database.write() as session:
            value, _ = operators.open_session(session, proof, ends=operators.SessionEnds(), caller=caller, now=clock())
        browser = Browser(console)
        browser.cookie = value
        return browser

    return begin


@pytest.fixture
def browser(console: Console) -> Browser:
    """A stranger's."""
    return Browser(console)

"""What the tests of hand-overs share: a link, and somebody who holds it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.audit.service import Actor
from ecross_server.handover import service
from ecross_server.handover.service import OfferedLink, Terms
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.merchants import service as merchants
from ecross_server.merchants.grants import add_client
from ecross_server.merchants.rules import Peppers
from ecross_server.settings import Settings

AS_JSON = {"Accept": "application/json"}
FROM_PAGE = {"Sec-Fetch-Site": "same-origin", "Origin": "null"}
"""What a browser says of a form on a page that tells no referrer."""
NONCE = re.compile(r'name="nonce" value="([^"]+)"')
SECRET = re.compile(r"ecs_[0-9A-Za-z]{49}")

Offer = Callable[..., OfferedLink]


@pytest.fixture
def offer(database: Database, peppers: Peppers, operator: Actor) -> Offer:
    """Makes a link for a new client of a merchant, which is registered if it is not there."""

    def make(
        *, merchant_id: str = "ACME", name: str = "Acme", lasts: timedelta = timedelta(days=3), **terms: Any
    ) -> OfferedLink:
        now = utc_now()
        with database.write() as session:
            if merchant_id not in {merchant.id for merchant in merchants.list_merchants(session)}:
                merchants.register_merchant(session, merchant_id, name, now=now, by=operator)
            client = add_client(session, merchant_id, now=now, by=operator)
            return service.offer_secret(
                session, client, Terms(lasts=lasts, **terms), peppers=peppers, now=now, by=operator
            )

    return make


class TestClock:
    """The time, and what was added to it."""

    __test__ = False

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> float:
        return (utc_now() + self.ahead).timestamp()


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def application(settings: Settings, clock: TestClock) -> Iterator[Application]:
    """The server by that clock; nobody is registered. The threads of its lifespan are not started."""
    made = Application(settings, clock=clock)
    made.auth.refresh()
    yield made
    made.database.close()


class Holder:
    """Somebody who holds a link, with a browser or a program."""

    def __init__(self, application: Application, token: str, address: str = "203.0.113.7") -> None:
        self._client = TestClient(application, raise_server_exceptions=False, client=(address, 40000))
        self.path = f"/hand-over/{token}"

    def look(self, method: str = "GET", **headers: str) -> httpx2.Response:
        """Open the link."""
        return self._client.request(method, self.path, headers=headers)

    def facts(self) -> Any:
        """What a program sees."""
        return self._client.get(self.path, headers=AS_JSON).json()

    def nonce(self) -> str:
        """That of the page."""
        found = NONCE.search(self.look().text)
        assert found is not None
        return found[1]

    def press(self, *, headers: Mapping[str, str] = FROM_PAGE, **fields: str) -> httpx2.Response:
        """Send the page's form."""
        return self._client.post(self.path, data={"act": "reveal", **fields}, headers=headers)

    def reveal(self, code: str = "") -> httpx2.Response:
        """Look and press the button, as a person does."""
        return self.press(nonce=self.nonce(), code=code)


Hold = Callable[..., Holder]


@pytest.fixture
def hold(application: Application) -> Hold:
    """Gives a link to somebody."""

    def give(offered: OfferedLink | str, address: str = "203.0.113.7") -> Holder:
        return Holder(application, offered if isinstance(offered, str) else offered.token, address)

    return give

"""What the tests of administration share: the application, and somebody of each role."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx2
import pyotp
import pytest
from argon2 import PasswordHasher
from sqlalchemy import text
from starlette.testclient import TestClient

from ecross_server.app.administration import Administration
from ecross_server.audit.service import Actor
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.merchants.rules import Peppers
from ecross_server.operators import service
from ecross_server.operators.rules import Operator, OperatorKeys, Role
from ecross_server.settings import Settings

PASSWORD = "four words make one"


class AdminClock:
    """The time, and what was added to it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> float:
        return (utc_now() + self.ahead).timestamp()


@pytest.fixture
def clock() -> AdminClock:
    return AdminClock()


@pytest.fixture
def administration(settings: Settings, clock: AdminClock) -> Iterator[Administration]:
    """The administration by that clock; nobody may do anything yet."""
    made = Administration(settings.model_copy(update={"page_size": 3}), clock=clock)
    # Argon2 as always, but for how much of it.
    made.office.door.passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    yield made
    made.database.close()


class Desk:
    """Somebody who calls, with a token or without."""

    def __init__(self, administration: Administration, token: str | None, address: str = "203.0.113.7") -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.token = token
        self._client = TestClient(
            administration, raise_server_exceptions=False, headers=headers, client=(address, 40000)
        )

    def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Any call."""
        return self._client.request(method, path, **options)

    def get(self, path: str, **query: Any) -> Any:
        """What a good answer to a GET holds."""
        answer = self._client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, status: int = 200, **body: Any) -> Any:
        """What the answer to a POST holds."""
        answer = self._client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()


AddOperator = Callable[..., Operator]
Sit = Callable[..., Desk]


@pytest.fixture
def add_operator(database: Database, peppers: Peppers, operator: Actor) -> AddOperator:
    """An operator who is active, without the work of enrolling."""

    def add(operator_id: str, role: Role) -> Operator:
        keys = OperatorKeys(peppers.current, peppers.keys)
        with database.write() as session:
            service.invite_operator(
                session, operator_id, operator_id.title(), role, keys=keys, now=utc_now(), by=operator
            )
            session.execute(text("UPDATE operators SET status = 'active' WHERE id = :id"), {"id": operator_id})
        with database.read() as session:
            return service.get_operator(session, operator_id)

    return add


@pytest.fixture
def sit(administration: Administration, add_operator: AddOperator) -> Sit:
    """Gives a token to a new operator of a role."""

    def take(role: Role, operator_id: str | None = None) -> Desk:
        added = add_operator(operator_id or role.value, role)
        return Desk(administration, administration.office.tokens.issue(added).token)

    return take


@pytest.fixture
def viewer(sit: Sit) -> Desk:
    return sit(Role.VIEWER)


@pytest.fixture
def representative(sit: Sit) -> Desk:
    return sit(Role.REPRESENTATIVE)


@pytest.fixture
def owner(sit: Sit) -> Desk:
    return sit(Role.OWNER)


@pytest.fixture
def stranger(administration: Administration) -> Desk:
    return Desk(administration, None)


class Enrolled:
    """An operator with a password, an authenticator and a watch."""

    def __init__(self, operator: Operator, seed: str) -> None:
        self.operator = operator
        self.seed = seed

    def typed(self, ahead: timedelta = timedelta(), **other: str) -> dict[str, str]:
        """What signs in."""
        code = pyotp.TOTP(self.seed).at(utc_now() + ahead)
        return {"operator": self.operator.operator_id, "password": PASSWORD, "code": code, **other}


@pytest.fixture
def jane(administration: Administration, database: Database, operator: Actor) -> Enrolled:
    """An owner who has enrolled, a while ago."""
    door, past = administration.office.door, utc_now() - timedelta(minutes=5)
    with database.write() as session:
        invitation = service.invite_operator(
            session, "jane", "Jane Doe", "owner", keys=door.keys(), now=past, by=operator
        )
        enrolment = service.begin_enrolment(session, invitation.token, keys=door.keys(), now=past)
    done = service.finish_enrolment(
        database, invitation.token, PASSWORD, pyotp.TOTP(enrolment.totp_secret).at(past), door=door,
        caller=service.Caller(operator.keys), now=past,
    )  # fmt: skip
    return Enrolled(done, enrolment.totp_secret)

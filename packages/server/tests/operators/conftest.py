"""What the tests of operators share: the way in, and somebody who has gone it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from argon2 import PasswordHasher

from ecross_server.audit.service import Actor
from ecross_server.auth.limits.local import BudgetTable
from ecross_server.kit.database import Database
from ecross_server.merchants.rules import Peppers
from ecross_server.operators import service
from ecross_server.operators.passwords import Passwords
from ecross_server.operators.rules import Operator, OperatorKeys
from ecross_server.operators.service import Attempt, Caller, Door, Invitation, Proof, SignInGuard

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PASSWORD = "four words make one"
STEP = timedelta(seconds=30)

ONE_AT_A_TIME = Passwords(at_once=1)
"""Shared, because the first check of each takes longer. Argon2 as always, but for how much of it: see `test_rules`."""
ONE_AT_A_TIME._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def keys(peppers: Peppers) -> OperatorKeys:
    return OperatorKeys(peppers.current, peppers.keys)


@pytest.fixture
def door(keys: OperatorKeys) -> Door:
    return Door(lambda: keys, ONE_AT_A_TIME, SignInGuard(BudgetTable(64)))


@pytest.fixture
def caller(operator: Actor) -> Caller:
    return Caller(operator.keys, "203.0.113.7", "request-1", "Browser/1", "203.0.113.7")


def fresh(door: Door) -> Door:
    """Without what was charged."""
    return replace(door, guard=SignInGuard(BudgetTable(64)))


@dataclass
class Person:
    """An operator who has enrolled, with an authenticator and a watch."""

    operator: Operator
    seed: str
    database: Database
    door: Door
    caller: Caller
    password: str = PASSWORD

    def code(self, at: datetime) -> str:
        """What the authenticator shows."""
        return pyotp.TOTP(self.seed).at(at)

    def prove(self, at: datetime = NOW + STEP, *, door: Door | None = None, **typed: str) -> Proof:
        """Type operator, password and code, or something else in their places."""
        fields = {"operator_id": self.operator.operator_id, "password": self.password, "code": self.code(at), **typed}
        return service.check_sign_in(
            self.database, Attempt(**fields), door=door or self.door, caller=self.caller, now=at
        )

    def sign_in(self, at: datetime = NOW + STEP, *, door: Door | None = None) -> tuple[str, service.SignedIn]:
        """Open a session."""
        proof = self.prove(at, door=door)
        with self.database.write() as session:
            return service.open_session(session, proof, ends=service.SessionEnds(), caller=self.caller, now=at)


@pytest.fixture
def invite(database: Database, keys: OperatorKeys, operator: Actor) -> Callable[..., Invitation]:
    """Invites somebody."""

    def make(operator_id: str = "jane", role: str = "owner", name: str = "Jane Doe") -> Invitation:
        with database.write() as session:
            return service.invite_operator(session, operator_id, name, role, keys=keys, now=NOW, by=operator)

    return make


@pytest.fixture
def enroll(database: Database, door: Door, caller: Caller) -> Callable[..., Person]:
    """Uses an invitation."""

    def make(invitation: Invitation, password: str = PASSWORD, at: datetime = NOW) -> Person:
        with database.read() as session:
            seed = service.begin_enrolment(session, invitation.token, keys=door.keys(), now=at).totp_secret
        code = pyotp.TOTP(seed).at(at)
        made = service.finish_enrolment(database, invitation.token, password, code, door=door, caller=caller, now=at)
        return Person(made, seed, database, door, caller, password)

    return make


@pytest.fixture
def jane(invite: Callable[..., Invitation], enroll: Callable[..., Person]) -> Person:
    """The first owner."""
    return enroll(invite())

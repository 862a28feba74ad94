"""The causes to refuse a token request, told apart by nothing: the same answer after the very same steps of the whole
application, from the first header to the line in the log. What they take in time is measured by `make bench`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from types import FrameType
from typing import Any

import pytest

from ecross_server.app.assembly import Application
from ecross_server.audit.service import Actor
from ecross_server.kit.database import Database
from ecross_server.merchants import service as merchants
from ecross_server.merchants.rules import new_client_secret
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings
from ecross_server.web.addresses import neighborhood

Causes = dict[str, tuple[str, str]]

FAILURES = 10
"""So many wrong secrets may be sent a minute."""


@pytest.fixture
def backend() -> str:
    """SQLite alone: no request here asks the database."""
    return "sqlite"


@pytest.fixture
def causes(register: Callable[..., IssuedCredential], database: Database, operator: Actor) -> Causes:
    """A client id and a secret for each."""
    known, disabled, revoked = register("KNOWN"), register("DISABLED"), register("REVOKED")
    expired = register("EXPIRED", expires_in=timedelta(seconds=-1))
    with database.write() as session:
        merchants.disable_merchant(session, "DISABLED", by=operator)
        merchants.revoke_client(session, revoked.client.id, by=operator)
    return {
        "wrong secret": (known.client.id, new_client_secret()),
        "unknown client": ("known-aaaaaaaaaaaaa", known.client_secret),
        "disabled merchant": (disabled.client.id, disabled.client_secret),
        "expired secret": (expired.client.id, expired.client_secret),
        "revoked client": (revoked.client.id, revoked.client_secret),
    }


@pytest.fixture(params=["enforce", "observe", "off"])
def mode(request: pytest.FixtureRequest) -> str:
    """Each mode of the limits in turn."""
    name: str = request.param
    return name


class Asked:
    """One request, given to the application in this thread, and all that it did for it."""

    def __init__(self, application: Application, pair: tuple[str, str], address: str) -> None:
        self.steps: list[str] = []
        self.messages: list[dict[str, Any]] = []
        self._body = json.dumps(dict(zip(("clientId", "clientSecret"), pair, strict=True))).encode()
        scope = {
            "type": "http", "method": "POST", "path": "/token", "raw_path": b"/token", "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"x-request-id", b"same")], "client": (address, 1),
            "http_version": "1.1", "scheme": "http", "root_path": "", "server": ("x", 80), "state": {},
        }  # fmt: skip
        gc.disable()  # whose turn comes when it likes, and calls others
        try:
            asyncio.run(self._watch(application, scope))
        finally:
            gc.enable()

    async def _watch(self, application: Application, scope: dict[str, Any]) -> None:
        sys.setprofile(self._note)
        try:
            await application(scope, self._receive, self._send)
        finally:
            sys.setprofile(None)

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def _send(self, message: Any) -> None:
        self.messages.append(message)

    def _note(self, frame: FrameType, kind: str, argument: Any) -> None:
        if kind == "call":
            self.steps.append(frame.f_code.co_qualname)
        elif kind == "c_call":
            self.steps.append(argument.__qualname__)

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status


@pytest.fixture
def application(settings: Settings, causes: Causes, mode: str) -> Application:
    """Started by nobody, so that no thread of its own takes part; time stands still for its limits."""
    del causes  # its registry knows them
    changes = {"limits_mode": mode, "token_failure_limit": f"{FAILURES}/minute", "token_address_limit": "300/minute"}
    made = Application(settings.model_copy(update=changes))
    made.limiter._monotonic = lambda: 5000.0
    made.auth.refresh()
    return made


def test_every_cause_takes_the_very_same_steps_to_the_very_same_answer(
    application: Application, causes: Causes, mode: str
) -> None:
    Asked(application, causes["wrong secret"], "198.51.100.99")  # what is kept ready is ready then
    for number in range(len(causes)):
        neighborhood(f"198.51.100.{number}")
    # From an address of its own, each cause finds the limits as they are for the first request.
    asked = {
        cause: Asked(application, pair, f"198.51.100.{number}") for number, (cause, pair) in enumerate(causes.items())
    }
    first = asked["wrong secret"]
    assert first.status == 401
    assert first.messages[1]["body"] == b'{"message":"Incorrect username or password."}'
    assert first.steps.count("KeyedHash.digest") == 1
    assert first.steps.count("Registry.find") == 1
    assert first.steps.count("compare_digest") == 2
    assert first.steps.count("Limiter.spend") == (0 if mode == "off" else 2)
    assert first.steps.count("BudgetTable.spend") == (0 if mode == "off" else 2)
    assert first.steps.count("RequestLog.info") == 1
    assert first.steps.count("AuditRecorder.record") == 1
    for cause, it in asked.items():
        assert it.steps == first.steps, cause
        assert it.messages == first.messages, cause
    application.database.close()


def test_nor_are_they_told_apart_once_there_were_too_many(application: Application, causes: Causes, mode: str) -> None:
    asked: dict[str, list[Asked]] = {}
    for number in range(2):  # the first time makes ready what is kept ready
        for place, (cause, pair) in enumerate(causes.items()):
            tries = [Asked(application, pair, f"203.0.{number}.{place}") for _ in range(FAILURES + 2)]
            asked[cause] = tries
            expected = [401] * FAILURES + [429 if mode == "enforce" else 401] * 2
            assert [each.status for each in tries] == expected, cause
    for cause, tries in asked.items():
        for mine, first in zip(tries, asked["wrong secret"], strict=True):
            assert mine.steps == first.steps, cause
            assert mine.messages == first.messages, cause
    application.database.close()

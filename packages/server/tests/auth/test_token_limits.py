from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.auth.limits import shared as shared_budgets
from ecross_server.merchants import service as merchants
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))

Start = Callable[..., "Caller"]

UNKNOWN_ID = "acme-aaaaaaaaaaaaa"
WRONG = "ecs_0000000000000000000000000000000000000000000000000"


@pytest.fixture
def backend() -> str:
    """SQLite alone: the endpoint never asks the database."""
    return "sqlite"


class Caller:
    """Sends token requests from any address, as a trusted proxy would pass them on."""

    def __init__(self, client: TestClient, application: Application) -> None:
        self.client = client
        self.application = application

    def ask(self, client_id: str, secret: str, address: str = "198.51.100.1", **headers: str) -> httpx2.Response:
        body = {"clientId": client_id, "clientSecret": secret}
        return self.client.post("/token", json=body, headers={"X-Forwarded-For": address} | headers)

    def statuses(self, count: int, *arguments: Any) -> list[int]:
        return [self.ask(*arguments).status_code for _ in range(count)]


@pytest.fixture
def start(settings: Settings, credential: IssuedCredential) -> Iterator[Start]:
    """Starts the application behind a trusted proxy, with other settings if given; time stands still for its limits."""
    del credential
    clients: list[TestClient] = []

    def make(*, is_still: bool = True, **changes: Any) -> Caller:
        values = settings.model_dump() | {"trusted_proxies": ("127.0.0.1",)} | changes
        application = Application(Settings.model_validate(values))
        if is_still:
            application.limiter._monotonic = lambda: 5000.0
        client = TestClient(application, client=("127.0.0.1", 4711), raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return Caller(client, application)

    yield make
    for client in clients:
        client.__exit__(None, None, None)


def test_a_merchant_that_asks_for_each_call_meets_a_429(start: Start, credential: IssuedCredential) -> None:
    caller = start()
    good = (credential.client.id, credential.client_secret)
    assert caller.statuses(60, *good) == [200] * 60
    answer = caller.ask(*good)
    assert answer.status_code == 429
    assert answer.json() == {
        "message": "Too many token requests. Keep each token in a cache and use it until it expires."
    }
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["ratelimit-policy"] == '"address";q=300;w=60, "client";q=60;w=60'
    assert answer.headers["ratelimit"] == '"address";r=239;t=13, "client";r=0;t=1'
    assert answer.headers["cache-control"] == "no-store"


def test_every_answer_tells_the_address_its_budget_and_a_good_one_the_clients(
    start: Start, credential: IssuedCredential
) -> None:
    caller = start()
    good = caller.ask(credential.client.id, credential.client_secret)
    assert good.headers["ratelimit-policy"] == '"address";q=300;w=60, "client";q=60;w=60'
    assert good.headers["ratelimit"] == '"address";r=299;t=1, "client";r=59;t=1'
    for answer in (
        caller.ask(credential.client.id, WRONG),
        caller.ask(UNKNOWN_ID, WRONG),
        caller.client.get("/token", headers={"X-Forwarded-For": "198.51.100.1"}),
        caller.client.post("/token", content=b"{", headers={"X-Forwarded-For": "198.51.100.1"}),
    ):
        assert answer.headers["ratelimit-policy"] == '"address";q=300;w=60'
        assert answer.headers["ratelimit"].startswith('"address";r=29')


def test_a_wrong_secret_is_refused_ten_times_and_then_not_looked_at_aloud(
    start: Start, credential: IssuedCredential
) -> None:
    caller = start()
    assert caller.statuses(12, credential.client.id, WRONG) == [401] * 10 + [429] * 2


def test_a_stranger_cannot_lock_the_merchant_out(start: Start, credential: IssuedCredential) -> None:
    caller = start()
    good = (credential.client.id, credential.client_secret)
    caller.statuses(50, credential.client.id, WRONG, "203.0.113.9")
    caller.statuses(50, credential.client.id, WRONG, "198.51.100.1")
    # Neither from elsewhere nor from the merchant's own address: its volume is its own.
    assert caller.statuses(60, *good) == [200] * 60


def test_known_and_unknown_ids_are_limited_alike(start: Start, credential: IssuedCredential) -> None:
    caller = start()
    seen: list[list[tuple[int, bytes, list[tuple[str, str]]]]] = []
    for client_id in (credential.client.id, UNKNOWN_ID, "not even of the form"):
        answers = [caller.ask(client_id, WRONG, f"198.51.100.{len(seen)}") for _ in range(13)]
        seen.append([
            (answer.status_code, answer.content,
             [item for item in answer.headers.multi_items() if item[0] != "x-request-id"])
            for answer in answers
        ])  # fmt: skip
    assert seen[0] == seen[1] == seen[2]
    assert [status for status, _, _ in seen[0]] == [401] * 10 + [429] * 3


def test_an_address_has_a_budget_for_all_that_comes_from_it(start: Start, credential: IssuedCredential) -> None:
    caller = start(token_address_limit="5/minute")
    assert caller.statuses(5, UNKNOWN_ID, WRONG) == [401] * 5
    good = (credential.client.id, credential.client_secret)
    answer = caller.ask(*good)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "12"
    assert answer.headers["ratelimit"] == '"address";r=0;t=12'
    assert caller.ask(*good, "198.51.100.2").status_code == 200


def test_junk_counts_for_the_address(start: Start) -> None:
    caller = start(token_address_limit="3/minute")
    sent = {"X-Forwarded-For": "198.51.100.1"}
    answers = [
        caller.client.post("/token", content=b"junk", headers=sent),
        caller.client.get("/token", headers=sent),
        caller.client.post("/token", json={}, headers=sent),
        caller.client.post("/token", json={}, headers=sent),
    ]
    assert [answer.status_code for answer in answers] == [415, 405, 400, 429]


def test_the_addresses_of_one_ipv6_line_share_a_budget(start: Start) -> None:
    caller = start(token_address_limit="4/minute")
    statuses = [caller.ask(UNKNOWN_ID, WRONG, f"2001:db8::{number}").status_code for number in range(1, 7)]
    assert statuses == [401] * 4 + [429] * 2
    assert caller.ask(UNKNOWN_ID, WRONG, "2001:db8:0:1::1").status_code == 401


def test_a_forged_address_changes_nothing(start: Start) -> None:
    caller = start(trusted_proxies=(), token_address_limit="4/minute")
    statuses = [caller.ask(UNKNOWN_ID, WRONG, f"198.51.100.{number}").status_code for number in range(6)]
    assert statuses == [401] * 4 + [429] * 2


def test_the_global_limit_counts_everything_and_is_told_nobody(start: Start, credential: IssuedCredential) -> None:
    caller = start(token_global_limit="3/minute")
    good = (credential.client.id, credential.client_secret)
    answers = [caller.ask(*good, f"198.51.100.{number}") for number in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[3].headers["retry-after"] == "20"
    assert answers[3].headers["ratelimit-policy"] == '"address";q=300;w=60'


def test_observed_limits_refuse_nobody_but_are_counted(start: Start, credential: IssuedCredential) -> None:
    caller = start(limits_mode="observe", token_volume_limit="3/minute")
    good = (credential.client.id, credential.client_secret)
    answers = [caller.ask(*good) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert answers[4].headers["ratelimit"].endswith('"client";r=0;t=20')
    assert caller.application.limiter.beyond["client"] == 2


def test_limits_that_are_off_are_not_told_either(start: Start, credential: IssuedCredential) -> None:
    caller = start(limits_mode="off")
    good = (credential.client.id, credential.client_secret)
    answers = [caller.ask(*good) for _ in range(400)]
    assert {answer.status_code for answer in answers} == {200}
    assert "ratelimit" not in answers[0].headers
    assert "ratelimit-policy" not in answers[0].headers


def test_a_disabled_merchant_with_the_right_secret_counts_as_a_failure(
    start: Start, credential: IssuedCredential, database: Any
) -> None:
    with database.write() as session:
        merchants.disable_merchant(session, "ACME", by=BY)
    caller = start()
    good = (credential.client.id, credential.client_secret)
    assert caller.statuses(12, *good) == [401] * 10 + [429] * 2


def test_the_limits_hold_with_redis_too(
    start: Start, credential: IssuedCredential, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine is no slow Redis: a report that is given up as late, and was taken, is made twice.
    for name in ("DEADLINE_SECONDS", "REPORT_SECONDS"):
        monkeypatch.setattr(shared_budgets, name, 5.0)
    caller = start(is_still=False, redis_url=redis_url, token_failure_limit="5/minute")
    shared = caller.application._shared_budgets
    assert shared is not None
    address = f"2001:db8:{secrets.randbelow(2**16):x}:{secrets.randbelow(2**16):x}::1"
    statuses = caller.statuses(70, credential.client.id, credential.client_secret, address)
    assert statuses[:60] == [200] * 60
    assert statuses.count(200) <= 62
    assert caller.statuses(8, UNKNOWN_ID, WRONG, address)[:5] == [401] * 5
    assert caller.ask(UNKNOWN_ID, WRONG, address).status_code == 429

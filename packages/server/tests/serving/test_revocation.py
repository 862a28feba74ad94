"""What a representative does reaches every process: new tokens within 2 seconds, live ones within 5."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.merchants import restrictions, rotation, service
from ecross_server.merchants.service import IssuedCredential

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))

if TYPE_CHECKING:
    from processes import ServerProcess, StartServer

pytestmark = pytest.mark.unmeasured

NEW_TOKENS_SECONDS = 2
LIVE_TOKENS_SECONDS = 5
MANY = 20
"""Connections, each to a worker by chance: that all go to one of two happens once in half a million times."""


@pytest.fixture
def server(start_server: StartServer, empty_database_url: str) -> ServerProcess:
    return start_server("--workers", "2", ECROSS_SERVER_DATABASE_URL=empty_database_url)


@pytest.fixture
def served_database(server: ServerProcess) -> Iterator[Database]:
    with contextlib.closing(Database(server.environment["ECROSS_SERVER_DATABASE_URL"])) as database:
        yield database


def issue(server: ServerProcess, database: Database) -> IssuedCredential:
    peppers = service.load_peppers(server.data_dir / "peppers.json")
    with database.write() as session:
        return service.issue_credential(session, "ACME", peppers=peppers, now=utc_now(), by=BY)


def token_answers(server: ServerProcess, issued: IssuedCredential) -> list[httpx2.Response]:
    body = {"clientId": issued.client.id, "clientSecret": issued.client_secret}
    return [server.token(body) for _ in range(MANY)]


def skus_answers(server: ServerProcess, token: str) -> list[int]:
    return [server.skus(token).status_code for _ in range(MANY)]


def statuses(answers: list[httpx2.Response]) -> list[int]:
    return [answer.status_code for answer in answers]


def wait_since(moment: float, seconds: float) -> None:
    time.sleep(max(0.0, moment + seconds - time.monotonic()))


def test_registering_disabling_enabling_and_revoking_reach_every_process(
    server: ServerProcess, served_database: Database
) -> None:
    with served_database.write() as session:
        service.register_merchant(session, "ACME", "Acme", now=utc_now(), by=BY)
    first, second = issue(server, served_database), issue(server, served_database)
    wait_since(time.monotonic(), NEW_TOKENS_SECONDS)
    answers = token_answers(server, first)
    assert statuses(answers) == [200] * MANY
    token = answers[0].json()["token"]
    seconds_token = token_answers(server, second)[0].json()["token"]
    assert skus_answers(server, token) == [200] * MANY  # whichever process signed it

    with served_database.write() as session:
        service.disable_merchant(session, "ACME", by=BY)
    disabled_at = time.monotonic()
    wait_since(disabled_at, NEW_TOKENS_SECONDS)
    refused = token_answers(server, first)
    assert statuses(refused) == [401] * MANY
    assert {answer.content for answer in refused} == {b'{"message":"Incorrect username or password."}'}
    wait_since(disabled_at, LIVE_TOKENS_SECONDS)
    assert skus_answers(server, token) == [401] * MANY

    with served_database.write() as session:
        service.enable_merchant(session, "ACME", by=BY)
    wait_since(time.monotonic(), NEW_TOKENS_SECONDS)
    answers = token_answers(server, first)
    assert statuses(answers) == [200] * MANY
    assert skus_answers(server, answers[0].json()["token"]) == [200] * MANY
    assert skus_answers(server, token) == [401] * MANY
    assert skus_answers(server, seconds_token) == [401] * MANY

    live = token_answers(server, second)[0].json()["token"]
    peppers = service.load_peppers(server.data_dir / "peppers.json")
    with served_database.write() as session:
        service.revoke_client(session, first.client.id, by=BY)
        new = rotation.rotate_credential(
            session, second.client.id, peppers=peppers, now=utc_now(), by=BY, overlap=timedelta(hours=1)
        )
    revoked_at = time.monotonic()
    wait_since(revoked_at, NEW_TOKENS_SECONDS)
    assert statuses(token_answers(server, first)) == [401] * MANY
    with_old, with_new = token_answers(server, second), token_answers(server, new)
    assert statuses(with_old + with_new) == [200] * 2 * MANY
    assert all("ecross-credential-expires" in answer.headers for answer in with_old)
    assert not any("ecross-credential-expires" in answer.headers for answer in with_new)
    with served_database.write() as session:
        rotation.retire_secret(session, second.client.id, second.secret.id, now=utc_now(), by=BY, force=True)
    wait_since(time.monotonic(), NEW_TOKENS_SECONDS)
    assert statuses(token_answers(server, second)) == [401] * MANY
    assert statuses(token_answers(server, new)) == [200] * MANY
    wait_since(revoked_at, LIVE_TOKENS_SECONDS)
    assert skus_answers(server, answers[0].json()["token"]) == [401] * MANY
    assert skus_answers(server, live) == [200] * MANY  # the merchant's other client is none of it
    assert server.stop() == 0


def test_limits_reach_every_process_and_the_tokens_of_before(server: ServerProcess, served_database: Database) -> None:
    def limit(**options: Any) -> None:
        with served_database.write() as session:
            restrictions.restrict_client(session, issued.client.id, now=utc_now(), by=BY, **options)
        wait_since(time.monotonic(), NEW_TOKENS_SECONDS)

    with served_database.write() as session:
        service.register_merchant(session, "ACME", "Acme", now=utc_now(), by=BY)
    issued = issue(server, served_database)
    wait_since(time.monotonic(), NEW_TOKENS_SECONDS)
    token = token_answers(server, issued)[0].json()["token"]
    assert skus_answers(server, token) == [200] * MANY

    limit(networks=["198.51.100.0/24"], scope="catalog:read")
    assert skus_answers(server, token) == [403] * MANY
    assert statuses(token_answers(server, issued)) == [401] * MANY

    limit(networks=["127.0.0.0/8"])
    assert skus_answers(server, token) == [200] * MANY

    limit(scope="inventory:read")  # which it could not: its tokens end
    assert skus_answers(server, token) == [401] * MANY
    answers = token_answers(server, issued)
    assert skus_answers(server, answers[0].json()["token"]) == [403] * MANY

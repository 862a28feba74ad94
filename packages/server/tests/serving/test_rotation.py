"""Keys and peppers rotated under load, with two processes: nothing good is refused, and all know within 2 seconds."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import pytest

from ecross.jws import InvalidTokenError, verify_compact
from ecross_server.auth.tokens import rotate_signing_keys
from ecross_server.kit.clock import utc_now

if TYPE_CHECKING:
    from processes import ServerProcess, StartServer

pytestmark = pytest.mark.unmeasured

in_files = pytest.mark.parametrize("backend", ["sqlite"])
"""Signing keys are kept in no database, so one is enough."""

GOOD = {("token", 200), ("use", 404)}
TRIES = 20
"""Connections, each to a worker by chance: that all go to one of two happens once in half a million times."""


@pytest.fixture
def server(start_server: StartServer, empty_database_url: str) -> ServerProcess:
    return start_server("--workers", "2", ECROSS_SERVER_DATABASE_URL=empty_database_url)


@pytest.fixture
def credentials(server: ServerProcess) -> dict[str, str]:
    made: dict[str, str] = server.json("merchants", "register", "ACME", "--name", "Acme")
    time.sleep(2)
    return made


class Load:
    """Callers that ask for a token and use it at once, and older ones again, on a new connection each time."""

    def __init__(self, server: ServerProcess, credentials: dict[str, str]) -> None:
        self._server = server
        self._credentials = credentials
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(4)]
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.problems: list[BaseException] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _use(self, token: str) -> int:
        # Whoever comes through the gate is told that there is nothing. A list would look at the keys for its pages.
        return self._server.get("/ext/nothing", headers={"Authorization": f"Bearer {token}"}).status_code

    def _call(self) -> None:
        tokens: list[str] = []
        try:
            while not self._stopping.is_set():
                answer = self._server.token(self._credentials)
                self.statuses["token", answer.status_code] += 1
                if answer.status_code == 200:
                    tokens.append(answer.json()["token"])
                for token in {tokens[0], *tokens[-2:]}:
                    self.statuses["use", self._use(token)] += 1
        except BaseException as error:
            self.problems.append(error)
            raise


def signing_kid(server: ServerProcess, token: str) -> str:
    """Which key signed the token."""
    for key in json.loads((server.data_dir / "signing-keys.json").read_text())["keys"]:
        try:
            verify_compact(token, key)
        except InvalidTokenError:
            continue
        return str(key["kid"])
    return "unknown"


@in_files
def test_under_load_a_rotation_refuses_no_token_and_is_known_everywhere_within_two_seconds(
    server: ServerProcess,
    credentials: dict[str, str],
    workers_of: Callable[[int], list[int]],
    wait_for: Callable[[Callable[[], object]], None],
) -> None:
    for _ in range(2):
        # Workers that were started together look at the file in the same moment. One that was replaced does so at
        # another, and until then meets tokens of a key that it does not know.
        before = set(workers_of(server.process.pid))
        os.kill(min(before), signal.SIGKILL)
        wait_for(lambda: len(set(workers_of(server.process.pid)) - before) == 1)  # noqa: B023 - called at once
        time.sleep(1)
        with Load(server, credentials) as load:
            time.sleep(0.3)
            made = server.json("keys", "rotate")["keyId"]
            time.sleep(2)
            signed_by = {signing_kid(server, server.token(credentials).json()["token"]) for _ in range(TRIES)}
            assert signed_by == {made}
        assert not load.problems
        assert load.statuses.keys() == GOOD, load.statuses
        assert load.statuses["use", 404] > 50
    assert server.stop() == 0


@in_files
def test_after_a_leak_every_token_is_dead_in_every_process_within_two_seconds(
    server: ServerProcess, credentials: dict[str, str]
) -> None:
    token = server.token(credentials).json()["token"]
    server.json("keys", "rotate", "--drop-old")
    time.sleep(2)
    assert [server.skus(token).status_code for _ in range(TRIES)] == [401] * TRIES
    again = server.token(credentials).json()["token"]
    assert [server.skus(again).status_code for _ in range(TRIES)] == [200] * TRIES


def test_under_load_secrets_come_under_a_new_pepper_and_the_old_one_can_be_retired(
    server: ServerProcess, credentials: dict[str, str]
) -> None:
    def peppers() -> list[tuple[str, int]]:
        return [(pepper["pepperId"], pepper["secrets"]) for pepper in server.json("peppers", "list")["peppers"]]

    ((old, _),) = peppers()
    with Load(server, credentials) as load:
        time.sleep(0.3)
        made = server.json("peppers", "rotate")["pepperId"]
        time.sleep(2.5)
        assert peppers() == [(made, 1), (old, 0)]
        server.json("peppers", "retire", old)
        time.sleep(2)
    assert not load.problems
    assert load.statuses.keys() == GOOD, load.statuses
    wrong = [server.token(credentials | {"clientSecret": "x"}).status_code for _ in range(TRIES)]
    assert wrong == [401] * TRIES
    assert peppers() == [(made, 1)]


def test_a_token_of_a_key_just_made_is_good_in_a_process_that_has_not_looked_yet(
    start_server: StartServer, command_environment: dict[str, str]
) -> None:
    first, second = start_server(), start_server(**command_environment)
    credentials = first.json("merchants", "register", "ACME", "--name", "Acme")
    time.sleep(2)
    old = first.token(credentials).json()["token"]
    for _ in range(2):
        made = rotate_signing_keys(first.data_dir / "signing-keys.json", now=utc_now()).key_id
        assert first.skus(old).status_code == 200  # a list looks at the keys
        token = first.token(credentials).json()["token"]
        answer = second.get("/ext/nothing", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, signing_kid(first, token)) == (404, made)

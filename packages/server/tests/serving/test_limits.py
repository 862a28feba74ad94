from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from processes import ServerProcess, StartServer

pytestmark = pytest.mark.unmeasured

USUAL = {
    "ECROSS_SERVER_TOKEN_VOLUME_LIMIT": "60/minute",
    "ECROSS_SERVER_TOKEN_FAILURE_LIMIT": "10/minute",
    "ECROSS_SERVER_TOKEN_ADDRESS_LIMIT": "300/minute",
}


def credentials(server: ServerProcess) -> dict[str, str]:
    content = json.loads((server.data_dir / "demo-credentials.json").read_text())
    return {name: content[name] for name in ("clientId", "clientSecret")}


def test_the_workers_of_a_server_share_their_budgets(start_server: StartServer) -> None:
    server = start_server("--demo", "--workers", "2", **USUAL, ECROSS_SERVER_METRICS_PORT="auto")
    good = credentials(server)
    began = time.monotonic()
    statuses = Counter(server.token(good).status_code for _ in range(150))
    seconds = time.monotonic() - began
    assert set(statuses) == {200, 429}
    assert 60 <= statuses[200] <= 60 + seconds + 1
    deadline = time.monotonic() + 5
    while server.metrics().get('ecross_token_limited_total{policy="client"}') != statuses[429]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_two_servers_share_their_budgets_through_redis(start_server: StartServer, redis_url: str) -> None:
    first = start_server("--demo", **USUAL, ECROSS_SERVER_REDIS_URL=redis_url)
    second = start_server(**USUAL, ECROSS_SERVER_REDIS_URL=redis_url)  # on the same data folder
    good = credentials(first)
    time.sleep(2.5)  # by then each knows of the other
    began = time.monotonic()
    statuses = Counter(server.token(good).status_code for _ in range(100) for server in (first, second))
    seconds = time.monotonic() - began
    assert set(statuses) == {200, 429}
    assert 0.9 * 60 <= statuses[200] <= 1.2 * (60 + seconds)


def test_a_forged_address_is_not_believed_and_a_trusted_proxys_is(start_server: StartServer) -> None:
    unknown = {"clientId": "acme-aaaaaaaaaaaaa", "clientSecret": "x"}
    callers = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(7)]
    few = USUAL | {"ECROSS_SERVER_TOKEN_ADDRESS_LIMIT": "5/hour"}
    server = start_server(**few)
    assert [server.token(unknown, **forged).status_code for forged in callers] == [401] * 5 + [429] * 2
    server.stop()
    server = start_server(**few, ECROSS_SERVER_TRUSTED_PROXIES="127.0.0.0/8")
    assert [server.token(unknown, **forged).status_code for forged in callers] == [401] * 7

"""The clock is set forward and back by days under a running server: nothing is refused but what the clock ends."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from ecross_server.settings import Settings

if TYPE_CHECKING:
    from packages.server.tests.faults.conftest import Served

pytestmark = pytest.mark.unmeasured

Run = Callable[..., Any]
WaitFor = Callable[..., None]
DAY: Final = 86_400
TAKEN_SECONDS: Final = 2.0
"""Within so long a process notices that a key has come to life or retired."""

SET_CLOCK: Final = """
import os, time

def shifted(real=time.time, path=os.environ["SHIFT_FILE"]):
    with open(path) as file:
        return real() + float(file.read() or 0)

time.time = shifted
"""
"""The machine's own clock is everybody's, so each process of the server gets one that a file shifts."""


@pytest.fixture
def backend() -> str:
    """One will do: no database is asked for the time."""
    return "sqlite"


def claims_of(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    content: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return content


def test_days_forward_and_back_refuse_only_what_the_clock_ends(
    serve: Callable[..., Served], run: Run, tmp_path: Path, settings: Settings, wait_for: WaitFor
) -> None:
    shift = tmp_path / "shift"
    shift.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(SET_CLOCK)
    served = serve(
        "--workers", "2", PYTHONPATH=str(tmp_path), SHIFT_FILE=str(shift),
        ECROSS_SERVER_LIMITS_MODE="enforce", ECROSS_SERVER_TOKEN_VOLUME_LIMIT="300/minute",
        ECROSS_SERVER_TOKEN_FAILURE_LIMIT="3/hour",
    )  # fmt: skip
    server = served.server
    wrong = served.credentials | {"clientSecret": "ecs_" + "a" * 49}
    assert run("keys", "rotate").code == 0
    before = served.ask().json()["token"]
    assert [server.token(wrong).status_code for _ in range(4)] == [401, 401, 401, 429]
    tokens = {0: before}
    for days in (1, -1, 2, -2, 1, 0):
        replaced = shift.with_suffix(".new")
        replaced.write_text(str(days * DAY))
        replaced.rename(shift)
        answers = [served.ask() for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 5
        for answer in answers:
            assert answer.json()["expiresIn"] == settings.token_lifetime_seconds
            claims = claims_of(answer.json()["token"])
            assert abs(claims["iat"] - claims_of(before)["iat"] - days * DAY) < 60
            assert claims["exp"] - claims["iat"] == settings.token_lifetime_seconds
            for _ in range(2):  # once looked at, and once known again
                assert server.skus(answer.json()["token"]).status_code == 200
        for other, old in tokens.items():
            if other != days:
                refused = server.skus(old)
                assert refused.status_code == 401
                assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
        tokens[days] = answers[0].json()["token"]
        # A budget comes back by the time that passes, whatever the clock says.
        limited = server.token(wrong)
        assert limited.status_code == 429
        assert 0 < int(limited.headers["Retry-After"]) <= 3600
        assert served.ready() == 200
        assert (served.metric("ecross_registry_age_seconds") or 0) < TAKEN_SECONDS
    wait_for(lambda: server.skus(before).status_code == 200, TAKEN_SECONDS)
    made = run("merchants", "register", "BETA", "--name", "Beta").said
    wait_for(lambda: server.token(made).status_code == 200, TAKEN_SECONDS)
    wait_for(lambda: served.backlog() == 0)
    assert server.stop() == 0
    assert {line["event"] for line in server.log_lines() if line["level"] != "info"} == set()
    assert run("audit", "verify").said["ok"]
    records = run("audit", "list", "--limit", "1000", "--action", "token.issue").said["records"]
    told = [record for record in records if record["outcome"] == "issued"]
    assert len(told) == 1 + 6 * 5 + 1
    assert len({record["at"][:10] for record in told}) == 5
    # Not those of the merchant that was just made, and not known yet.
    acme = [record for record in records if record["clientId"] == served.credentials["clientId"]]
    assert sum(record["count"] for record in acme if record["outcome"] == "invalid_client") == 3

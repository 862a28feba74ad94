from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.settings import Settings


@pytest.fixture
def moments() -> list[float]:
    """The monotonic clock's present reading."""
    return [1000.0]


@pytest.fixture
def application(settings: Settings, moments: list[float]) -> Any:
    made = Application(settings, monotonic=lambda: moments[0])
    yield made
    made.database.close()


def test_a_process_lives_whatever_else_is_the_matter(application: Application) -> None:
    answer = TestClient(application).get("/health/live")  # not even started
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "checks": []})


def test_it_is_ready_while_the_registry_is_fresh(application: Application, moments: list[float]) -> None:
    client = TestClient(application)
    before = client.get("/health/ready")
    assert before.status_code == 503
    assert before.json()["checks"] == [{"name": "registry", "status": "failed", "detail": "read inf s ago"}]

    application.auth.refresh()
    for age, status in ((0.0, 200), (4.9, 200), (5.1, 503), (3600.0, 503)):
        moments[0] = 1000.0 + age
        answer = client.get("/health/ready")
        word = "ok" if status == 200 else "failed"
        assert answer.status_code == status
        assert answer.json() == {
            "status": word,
            "checks": [{"name": "registry", "status": word, "detail": f"read {age:.1f} s ago"}],
        }
        assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
        assert client.get("/health/live").status_code == 200

    application.auth.refresh()
    assert client.get("/health/ready").status_code == 200


def test_a_started_server_is_ready_and_tells_nothing_of_its_surroundings(client: TestClient) -> None:
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert re.fullmatch(
        r'\{"status":"ok","checks":\[\{"name":"registry","status":"ok","detail":"read \d\.\d s ago"\}\]\}', answer.text
    )


@pytest.mark.parametrize("path", ["/health", "/health/", "/health/live/", "/health/x"])
def test_nothing_else_is_there(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_a_monitor_may_ask_for_the_head_alone(client: TestClient, path: str) -> None:
    whole, head = client.get(path), client.head(path)
    assert head.status_code == whole.status_code == 200
    assert head.headers["content-type"] == whole.headers["content-type"]

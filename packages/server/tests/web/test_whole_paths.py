from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient


@pytest.fixture
def backend() -> str:
    """SQLite alone: nothing here asks the database."""
    return "sqlite"


def test_a_path_with_a_newline_behind_it_is_none_of_ours(client: TestClient, bearer: dict[str, str]) -> None:
    declared = [re.sub(r"\{\w+\}", "BR", path) for path in client.get("/openapi.json").json()["paths"]]
    nowhere = client.get("/nowhere").json()
    for path in (*declared, "/docs", "/openapi.json"):
        for method in ("GET", "HEAD", "POST", "DELETE"):
            answer = client.request(method, f"{path}%0A", headers=bearer)
            assert answer.status_code == 404, f"{method} {path}"
            assert method == "HEAD" or answer.json() == nowhere


def test_a_stranger_cannot_tell_it_from_one_of_ours(client: TestClient) -> None:
    answers = [client.get(path) for path in ("/ext/merchant/skus", "/ext/merchant/skus%0A")]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].content == answers[1].content

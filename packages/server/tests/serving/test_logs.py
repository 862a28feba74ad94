"""What a running server writes: readable by programs or people, and free of secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from processes import ServerProcess, StartServer

WRONG_SECRET = "ecs_" + "WRONGwrong" * 4 + "123456789"
KEYS = {"event", "level", "at", "method", "path", "status", "outcome", "client_id", "request_id", "duration_ms"}


def good_and_bad_calls(server: ServerProcess) -> list[str]:
    """Calls of every kind; the secrets and tokens that were in them."""
    credentials = json.loads((server.data_dir / "demo-credentials.json").read_bytes())
    secret = credentials["clientSecret"]
    token = server.token(credentials).json()["token"]
    forged = token[:-4] + "AAAA"
    bodies: list[Any] = [
        credentials | {"clientSecret": WRONG_SECRET},
        {"clientId": secret, "clientSecret": WRONG_SECRET},
        {"clientId": WRONG_SECRET, "clientSecret": credentials["clientId"]},
        {"clientId": token, "clientSecret": [secret]},
        [secret],
        secret,
    ]
    url = server.url
    with httpx2.Client(headers={"X-Request-Id": "id-1"}) as client:
        for body in bodies:
            assert client.post(f"{url}/token", json=body).status_code in {400, 401}
        client.post(
            f"{url}/token", content=f'{{"clientSecret": "{secret}"', headers={"Content-Type": "application/json"}
        )
        client.post(f"{url}/token", data=credentials)
        client.get(f"{url}/token", params=credentials)
        for path in ("/ext/merchant/skus", "/ext/none", "/none", "/health/ready", "/docs", "/openapi.json"):
            client.get(url + path, params={"token": token, "clientSecret": secret})
            for bearer in (token, forged, secret, f"{token} {token}"):
                client.get(url + path, headers={"Authorization": f"Bearer {bearer}"})
            client.get(url + path, headers={"Authorization": f"Basic {secret}", "Cookie": f"t={token}"})
        client.get(f"{url}/ext/{token}/{secret}?{token}")
        client.get(f"{url}/{secret}")
        client.get(f"{url}/none", headers={"X-Request-Id": secret})
    return [secret, WRONG_SECRET, token, forged, token.rsplit(".", 1)[1]]


def test_it_writes_a_json_object_for_each_request_and_no_secret(demo_folder: Path, start_server: StartServer) -> None:
    del demo_folder
    server = start_server()
    secrets = good_and_bad_calls(server)
    assert server.stop() == 0
    text = server.log_file.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) >= 45
    assert all(set(line) - {"reason"} == KEYS for line in requests)
    assert {line["event"] for line in lines} == {"request", "stopping"}
    assert {line["outcome"] for line in requests} >= {"issued", "ok"}
    assert {line["status"] for line in requests} >= {200, 400, 401, 404, 405, 415}
    assert any(line["request_id"] == "id-1" for line in requests)
    assert all(secret not in text for secret in secrets)
    assert "?" not in text


def test_it_writes_text_when_told_and_no_secret(demo_folder: Path, start_server: StartServer) -> None:
    del demo_folder
    server = start_server(ECROSS_SERVER_LOG_FORMAT="text")
    secrets = good_and_bad_calls(server)
    assert server.stop() == 0
    text = server.log_file.read_text()
    assert not server.log_lines()
    assert " request " in text
    assert "outcome=issued" in text
    assert all(secret not in text for secret in secrets)


def test_requests_are_not_written_above_their_level(demo_folder: Path, start_server: StartServer) -> None:
    del demo_folder
    server = start_server(ECROSS_SERVER_LOG_LEVEL="warning")
    assert server.get("/health/live").status_code == 200
    assert server.stop() == 0
    assert server.log_file.read_text() == ""

"""The main job on the real command: register, token, SKUs."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from processes import StartServer


def test_the_three_calls_of_the_founding_page_work(start_server: StartServer) -> None:
    server = start_server("--demo")
    credentials = server.data_dir / "demo-credentials.json"
    answer = subprocess.run(
        ["curl", "-sS", f"{server.url}/token", "-H", "Content-Type: application/json", "-d", f"@{credentials}"],
        capture_output=True,
        check=True,
    )  # fmt: skip
    content = json.loads(answer.stdout)
    assert list(content) == ["token", "tokenType", "expiresIn"]
    assert content["token"].startswith("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.")
    assert (content["tokenType"], content["expiresIn"]) == ("Bearer", 28800)

    skus = httpx2.get(f"{server.url}/ext/merchant/skus", headers={"Authorization": f"Bearer {content['token']}"})

    assert skus.status_code == 200
    assert len(skus.json()["skus"]) == 12
    assert server.stop(signal.SIGINT) == 0

"""Serving https."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

if TYPE_CHECKING:
    from processes import StartServer


def test_a_pair_of_files_makes_it_https_and_nothing_else(
    start_server: StartServer, demo_folder: Path, tls_files: tuple[Path, Path]
) -> None:
    certificate, key = tls_files
    server = start_server(
        "--workers", "2", ECROSS_SERVER_TLS_CERT_FILE=str(certificate), ECROSS_SERVER_TLS_KEY_FILE=str(key)
    )
    assert server.url.startswith("https://127.0.0.1:")
    trusting = ssl.create_default_context(cafile=str(certificate))
    body = (demo_folder / "demo-credentials.json").read_bytes()
    for _ in range(4):
        answer = httpx2.post(
            f"{server.url}/token", content=body, headers={"Content-Type": "application/json"}, verify=trusting
        )
        assert (answer.status_code, answer.json()["tokenType"]) == (200, "Bearer")
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"{server.url}/health/live")  # a stranger does not know the certificate
    with pytest.raises(httpx2.TransportError):
        httpx2.get(server.url.replace("https", "http") + "/health/live")
    assert server.stop() == 0

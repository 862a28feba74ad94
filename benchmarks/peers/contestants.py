"""The servers that are compared: each started with two processes, and the calls it is asked to answer.

Every peer knows one client, whose secret it holds as a SHA-256, cheaper than our HMAC, and stores no tokens.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from benchmarks.calls import Call, Credentials, answer, calls_to_compare, send_many
from benchmarks.peers.install import FOLDER, HERE, PYTHON
from benchmarks.processes import ProcessFailedError, Running, running
from benchmarks.servers import copy_of, free_port, inherited_environment, serving
from ecross_server.merchants.rules import new_client_id, new_client_secret

WORKERS: Final = 2
LIFETIME_SECONDS: Final = 28_800
CHECKED_ANSWERS: Final = 64
CONNECTIONS: Final = 8
PATHS: Final = ("good", "wrong secret", "unknown id", "junk")
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server beside others. `statuses` are those of its answers, in the order of `PATHS`."""

    name: str
    is_ours: bool
    does: str
    """What it does for a request."""
    statuses: tuple[int, int, int, int]
    start: Callable[[Prepared], AbstractContextManager[Running]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a contestant is started with."""

    folder: Path
    name: str
    demo_dir: Path
    credentials: Credentials
    signing_key: bytes = field(repr=False)


def _ours(log_level: str) -> Callable[[Prepared], AbstractContextManager[Running]]:
    def start(prepared: Prepared) -> AbstractContextManager[Running]:
        return serving(copy_of(prepared.demo_dir, prepared.name), workers=WORKERS, log_level=log_level)

    return start


def _peer(*command: str | Path) -> Callable[[Prepared], AbstractContextManager[Running]]:
    def start(prepared: Prepared) -> AbstractContextManager[Running]:
        secret = prepared.credentials.client_secret
        theirs = {
            "NODE_ENV": "production",
            "PEER_PORT": str(free_port()),
            "PEER_WORKERS": str(WORKERS),
            "PEER_CLIENT_ID": prepared.credentials.client_id,
            "PEER_SECRET_SHA256": hashlib.sha256(secret.encode()).hexdigest(),
            "PEER_SIGNING_KEY": prepared.signing_key.hex(),
        }
        environment = inherited_environment() | theirs
        return running([str(part) for part in command], environment, prepared.folder / f"{prepared.name}.log")

    return start


CONTESTANTS: Final = (
    Contestant(
        "ecross-server, log info",
        is_ours=True,
        does="reads JSON; HMAC-SHA256 of the secret under a pepper; client from memory, kept up to date from SQLite; "
        "limits, audit and metrics on, limits never hit; HS256 by its own code; "
        "a log line to a file",
        statuses=(200, 401, 401, 400),
        start=_ours("info"),
    ),
    Contestant(
        "ecross-server, log warning",
        is_ours=True,
        does="the same without the log line",
        statuses=(200, 401, 401, 400),
        start=_ours("warning"),
    ),
    Contestant(
        "node-oauth2-server + express",
        is_ours=False,
        does="reads a form; SHA-256 of the secret; client from a map; HS256 by jsonwebtoken; "
        "no storage, limits, audit, metrics, log",
        statuses=(200, 400, 400, 400),
        start=_peer("node", FOLDER / "node_oauth2_server.mjs"),
    ),
    Contestant(
        "oidc-provider",
        is_ours=False,
        does="reads a form; SHA-256 of the secret (in place of its own comparison of the secret itself); "
        "client from its configuration; HS256 (`at+jwt`) by jose; no storage, limits, audit, metrics, log; "
        "asks for node 22 or newer and runs on what is there",
        statuses=(200, 401, 401, 400),
        start=_peer("node", FOLDER / "oidc_provider.mjs"),
    ),
    Contestant(
        "Authlib + Flask + gunicorn",
        is_ours=False,
        does="reads a form; SHA-256 of the secret; client from a dict; HS256 (`at+jwt`) by joserfc; "
        "no storage, limits, audit, metrics, log; "
        "4 threads a process (1 and 16 were slower), a socket each, parser in C",
        statuses=(200, 400, 400, 400),
        start=_peer(
            PYTHON, "-m", "gunicorn", "--config", HERE / "authlib_gunicorn.py", "--chdir", HERE, "authlib_app:app"
        ),
    ),
)  # fmt: skip


def calls_of(contestant: Contestant, credentials: Credentials) -> dict[str, Call]:
    """Its calls by path."""
    if contestant.is_ours:
        # No token: only the calls of the token endpoint are made.
        ours = [call for call in calls_to_compare(credentials, "") if call.path == "/token"]
        return dict(zip(PATHS, ours, strict=True))
    good = _form(credentials.client_id, credentials.client_secret)
    bodies = (
        good,
        _form(credentials.client_id, new_client_secret()),
        _form(new_client_id("NOBODY"), new_client_secret()),
        b"%zz&" + good[: len("grant_type=client_cre")],
    )
    return {
        path: Call(f"{contestant.name}, {path}", "POST", "/token", status, FORM, body)
        for path, status, body in zip(PATHS, contestant.statuses, bodies, strict=True)
    }


def _form(client_id: str, client_secret: str) -> bytes:
    fields = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
    return urlencode(fields).encode()


def check_answers(contestant: Contestant, server: Running, calls: dict[str, Call], prepared: Prepared) -> None:
    """Refuse to measure a server that does another work than the others.

    Raises:
        ProcessFailedError: if a status is not the one expected, or a token is not signed with HS256 for eight hours.
    """
    for call in calls.values():
        send_many(server, call, CHECKED_ANSWERS, CONNECTIONS)
    content = json.loads(answer(server, calls["good"]))
    token = content["token"] if contestant.is_ours else content["access_token"]
    head, payload, signature = token.split(".")
    header, claims = (json.loads(_base64url(part)) for part in (head, payload))
    if not contestant.is_ours:
        expected = hmac.digest(prepared.signing_key, f"{head}.{payload}".encode(), "sha256")
        if _base64url(signature) != expected:
            raise ProcessFailedError(f"{contestant.name}: a token that its key did not sign")
    if header["alg"] != "HS256" or claims["exp"] - claims["iat"] != LIFETIME_SECONDS or not claims["jti"]:
        raise ProcessFailedError(f"{contestant.name}: a token of another kind: {header}, {sorted(claims)}")


def _base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

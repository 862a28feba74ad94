"""Everything that looks like a client's secret and is not, and what a stolen database is good for."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import shutil
import sqlite3
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.auth.tokens import new_signing_keys
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.private_files import write_private_file
from ecross_server.merchants.rules import Peppers, new_client_secret, new_peppers
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from tests.attacks.conftest import Restart

REFUSED = b'{"message":"Incorrect username or password."}'


@pytest.fixture
def backend() -> str:
    """SQLite alone: a database of one file is what gets stolen."""
    return "sqlite"


def stored(database: Database, credential: IssuedCredential) -> tuple[bytes, str]:
    """The digest that is kept of a secret, and the id of its pepper."""
    query = text("SELECT digest, pepper_id FROM secrets WHERE id = :id")
    with database.read() as session:
        digest, pepper_id = session.execute(query, {"id": credential.secret.id}).one()
    return bytes(digest), str(pepper_id)


def ask(client: TestClient, client_id: Any, secret: Any) -> tuple[int, bytes]:
    answer = client.post("/token", content=json.dumps({"clientId": client_id, "clientSecret": secret}).encode(),
                         headers={"Content-Type": "application/json"})  # fmt: skip
    return answer.status_code, answer.content


def test_nothing_made_from_what_is_stored_is_a_secret(
    *, client: TestClient, application: Application, credential: IssuedCredential, database: Database, peppers: Peppers,
    settings: Settings,
) -> None:  # fmt: skip
    digest, pepper_id = stored(database, credential)
    assert digest == peppers.digest(credential.client_secret)
    pepper = peppers.keys[pepper_id]
    with database.read() as session:
        rows = session.execute(text("SELECT * FROM audit_records")).all()
    recorded = [value for row in rows for value in row if isinstance(value, str) and value]
    raw = [digest, digest[::-1], pepper, hashlib.sha256(digest).digest(), peppers.digest(digest.hex()), digest[:16]]
    candidates = [
        *(part.decode("latin-1") for part in raw), *(part.hex() for part in raw), *(part.hex().upper() for part in raw),
        *(base64.b64encode(part).decode() for part in raw), *(base64.urlsafe_b64encode(part).decode() for part in raw),
        *(base64.b64encode(part).decode().rstrip("=") for part in raw),
        *(base64.b32encode(part).decode() for part in raw),
        *(str(int.from_bytes(part)) for part in raw), *(repr(part) for part in raw),
        *(f"0x{part.hex()}" for part in raw),
        *(f"\\x{part.hex()}" for part in raw), *(f"ecs_{part.hex()[:49]}" for part in raw),
        *(f"hmac-sha256:{part.hex()}" for part in raw), *(f"{pepper_id}:{part.hex()}" for part in raw),
        pepper_id, f"{pepper_id}:", credential.secret.id, credential.client.id, "ACME", "null", "None", "undefined",
        " ",
        settings.peppers_file.read_text()[:256], "0" * 53, "ecs_" + "0" * 49, *recorded,
    ]  # fmt: skip
    for candidate in candidates:
        assert ask(client, credential.client.id, candidate[:256]) == (401, REFUSED), candidate
    assert application.limiter.beyond == dict.fromkeys(application.limiter.beyond, 0)
    assert ask(client, credential.client.id, credential.client_secret)[0] == 200


def test_nothing_near_the_secret_is_the_secret(client: TestClient, credential: IssuedCredential) -> None:
    secret = credential.client_secret
    wide = "".join(chr(ord(character) + 0xFEE0) for character in secret if character != "_")
    assert unicodedata.normalize("NFKC", wide) == secret.replace("_", "")
    body = secret[:-7] + ("0" if secret[-7] != "0" else "1")
    checked = body + f"{zlib.crc32(body.encode()):06d}"[:6]
    for near in (
        f"{secret} ", f" {secret}", f"{secret}\n", f"{secret}\r\n", f"{secret}\t", f"{secret}\0", f"\0{secret}",
        f"{secret}\0x", f"\ufeff{secret}", f"{secret}\u200b", f"{secret[:9]}\u00ad{secret[9:]}", secret.upper(),
        secret.lower(), secret.swapcase(), secret[:-1], secret[1:], secret[4:], secret * 2, secret[::-1], wide, checked,
        secret.replace("ecs_", "ECS_"), secret.replace("_", "%5F"), secret.replace("_", "-"), f'"{secret}"',
        f"'{secret}'",
        f"{secret}%00", f"{secret}' OR '1'='1", f"{secret};", f"Bearer {secret}",
        base64.b64encode(secret.encode()).decode(),
        secret.replace("e", "\u0435", 1), secret + secret[-1], secret[:52] + "\u0301" + secret[52:],
    ):  # fmt: skip
        assert near != secret
        assert ask(client, credential.client.id, near) == (401, REFUSED), near
    for near in (
        f"{credential.client.id} ",
        credential.client.id.upper(),
        f"{credential.client.id}\0",
        "acme",
        "%",
        "*",
    ):
        assert ask(client, near, secret) == (401, REFUSED), near


@pytest.mark.parametrize("secret", [None, True, 0, 1.5, [], {}, ["{}"], {"$ne": ""}, {"$gt": ""}, [[]], ""])
def test_what_is_no_text_is_no_secret(client: TestClient, credential: IssuedCredential, secret: Any) -> None:
    given = [credential.client_secret] if secret == ["{}"] else secret
    assert ask(client, credential.client.id, given)[0] == 400
    assert ask(client, given, credential.client_secret)[0] == 400


@pytest.fixture
def steal(settings: Settings, client: TestClient, tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """Copies the database of the running server, as a backup would be; the settings of a server on the copy."""
    del client

    def copy() -> dict[str, Any]:
        folder = tmp_path / "thief"
        folder.mkdir(mode=0o700)
        with (
            contextlib.closing(sqlite3.connect(settings.data_dir / "ecross.db")) as source,
            contextlib.closing(sqlite3.connect(folder / "ecross.db")) as copied,
        ):
            source.backup(copied)
        changes = {
            "data_dir": folder,
            "database_url": f"sqlite:///{folder / 'ecross.db'}",
            "signing_keys_file": folder / "signing-keys.json",
            "peppers_file": folder / "peppers.json",
        }
        write_private_file(folder / "signing-keys.json", new_signing_keys(utc_now()))
        write_private_file(folder / "peppers.json", new_peppers(utc_now()))
        return changes

    return copy


def all_attempts(credential: IssuedCredential, digest: bytes) -> list[str]:
    return [credential.client_secret, digest.hex(), base64.b64encode(digest).decode(), new_client_secret(), "\0", "x"]


def test_a_stolen_database_under_fresh_peppers_lets_nobody_in(
    steal: Callable[[], dict[str, Any]], restart: Restart, credential: IssuedCredential, database: Database
) -> None:
    digest, _ = stored(database, credential)
    thief = restart(**steal())
    for secret in all_attempts(credential, digest):
        # It knows that a pepper is missing, and refuses nobody for that: nobody gets in either.
        assert ask(thief, credential.client.id, secret)[0] == 503


def test_nor_does_it_if_the_fresh_pepper_takes_the_name_of_the_true_one(
    steal: Callable[[], dict[str, Any]], restart: Restart, credential: IssuedCredential, database: Database
) -> None:
    digest, pepper_id = stored(database, credential)
    changes = steal()
    fresh = json.loads(changes["peppers_file"].read_text())
    for value in (fresh["peppers"][0]["value"], base64.urlsafe_b64encode(digest).decode()):
        fresh["peppers"][0] |= {"id": pepper_id, "value": value}
        write_private_file(changes["peppers_file"], json.dumps(fresh))
        thief = restart(**changes)
        for secret in all_attempts(credential, digest):
            assert ask(thief, credential.client.id, secret) == (401, REFUSED)


def test_tokens_of_a_thief_s_own_server_are_worth_nothing_here(
    steal: Callable[[], dict[str, Any]], restart: Restart, credential: IssuedCredential, client: TestClient,
    settings: Settings,
) -> None:  # fmt: skip
    changes = steal()
    shutil.copyfile(settings.peppers_file, changes["peppers_file"])  # even with the true pepper
    answer = restart(**changes).post(
        "/token", json={"clientId": credential.client.id, "clientSecret": credential.client_secret}
    )
    assert answer.status_code == 200
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert client.get("/ext/merchant/skus", headers=headers).json()["code"] == "invalid_token"


@pytest.mark.parametrize("change", ["one bit", "zeros", "empty", "half", "twice"])
def test_a_changed_digest_lets_nobody_in(
    client: TestClient, application: Application, credential: IssuedCredential, database: Database, change: str
) -> None:
    digest, _ = stored(database, credential)
    changed = {
        "one bit": bytes([digest[0] ^ 1]) + digest[1:], "zeros": b"\0" * 32, "empty": b"", "half": digest[:16],
        "twice": digest * 2,
    }[change]  # fmt: skip
    assert ask(client, credential.client.id, credential.client_secret)[0] == 200
    with database.write() as session:
        session.execute(
            text("UPDATE secrets SET digest = :digest WHERE id = :id"), {"digest": changed, "id": credential.secret.id}
        )
        session.execute(text("UPDATE clients SET revision = (SELECT value + 1 FROM registry_revision)"))
        session.execute(text("UPDATE registry_revision SET value = value + 1"))
    application.auth.refresh()
    for secret in (
        credential.client_secret,
        "\0",
        digest.hex(),
        changed.hex() or "0",
        changed.decode("latin-1") or " ",
    ):
        assert ask(client, credential.client.id, secret)[0] == 401

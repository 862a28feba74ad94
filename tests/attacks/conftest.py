"""What the attacks share: tokens of any bytes, limits out of the way, and talk over a bare socket."""

from __future__ import annotations

import base64
import contextlib
import functools
import hmac
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.audit.rules import derive_keys
from ecross_server.audit.service import Actor
from ecross_server.auth.tokens import new_signing_keys
from ecross_server.catalog import service as catalog
from ecross_server.catalog.schemas import read_sku
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.private_files import write_private_file
from ecross_server.merchants import service as merchants
from ecross_server.merchants.rules import new_peppers
from ecross_server.settings import Settings
from forking import ForkedProcess

SKUS = "/ext/merchant/skus"
MARK = "PRIVATE-MARK"
MANY = "900000000/minute"
HEADER = b'{"alg":"HS256","typ":"JWT"}'


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Limits that no attack here reaches: what they are about must refuse by itself."""
    changes = {"token_volume_limit": MANY, "token_failure_limit": MANY, "token_address_limit": MANY}
    return settings.model_copy(update=changes)


def encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@dataclass
class Forge:
    """Makes tokens of any bytes, under the server's own key unless another is given, and presents them."""

    client: TestClient
    key: bytes
    claims: dict[str, Any]

    def payload(self, *, without: str | None = None, **changes: Any) -> bytes:
        """The claims of a good token, changed."""
        return json.dumps({name: it for name, it in (self.claims | changes).items() if name != without}).encode()

    def raw_claim(self, name: str, text: str) -> bytes:
        """The claims of a good token, the text of one of them replaced as it stands."""
        return self.payload(**{name: "@@"}).replace(b'"@@"', text.encode())

    def sign(self, signing_input: bytes, key: bytes | None = None, digest: str = "sha256") -> bytes:
        """The signature of any bytes."""
        return hmac.digest(self.key if key is None else key, signing_input, digest)

    def token(
        self, header: bytes | dict[str, Any] = HEADER, payload: bytes | None = None, key: bytes | None = None,
        digest: str = "sha256",
    ) -> bytes:  # fmt: skip
        """A signed token."""
        head = header if isinstance(header, bytes) else json.dumps(header).encode()
        signing_input = encode(head) + b"." + encode(self.payload() if payload is None else payload)
        return signing_input + b"." + encode(self.sign(signing_input, key, digest))

    def present(self, token: bytes | str) -> httpx2.Response:
        """Ask for private data with the token."""
        raw = token if isinstance(token, bytes) else token.encode("utf-8")
        return self.client.get(SKUS, headers=[(b"authorization", b"Bearer " + raw)])

    def assert_refused(self, token: bytes | str) -> None:
        """The token opens nothing, and the answer is that to any bad token."""
        answer = self.present(token)
        assert answer.status_code == 401, answer.text
        assert answer.json()["code"] == "invalid_token"
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert MARK not in answer.text

    def assert_accepted(self, token: bytes | str) -> None:
        """The token opens ACME's data."""
        answer = self.present(token)
        assert answer.status_code == 200, answer.text
        assert MARK in answer.text


SaveSku = Callable[[str, str], None]


def sku_saver(database: Database) -> SaveSku:
    """Puts a SKU of this id into a merchant's catalog."""

    def save(merchant_id: str, sku_id: str) -> None:
        draft = read_sku(json.dumps({"skuId": sku_id, "productId": "p", "name": f"{MARK} {merchant_id}"}).encode())
        with database.write() as session:
            catalog.save_skus(session, merchant_id, [draft], now=utc_now())

    return save


@pytest.fixture
def save_sku(database: Database) -> SaveSku:
    """Puts a SKU of this id into a merchant's catalog."""
    return sku_saver(database)


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory, _migrated_sqlite: Path) -> Iterator[Forge]:
    """The means of an attacker who knows everything, the signing key included; ACME has a SKU to be seen.

    One server for all tests of a file: no attack leaves a trace in it, which the next one would notice.
    """
    folder = tmp_path_factory.mktemp("forge")
    settings = Settings.model_validate({"data_dir": folder, "database_url": f"sqlite:///{folder / 'ecross.db'}"})
    shutil.copyfile(_migrated_sqlite, folder / "ecross.db")
    write_private_file(settings.signing_keys_file, new_signing_keys(utc_now()))
    write_private_file(settings.peppers_file, new_peppers(utc_now()))
    application = Application(settings)
    peppers = merchants.load_peppers(settings.peppers_file)
    by = Actor("operator:test", derive_keys(peppers.current, peppers.keys))
    with application.database.write() as session:
        merchants.register_merchant(session, "ACME", "Merchant ACME", now=utc_now(), by=by)
        credential = merchants.issue_credential(session, "ACME", peppers=peppers, now=utc_now(), by=by)
    sku_saver(application.database)("ACME", "1")
    now = int(time.time())
    claims = {
        "iss": settings.issuer, "sub": credential.client.id, "aud": settings.audience, "iat": now, "nbf": now,
        "exp": now + 6000, "jti": "0123456789abcdef", "client_id": credential.client.id, "merchant_id": "ACME",
        "scope": "merchant", "epoch": credential.client.epoch,
    }  # fmt: skip
    encoded = json.loads(settings.signing_keys_file.read_text())["keys"][0]["k"]
    with TestClient(application, raise_server_exceptions=False) as client:
        yield Forge(client, base64.urlsafe_b64decode(encoded + "="), claims)


@dataclass
class Answers:
    """All that came back on a connection."""

    statuses: list[int]
    request_ids: list[str]
    raw: bytes
    is_open: bool


STATUS_LINE = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
REQUEST_ID = re.compile(rb"\r\nx-request-id: ([^\r\n]*)\r\n")


@dataclass
class Wire:
    """A running server, spoken to byte by byte."""

    url: str
    log_file: Path
    credentials: dict[str, str]

    @property
    def body(self) -> bytes:
        """The body of a good token request."""
        return json.dumps({name: self.credentials[name] for name in ("clientId", "clientSecret")}).encode()

    @functools.cached_property
    def bearer(self) -> bytes:
        """The header line that opens the API."""
        head = b"POST /token HTTP/1.1\r\nHost: x\r\nX-Request-Id: last\r\nContent-Type: application/json\r\n"
        answer = self.talk(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(self.body), self.body))
        return b"Authorization: Bearer %b\r\n" % json.loads(answer.raw.partition(b"\r\n\r\n")[2])["token"].encode()

    def talk(self, *parts: bytes, until: bytes = b"\r\nx-request-id: last\r\n", patience: float = 1.0) -> Answers:
        """Send the parts one after the other on one connection; what came back until it ended or fell silent.

        After `until` nothing more is waited for than what comes at once.
        """
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        raw = b""
        is_open = False
        with contextlib.closing(socket.create_connection((host, int(port)), patience)) as connection:
            for number, part in enumerate(parts):
                if number:
                    time.sleep(0.05)  # so that the server reads what came before by itself
                with contextlib.suppress(ConnectionError):  # closed before all was sent
                    connection.sendall(part)
            with contextlib.suppress(ConnectionError):
                try:
                    while received := connection.recv(65536):
                        raw += received
                        connection.settimeout(0.02 if until in raw else patience)
                except TimeoutError:
                    is_open = True
        statuses = [int(status) for status in STATUS_LINE.findall(raw)]
        return Answers(statuses, [sent.decode() for sent in REQUEST_ID.findall(raw)], raw, is_open)

    def log_lines(self) -> list[str]:
        """All that the server has logged."""
        return self.log_file.read_text().splitlines()


StartWire = Callable[..., contextlib.AbstractContextManager[Wire]]


@pytest.fixture(scope="module")
def start_wire(tmp_path_factory: pytest.TempPathFactory) -> StartWire:
    """Starts the real command with limits out of the way. In the end it must serve still, nothing having failed."""

    @contextlib.contextmanager
    def started(**variables: str) -> Iterator[Wire]:
        folder = tmp_path_factory.mktemp("wire")
        ours = {
            "DATA_DIR": str(folder / "data"), "METRICS_PORT": "0", "JOB_PROCESSES": "0", "TOKEN_VOLUME_LIMIT": MANY,
            "TOKEN_FAILURE_LIMIT": MANY, "TOKEN_ADDRESS_LIMIT": MANY, **variables,
        }  # fmt: skip
        # Its lines are counted by tests of its own, which halves its time here.
        others = ("ECROSS_SERVER_", "COVERAGE_PROCESS_CONFIG")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        command = [str(Path(sys.executable).with_name("ecross-server")), "serve", "--demo", "--port", "0", "--json"]
        log_file = folder / "server.log"
        with log_file.open("wb") as log:
            process = ForkedProcess(
                command, env=environment | {f"ECROSS_SERVER_{name}": value for name, value in ours.items()},
                stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert process.stdout is not None
        try:
            banner = b""
            while not banner.endswith(b"}\n"):
                line = process.stdout.readline()
                assert line, log_file.read_text()
                banner += line
            credentials = json.loads((folder / "data" / "demo-credentials.json").read_bytes())
            wire = Wire(json.loads(banner)["url"], log_file, credentials)
            yield wire
            assert wire.talk(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-Id: last\r\n\r\n").statuses == [200]
            for trace in ("request_failed", "Traceback", "exception"):
                assert trace not in log_file.read_text()
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()

    return started


@pytest.fixture(scope="module")
def wire(start_wire: StartWire) -> Iterator[Wire]:
    """A server for all tests of a file."""
    with start_wire() as started:
        yield started


Restart = Callable[..., TestClient]


@pytest.fixture
def restart(settings: Settings) -> Iterator[Restart]:
    """Starts the application anew, with other settings if given."""
    with contextlib.ExitStack() as stack:

        def start(**changes: Any) -> TestClient:
            application = Application(Settings.model_validate(settings.model_dump() | changes))
            return stack.enter_context(TestClient(application, raise_server_exceptions=False))

        yield start

"""The two servers of the contract: the real one as a process and the fake one, with the same merchants and SKUs."""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from ecross.jws import key_secret
from ecross.testing import FakeServer
from ecross_server.audit.rules import derive_keys
from ecross_server.audit.service import Actor
from ecross_server.auth.tokens import new_signing_keys
from ecross_server.catalog import service as catalog
from ecross_server.catalog.schemas import read_sku
from ecross_server.inventory import service as inventory
from ecross_server.inventory.rules import Count, InventoryType, WarehouseType
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.private_files import write_private_file
from ecross_server.merchants import service as merchants
from ecross_server.merchants.rotation import rotate_credential
from ecross_server.merchants.rules import Peppers, new_peppers
from ecross_server.settings import Settings
from forking import ForkedProcess

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

PAGE_SIZE = 3
TOKENS_PER_MINUTE = 40
"""More than any client but BUSY asks for."""

WRITERS = ("SOCKET", "TRANSPORT")
"""One for each way to the fake, for tests that write; both servers have both."""

MERCHANTS = ("ACME", "OTHER", "BUSY", "GONE", "ROTATED", *WRITERS)
OLD_SECRET = "one-that-ends"
OLD_ENDS_AT = datetime(2099, 12, 1, 0, 0, 0, 500_000, UTC)
"""When the secret ends that ROTATED still uses, on both."""

HEADER = {"alg": "HS256", "typ": "JWT"}

# Each with the instant of its last change.
SKUS: list[tuple[str, dict[str, Any]]] = [
    ("2024-01-01T00:00:00.001Z", {
        "skuId": "1", "productId": "P1", "main": True, "name": "Caneca ☕", "description": "Zeile 1\nZeile 2",
        "weight": 0.3, "height": 9.0, "width": 8, "length": 8.25, "ean": "0799439112766", "hscode": "691110",
        "localizedListPriceWithTaxes": 9.99, "localizedSalePriceWithTaxes": 8,
        "globalSaleChannelData": {
            "active": True, "brand": "B", "size": "M", "color": "blue", "category": "A/B",
            "attributes": [{"name": "n", "value": "v"}],
        },
        "images": ["https://img.test/1.jpeg", "https://img.test/2.jpeg"],
    }),
    ("2024-01-02T00:00:00.000Z", {"skuId": "2", "productId": "P1", "name": "Only what must be"}),
    *((f"2024-01-0{day}T10:00:00.000Z", {"skuId": f"{day}", "productId": "P2", "main": day == 3, "name": "n"})
      for day in range(3, 8)),
]  # fmt: skip


# Number, name, country, type.
WAREHOUSES: list[tuple[int, str, str, str]] = [
    (2, "Barcelona", "ES", "MERCHANT"), (1000, "Returns partner BR", "BR", "RETURNS"),
    (1001, "Returns partner MX", "MX", "RETURNS"),
]  # fmt: skip

# Each with the instant of its last change: SKU, warehouse, type, quantity. "stock" is no SKU yet.
STOCKS: list[tuple[str, str, int, str, int]] = [
    ("2024-02-01T00:00:00.001Z", "1", 1, "AVAILABLE", 9), ("2024-02-02T00:00:00.000Z", "1", 1000, "AVAILABLE", 1),
    ("2024-02-03T00:00:00.000Z", "1", 1001, "AVAILABLE", 5), ("2024-02-04T00:00:00.000Z", "1", 1, "DAMAGED", 2),
    ("2024-02-05T00:00:00.000Z", "stock", 2, "AVAILABLE", 4), ("2024-02-06T00:00:00.000Z", "2", 1000, "DAMAGED", 4),
    ("2024-02-06T12:00:00.000Z", "broken", 1, "DAMAGED", 4),
    ("2024-02-07T00:00:00.000Z", "só%2F?#", 1, "AVAILABLE", 0),
]  # fmt: skip

VOLATILE = {"date", "x-request-id"}
"""Both servers send these; their values are the moment's."""

LEFT_OUT = {
    "ratelimit": "it moves with time, and the fake has no budget for an address; the client's is compared below",
    "ratelimit-policy": "likewise",
}
"""What is not compared with the rest, and why."""


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(key: bytes, payload: bytes, header: object = HEADER) -> str:
    """A token of any bytes."""
    signing_input = f"{encode(json.dumps(header).encode())}.{encode(payload)}"
    return f"{signing_input}.{encode(hmac.digest(key, signing_input.encode(), 'sha256'))}"


@dataclass
class Side:
    """One of the servers, with the values that differ between them by name."""

    name: str
    url: str
    values: dict[str, str]
    client: httpx2.Client

    def filled(self, text: str) -> str:
        """A text with this server's values in the place of their names."""
        for name, value in self.values.items():
            text = text.replace(f"<{name}>", value)
        return text

    def send(self, method: str, target: str, headers: list[tuple[str, str]], body: str | bytes = "") -> httpx2.Response:
        """Send a request exactly so."""
        content = body if isinstance(body, bytes) else self.filled(body).encode()
        url = httpx2.URL(self.url).copy_with(raw_path=self.filled(target).encode())
        fields = [(name.encode(), self.filled(value).encode("latin-1")) for name, value in headers]
        request = self.client.build_request("GET", url, headers=fields, content=content)
        request.method = method  # as it stands, not in upper case
        return self.client.send(request)

    def seen(self, method: str, target: str, headers: list[tuple[str, str]], body: str | bytes = "") -> dict[str, Any]:
        """What must be equal of the answer to a request."""
        return self.shown(self.send(method, target, headers, body))

    def shown(self, answer: httpx2.Response) -> dict[str, Any]:
        """What must be equal of an answer."""
        headers = sorted((name, "*" if name in VOLATILE else value) for name, value in answer.headers.multi_items())
        content: Any = json.loads(answer.text) if answer.text else ""
        hide_what_differs(content)
        # Tokens differ in length; where one is in the body its length is checked against the body alone.
        length = answer.headers["content-length"]
        if answer.request.method != "HEAD":
            assert int(length) == len(answer.content)
        is_varying = isinstance(content, dict) and ("*" in content.values() or "checks" in content)
        shown = [(name, "*" if name == "content-length" and is_varying else value) for name, value in headers]
        return {
            "status": answer.status_code,
            "headers": [field for field in shown if field[0] not in LEFT_OUT],
            "body": json.dumps(content, ensure_ascii=False),
        }

    def compares(self, name: str) -> bool:
        """Whether a header's value must be equal."""
        return name not in VOLATILE | LEFT_OUT.keys()

    def ask_for_token(self, merchant: str) -> httpx2.Response:
        """The answer to a merchant's right secret."""
        body = f'{{"clientId": "<{merchant} clientId>", "clientSecret": "<{merchant} clientSecret>"}}'
        return self.send("POST", "/token", [("Content-Type", "application/json")], body)

    def token(self, merchant: str) -> str:
        """A good token of a merchant."""
        token: str = self.ask_for_token(merchant).json()["token"]
        return token

    def exchange(self, request: str) -> bytes:
        """What comes back on a connection of its own, to bytes that need be no request, until the server ends it."""
        address = self.url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=10) as connection:
            connection.sendall(self.filled(request).encode("latin-1"))
            return b"".join(iter(lambda: connection.recv(65536), b""))


def hide_what_differs(content: Any) -> None:
    """Write a star in the place of tokens, once their form is found right, and of figures."""
    if not isinstance(content, dict):
        return
    if "token" in content:
        assert re.fullmatch(r"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9\.[\w-]+\.[\w-]{43}", content["token"])
        content["token"] = "*"
    if "nextPageToken" in content:
        assert re.fullmatch(r"[\w-]+", content["nextPageToken"])
        content["nextPageToken"] = "*"
    for check in content.get("checks", ()):
        check["detail"] = re.sub(r"[\d.]+", "*", check["detail"])


def tokens(key: bytes, good: str, disabled: str) -> dict[str, str]:
    """Tokens of every kind, made from a good one's claims."""
    claims = json.loads(base64.urlsafe_b64decode(good.split(".")[1] + "=="))
    now = claims["iat"]

    def changed(**changes: Any) -> str:
        return signed(key, json.dumps(claims | changes).encode())

    head, payload, signature = good.split(".")
    return {
        "good": good,
        "expired": changed(iat=now - 200, nbf=now - 200, exp=now - 100),
        "not yet valid": changed(iat=now + 1000, nbf=now + 1000, exp=now + 2000),
        "of another issuer": changed(iss="urn:other"),
        "of another audience": changed(aud="urn:other"),
        "of a list of audiences": changed(aud=["urn:other", claims["aud"]]),
        "of another scope": changed(scope="orders:read"),
        "of no scope": changed(scope=""),
        "of two scopes": changed(scope="orders:read catalog:read"),
        "of an old epoch": changed(epoch=claims["epoch"] - 1),
        "of an unknown client": changed(sub="nobody", client_id="nobody"),
        "of a disabled merchant": changed(sub=disabled, client_id=disabled),
        "without a claim": signed(key, json.dumps({k: v for k, v in claims.items() if k != "jti"}).encode()),
        "with a claim of another type": changed(exp=str(claims["exp"])),
        "with no claims": signed(key, b"[]"),
        "under another key": signed(b"x" * 32, json.dumps(claims).encode()),
        "without an algorithm": f"{encode(json.dumps({'alg': 'none'}).encode())}.{payload}.",
        "of another type": signed(key, json.dumps(claims).encode(), {"alg": "HS256", "typ": "at+jwt"}),
        "cut short": good[:-1],
        "without a signature": f"{head}.{payload}",
        "with an empty signature": f"{head}.{payload}.",
        "with four parts": f"{good}.{signature}",
        "too long": "a" * 9000,
    }


@dataclass
class Prepared:
    """A data folder and the merchants in it."""

    folder: Path
    credentials: dict[str, dict[str, str]]
    key: bytes


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, _migrated_sqlite: Path) -> Prepared:
    """The real server's data: ACME with SKUs, OTHER and BUSY with none, GONE disabled."""
    folder = tmp_path_factory.mktemp("contract") / "data"
    folder.mkdir(mode=0o700)
    settings = Settings.model_validate({"data_dir": folder})
    shutil.copyfile(_migrated_sqlite, folder / "ecross.db")
    (folder / "ecross.db").chmod(0o600)
    keys = new_signing_keys(utc_now())
    write_private_file(settings.signing_keys_file, keys)
    write_private_file(settings.peppers_file, new_peppers(utc_now()))
    peppers: Peppers = merchants.load_peppers(settings.peppers_file)
    by = Actor("operator:test", derive_keys(peppers.current, peppers.keys))
    database = Database(f"sqlite:///{folder / 'ecross.db'}")
    credentials = {}
    with database.write() as session:
        for name in MERCHANTS:
            merchants.register_merchant(session, name, name, now=utc_now(), by=by)
            issued = merchants.issue_credential(session, name, peppers=peppers, now=utc_now(), by=by)
            credentials[name] = {"clientId": issued.client.id, "clientSecret": issued.client_secret}
        rotate_credential(
            session,
            credentials["ROTATED"]["clientId"],
            peppers=peppers,
            now=utc_now(),
            by=by,
            retire_old_at=OLD_ENDS_AT,
        )
        merchants.disable_merchant(session, "GONE", by=by)
        for instant, sku in SKUS:
            draft = read_sku(json.dumps(sku).encode())
            catalog.save_skus(session, "ACME", [draft], now=datetime.fromisoformat(instant).astimezone(UTC))
        save_stocks(session, by)
    database.close()
    return Prepared(folder, credentials, key_secret(json.loads(keys)["keys"][0]))


def save_stocks(session: Session, by: Actor) -> None:
    """Stock as merchants and, in returns warehouses, representatives count it."""
    for merchant in ("ACME", *WRITERS):
        for number, name, country, type_ in WAREHOUSES:
            inventory.add_warehouse(
                session, merchant, number, name=name, country=country, type_=WarehouseType(type_), by=by
            )
    for instant, sku_id, number, type_, quantity in STOCKS:
        count = Count(sku_id, number, InventoryType(type_), quantity)
        inventory.count_inventory(session, "ACME", count, now=datetime.fromisoformat(instant).astimezone(UTC), by=by)


@pytest.fixture(scope="session")
def real(prepared: Prepared) -> Iterator[Side]:
    """The real server, a process for all tests here."""
    # Its lines are counted by tests of its own, which halves its time here.
    others = ("ECROSS_SERVER_", "COVERAGE_PROCESS_CONFIG")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    variables = {
        "DATA_DIR": str(prepared.folder), "METRICS_PORT": "0", "JOB_PROCESSES": "0", "PAGE_SIZE": str(PAGE_SIZE),
        "TOKEN_ADDRESS_LIMIT": "1000000/minute", "TOKEN_FAILURE_LIMIT": "1000000/minute",
        "TOKEN_VOLUME_LIMIT": f"{TOKENS_PER_MINUTE}/minute",
    }  # fmt: skip
    log_file = prepared.folder.with_name("server.log")
    with log_file.open("wb") as log:
        process = ForkedProcess(
            [str(Path(sys.executable).with_name("ecross-server")), "serve", "--port", "0", "--json"],
            env=inherited | {f"ECROSS_SERVER_{name}": value for name, value in variables.items()},
            stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        banner = b""
        while not banner.endswith(b"}\n"):
            line = process.stdout.readline()
            assert line, log_file.read_text()
            banner += line
        with httpx2.Client(trust_env=False) as client:
            yield as_side("real", json.loads(banner)["url"], client, prepared.credentials, prepared.key)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def as_side(name: str, url: str, client: httpx2.Client, credentials: dict[str, dict[str, str]], key: bytes) -> Side:
    """The server with all values that requests name."""
    side = Side(name, url, dict(credentials["ACME"]), client)
    for merchant, fields in credentials.items():
        side.values |= {f"{merchant} {field}": value for field, value in fields.items()}
    side.values |= tokens(key, side.token("ACME"), credentials["GONE"]["clientId"])
    for merchant in ("OTHER", *WRITERS):
        side.values[f"{merchant} token"] = side.token(merchant)
    return side


@pytest.fixture(scope="session")
def fake() -> Iterator[FakeServer]:
    """The fake server with the same merchants and SKUs. It stands still in time; only WRITERS write."""
    with FakeServer(page_size=PAGE_SIZE, tokens_per_minute=TOKENS_PER_MINUTE) as server:
        for name in MERCHANTS:
            server.add_merchant(name, client_secret=OLD_SECRET if name == "ROTATED" else None)
        server.merchant("ROTATED").rotate_secret(retire_old_in=OLD_ENDS_AT.timestamp() - server.clock())
        server.merchant("GONE").disable()
        for instant, sku in SKUS:
            server.merchant("ACME").put_sku({**sku, "lastUpdateDate": instant})
        for name in ("ACME", *WRITERS):
            for number, place, country, type_ in WAREHOUSES:
                server.merchant(name).add_warehouse(number, name=place, country=country, type=type_)
        for instant, sku_id, number, type_, quantity in STOCKS:
            server.merchant("ACME").put_inventory(
                sku_id, quantity, warehouse_id=number, inventory_type=type_, last_update_date=instant
            )
        yield server


@pytest.fixture(scope="session")
def at_socket(fake: FakeServer) -> Iterator[Side]:
    """The fake server, reached at its address."""
    with httpx2.Client(trust_env=False) as client:
        yield fake_side(fake, "socket", fake.url, client)


@pytest.fixture(scope="session")
def in_process(fake: FakeServer) -> Iterator[Side]:
    """The fake server, reached by its transport."""
    with httpx2.Client(trust_env=False, transport=fake.transport) as client:
        yield fake_side(fake, "transport", fake.base_url, client)


def fake_side(fake: FakeServer, name: str, url: str, client: httpx2.Client) -> Side:
    """The fake server with all values that requests name."""
    keys: Any = fake.keys
    credentials = {merchant: fake.merchant(merchant).credentials for merchant in MERCHANTS}
    credentials["ROTATED"]["clientSecret"] = OLD_SECRET
    return as_side(name, url, client, credentials, key_secret(keys["keys"][0]))


@pytest.fixture(params=["at_socket", "in_process"])
def side(request: pytest.FixtureRequest) -> Side:
    """The fake server, reached in each of its two ways."""
    reached: Side = request.getfixturevalue(request.param)
    return reached

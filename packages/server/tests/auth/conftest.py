"""What the tests of tokens share: clocks, the service outside of any application, and tokens of any content."""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import create_engine, make_url, text

from ecross_server.auth.registry import Registry
from ecross_server.auth.service import AuthService
from ecross_server.auth.tokens import KeySet, new_signing_keys
from ecross_server.auth.uses import CallMeter
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.private_files import write_private_file
from ecross_server.merchants.rules import new_pepper
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings


@dataclass
class ManualClock:
    """Stands still until it is moved."""

    now: float

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall_clock() -> ManualClock:
    return ManualClock(time.time())


@pytest.fixture
def monotonic_clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def registry(database: Database, monotonic_clock: ManualClock) -> Registry:
    return Registry(database, monotonic_clock)


MakeService = Callable[..., AuthService]


@pytest.fixture
def make_service(settings: Settings, registry: Registry, database: Database, wall_clock: ManualClock) -> MakeService:
    def make(**changes: Any) -> AuthService:
        values: dict[str, Any] = {
            "registry": registry,
            "peppers_file": settings.peppers_file,
            "signing_keys_file": settings.signing_keys_file,
            "issuer": settings.issuer,
            "audience": settings.audience,
            "lifetime_seconds": 28800,
            "calls": CallMeter(database),
            "clock": wall_clock,
        }
        return AuthService(**(values | changes))

    return make


@pytest.fixture
def service(make_service: MakeService, credential: IssuedCredential) -> AuthService:
    """The service, ACME registered and known to it; no thread keeps it up to date."""
    del credential
    made = make_service()
    made.refresh()
    return made


@pytest.fixture
def key_set(settings: Settings) -> KeySet:
    return KeySet.from_file(settings.signing_keys_file, issuer=settings.issuer, audience=settings.audience)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture
def signing_key(settings: Settings) -> bytes:
    encoded = json.loads(settings.signing_keys_file.read_text())["keys"][0]["k"]
    return base64.urlsafe_b64decode(encoded + "=")


@pytest.fixture
def claims(settings: Settings, credential: IssuedCredential) -> dict[str, Any]:
    """The claims of a good token of ACME's."""
    now = int(time.time())
    return {
        "iss": settings.issuer,
        "sub": credential.client.id,
        "aud": settings.audience,
        "iat": now,
        "nbf": now,
        "exp": now + 600,
        "jti": "0123456789abcdef",
        "client_id": credential.client.id,
        "merchant_id": "ACME",
        "scope": "merchant",
        "epoch": credential.client.epoch,
    }


Sign = Callable[..., str]


@pytest.fixture
def sign(claims: dict[str, Any], signing_key: bytes) -> Sign:
    """A token of any content, under the server's own key unless another is given."""

    def sign_token(
        *,
        header: dict[str, Any] | None = None,
        key: bytes = signing_key,
        digest: str = "sha256",
        without: str | None = None,
        **changes: Any,
    ) -> str:
        payload = {name: value for name, value in (claims | changes).items() if name != without}
        parts = (header or {"alg": "HS256", "typ": "JWT"}, payload)
        signing_input = ".".join(base64url(json.dumps(part).encode()) for part in parts)
        return f"{signing_input}.{base64url(hmac.digest(key, signing_input.encode(), digest))}"

    return sign_token


Outage = Callable[[], contextlib.AbstractContextManager[None]]


@pytest.fixture
def outage(database: Database, database_url: str) -> Outage:
    """Takes the database away from everybody, and puts it back."""

    @contextlib.contextmanager
    def folder_renamed() -> Iterator[None]:
        database.close()  # an open file would go on to be read
        folder = Path(database_url.removeprefix("sqlite:///")).parent
        aside = folder.with_name("aside")
        folder.rename(aside)
        try:
            yield
        finally:
            aside.rename(folder)

    @contextlib.contextmanager
    def connections_refused() -> Iterator[None]:
        url = make_url(database_url)
        admin = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {url.database} WITH ALLOW_CONNECTIONS false"))
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
                {"name": url.database},
            )
        try:
            yield
        finally:
            with admin.connect() as connection:
                connection.execute(text(f"ALTER DATABASE {url.database} WITH ALLOW_CONNECTIONS true"))
            admin.dispose()

    return folder_renamed if database.is_sqlite else connections_refused


class SigningKeysFile:
    """The signing keys' file, rewritten at will."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys = json.loads(path.read_text())["keys"]

    @staticmethod
    def fresh() -> Any:
        return json.loads(new_signing_keys(utc_now()))["keys"][0]

    def write(self, *keys: Any) -> None:
        write_private_file(self.path, json.dumps({"keys": keys}))


@pytest.fixture
def keys(settings: Settings) -> SigningKeysFile:
    return SigningKeysFile(settings.signing_keys_file)


class PeppersFile:
    """The peppers' file, rewritten at will."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries = json.loads(path.read_text())["peppers"]

    @staticmethod
    def fresh(**members: Any) -> Any:
        return {**new_pepper(utc_now()), **members}

    def write(self, *entries: Any) -> None:
        write_private_file(self.path, json.dumps({"peppers": entries}))


@pytest.fixture
def pepper_file(settings: Settings) -> PeppersFile:
    return PeppersFile(settings.peppers_file)


@pytest.fixture
def log_events() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as events:
        yield events

"""The two questions this service answers: may this client have a token, and who is the caller that brings one."""

from __future__ import annotations

import functools
import hmac
import math
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from ecross.verifier import InvalidTokenError
from ecross_server.auth.errors import InvalidAccessTokenError, InvalidClientError
from ecross_server.auth.registry import Registry
from ecross_server.auth.tokens import KeySet
from ecross_server.kit.errors import DomainError
from ecross_server.kit.page_tokens import PageTokens
from ecross_server.merchants.rules import MERCHANT_SCOPE, Peppers
from ecross_server.merchants.service import RegistryClient

STOP_SECONDS: Final = 2.0
"""A read that hangs on a dead network must not hold up the end of the process."""

REFRESH_SECONDS: Final = 0.5
"""A change is known in every process within 2 seconds, with room for a slow read."""

SECRETS_PER_CLIENT: Final = 2
"""So many comparisons are made for every request, however many secrets the client has, or whether it exists."""

NOBODY: Final = RegistryClient("", "", is_active=False, scope="", epoch=0, secrets=())

log = structlog.get_logger("ecross_server.auth")


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """An access token and its remaining life in seconds."""

    token: str = field(repr=False)
    expires_in: int


@dataclass(frozen=True, slots=True)
class CheckedClient:
    """A client whose secret was right, when that was, and for how long it may have a token (seconds)."""

    client: RegistryClient
    now: int
    expires_in: int


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: the client, its merchant, and what its token allows."""

    client_id: str
    merchant_id: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the token allows what needs the scope; `merchant` allows all of it."""
        return MERCHANT_SCOPE in self.scopes or scope in self.scopes


class AuthService:
    """Issues tokens and authenticates callers from memory alone. `start` keeps that memory up to date."""

    def __init__(
        self,
        *,
        registry: Registry,
        peppers: Peppers,
        signing_keys_file: Path,
        issuer: str,
        audience: str,
        lifetime_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.registry = registry
        self._peppers = peppers
        self._keys_file = signing_keys_file
        self._keys_seen = _identity(signing_keys_file)
        self._keys_problem: str | None = None
        self._load_keys = functools.partial(
            KeySet.from_file, signing_keys_file, issuer=issuer, audience=audience, clock=clock
        )
        self._keys = self._load_keys()
        self._lifetime = lifetime_seconds
        self._clock = clock
        self._no_secret = (secrets.token_bytes(32), peppers.current, None)
        self._no_digest = secrets.token_bytes(32)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def page_tokens(self) -> PageTokens:
        """What signs page tokens, under the present keys."""
        return self._keys.page_tokens

    def check_credentials(self, client_id: str, client_secret: str) -> CheckedClient:
        """The client whose secret this is.

        Raises:
            InvalidClientError: if the secret is wrong, or client, merchant or secret are unknown, disabled or expired.
                All of these take the same steps.
            RegistryStaleError: if the credentials cannot be checked at the moment.
        """
        self.registry.require_fresh()
        now = self._clock()
        client = self.registry.find(client_id) or NOBODY
        presented = {pepper_id: self._peppers.digest(client_secret, pepper_id) for pepper_id in self._peppers.keys}
        expires_at = 0.0
        for number in range(max(SECRETS_PER_CLIENT, len(client.secrets))):
            digest, pepper_id, ends = client.secrets[number] if number < len(client.secrets) else self._no_secret
            # A token does not outlive the secret that it was given for. Worked out before it is known whether it fits.
            ends_at = min(now + self._lifetime, math.inf if ends is None else ends)
            if hmac.compare_digest(digest, presented.get(pepper_id, self._no_digest)):
                expires_at = ends_at
        expires_in = int(expires_at) - int(now)
        if not client.is_active or expires_in < 1:
            raise InvalidClientError
        return CheckedClient(client, int(now), expires_in)

    def sign(self, checked: CheckedClient) -> IssuedToken:
        """An access token for a client whose credentials were checked just now."""
        client = checked.client
        token = self._keys.sign(
            client_id=client.client_id,
            merchant_id=client.merchant_id,
            scope=client.scope,
            epoch=client.epoch,
            issued_at=checked.now,
            expires_at=checked.now + checked.expires_in,
        )
        return IssuedToken(token, checked.expires_in)

    def issue_access_token(self, client_id: str, client_secret: str) -> IssuedToken:
        """An access token for the client: `check_credentials`, then `sign`."""
        return self.sign(self.check_credentials(client_id, client_secret))

    def authenticate(self, token: str) -> Caller:
        """The caller that a bearer token stands for.

        Raises:
            InvalidAccessTokenError: if it is malformed, forged, expired or revoked.
            RegistryStaleError: if it cannot be known whether it was revoked.
        """
        self.registry.require_fresh()
        try:
            claims = self._keys.verifier.verify(token)
        except InvalidTokenError as error:
            if error.reason == "expired":
                raise InvalidAccessTokenError("expired", "The access token has expired.") from None
            raise InvalidAccessTokenError(error.reason) from None
        client = self.registry.find(claims.client_id)
        if client is None or not client.is_active or client.epoch != claims.epoch:
            raise InvalidAccessTokenError("revoked", "The access token was revoked.")
        return Caller(claims.client_id, client.merchant_id, claims.scopes)

    def start(self) -> None:
        """Read the registry, then keep it and the signing keys up to date in a thread of its own.

        Raises:
            DatabaseAwayError: if the registry cannot be read now.
        """
        self.registry.refresh()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._keep_up_to_date, name="registry", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def refresh(self) -> None:
        """Take over what has changed in the database and in the signing keys' file."""
        self._reload_keys()
        self.registry.refresh()

    def _keep_up_to_date(self) -> None:
        is_failing = False
        while not self._stopping.wait(REFRESH_SECONDS):
            try:
                self.refresh()
            except Exception as error:  # a thread that ended would leave a service that looks healthy
                if not is_failing:
                    known = isinstance(error, DomainError)
                    reason = str(error) if known else None
                    log.error("registry_refresh_failed", reason=reason, exc_info=not known)  # noqa: TRY400 - a known one needs no traceback
                is_failing = True
            else:
                if is_failing:
                    log.info("registry_refresh_recovered")
                is_failing = False

    def _reload_keys(self) -> None:
        seen = _identity(self._keys_file)
        problem = None
        if seen != self._keys_seen:
            try:
                self._keys = self._load_keys()
            except DomainError as error:  # a bad file must not end what works; it is tried again until it is good
                problem = error.message
            else:
                self._keys_seen = seen
                log.info("signing_keys_loaded", count=len(self._keys))
        if problem is not None and problem != self._keys_problem:
            log.error("signing_keys_refused", reason=problem)
        self._keys_problem = problem


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size

"""The two questions this service answers: may this client have a token, and who is the caller that brings one."""

from __future__ import annotations

import contextlib
import gc
import secrets
import threading
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from ecross.jws import token_bytes
from ecross.verifier import Claims, InvalidTokenError
from ecross_server.auth.errors import InvalidAccessTokenError, InvalidClientError, RegistryStaleError
from ecross_server.auth.registry import Registry
from ecross_server.auth.tokens import Caller, KeySet, KnownToken
from ecross_server.auth.uses import CallMeter
from ecross_server.kit.errors import DomainError
from ecross_server.kit.identifiers import random_hex
from ecross_server.kit.key_files import WatchedFile
from ecross_server.kit.page_tokens import PageTokens
from ecross_server.merchants.rules import Allowance, Peppers, common_scopes
from ecross_server.merchants.service import (
    Digest,
    PepperChange,
    RegistryClient,
    RegistrySecret,
    read_peppers,
)

__all__ = ["Caller"]  # what `authenticate` gives

STOP_SECONDS: Final = 2.0
"""A read that hangs on a dead network must not hold up the end of the process."""

REFRESH_SECONDS: Final = 0.5
"""A change is known in every process within 2 seconds, with room for a slow read."""

SECRETS_PER_CLIENT: Final = 2
"""So many comparisons are made for every request, however many secrets the client has, or whether it exists."""

PEPPER_CHANGES: Final = 200
"""So many secrets come under another pepper at a time: the database is not held up, the rest waits for its next use."""

MANY_CLIENTS: Final = 10_000
"""From so many on the collector is told to leave what is there alone: to look through 100,000 takes it 150 ms, in which
nobody is answered, and it finds nothing."""

REFRESH_EVENTS: Final = ("registry_refresh_failed", "registry_refresh_recovered")
CALL_EVENTS: Final = ("calls_not_written", "calls_written_again")
PEPPER_EVENTS: Final = ("pepper_change_failed", "pepper_change_recovered")

NOBODY: Final = RegistryClient("", "", is_active=False, allowance=Allowance("", None), epoch=0, secrets=())

log = structlog.get_logger("ecross_server.auth")


class CheckedClient(NamedTuple):
    """A client that has shown a good secret, and the life of the token that it may have for it."""

    client: RegistryClient
    secret_id: str
    issued_at: int
    expires_at: int
    secret_ends_at: float | None


@dataclass(slots=True)
class IssuedToken:
    """An access token and its remaining life in seconds; and whom it was given to, for what, under which id (`jti`).

    `secret_ends_at`, in seconds since the epoch: when the secret that was shown opens nothing any more, if that is set.
    """

    token: str = field(repr=False)
    expires_in: int
    client_id: str
    merchant_id: str
    secret_id: str
    token_id: str
    secret_ends_at: float | None


class AuthService:
    """Issues tokens and authenticates callers from memory alone. `start` keeps that memory up to date."""

    def __init__(
        self,
        *,
        registry: Registry,
        peppers_file: Path,
        signing_keys_file: Path,
        issuer: str,
        audience: str,
        lifetime_seconds: int,
        calls: CallMeter,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.registry = registry
        self.calls = calls
        self._keys = WatchedFile(
            signing_keys_file,
            lambda jwks, _: KeySet.from_document(
                jwks, signing_keys_file, issuer=issuer, audience=audience, clock=clock
            ),
            name="signing_keys",
            clock=clock,
        )
        self._peppers = WatchedFile(
            peppers_file, lambda content, now: read_peppers(content, peppers_file, now), name="peppers", clock=clock
        )
        self.on_peppers: list[Callable[[], None]] = []
        self._told_peppers = self.peppers
        self._lifetime = lifetime_seconds
        self._clock = clock
        nothing = (RegistrySecret(secrets.token_bytes(32), "", None, ""),)
        # What fills a client's secrets up, by how many it has.
        self._padding = [nothing * missing for missing in range(SECRETS_PER_CLIENT, -1, -1)]
        self._no_digest = secrets.token_bytes(32)
        self._missing_peppers: AbstractSet[str] = frozenset()
        self._pepper_changes: dict[str, PepperChange] = {}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def peppers(self) -> Peppers:
        """Those of this moment; what `on_peppers` holds is called when there are others."""
        return self._peppers.content

    @property
    def page_tokens(self) -> PageTokens:
        """What signs page tokens, under the keys of this moment: one that another process has just made is good."""
        self._keys.is_newer_than(self._keys.content)
        return self._keys.content.page_tokens

    def issue_access_token(self, client_id: str, client_secret: str, address: str = "") -> IssuedToken:
        """An access token for the client.

        Raises:
            InvalidClientError, RegistryStaleError: as `check_credentials`.
        """
        return self.sign(self.check_credentials(client_id, client_secret, address))

    def check_credentials(self, client_id: str, client_secret: str, address: str = "") -> CheckedClient:
        """The client, if the secret is one of its own, and the address one that it may ask from.

        Raises:
            InvalidClientError: if the secret is wrong, or client, merchant or secret are unknown, disabled or expired.
                All of these take the same steps. Likewise if the secret is right and the address is not.
            RegistryStaleError: if the credentials cannot be checked at the moment.
        """
        self.registry.require_fresh()
        for _ in range(2):
            before, peppers = self.registry.pepper_ids, self._peppers.content
            try:
                return self._check(client_id, client_secret, address, peppers)
            except InvalidClientError:
                # Where all peppers are known, which is nearly always, this is all. The registry may change meanwhile.
                if before <= peppers.keys.keys() and self.registry.pepper_ids <= peppers.keys.keys():
                    raise
            # A machine's file may lag behind the database. Whom that concerns must not show: it is all who fail.
            self._peppers.is_newer_than(peppers)
        raise RegistryStaleError

    def sign(self, checked: CheckedClient) -> IssuedToken:
        """The access token that was found to be due."""
        client, secret_id, issued_at, expires_at, secret_ends_at = checked
        token_id = random_hex()
        token = self._keys.content.sign(
            client_id=client.client_id,
            merchant_id=client.merchant_id,
            scope=client.allowance.scope,
            epoch=client.epoch,
            token_id=token_id,
            issued_at=issued_at,
            expires_at=expires_at,
        )
        return IssuedToken(
            token, expires_at - issued_at, client.client_id, client.merchant_id, secret_id, token_id, secret_ends_at
        )

    def authenticate(self, token: str) -> Caller:
        """The caller that a bearer token stands for.

        Raises:
            InvalidAccessTokenError: if it is malformed, forged, expired or revoked.
            RegistryStaleError: if it cannot be known whether it was revoked.
        """
        self.registry.require_fresh()
        keys = self._keys.content
        try:
            compact = token_bytes(token)
            digest = sha256(compact).digest()
            known = keys.found_good.find(digest)
            if (
                known is not None
                and known.not_before <= self._clock() < known.expires_at
                and self.registry.find(known.caller.client_id) is known.client
            ):
                return known.caller
            claims, keys = self._verify(keys, compact)
        except InvalidTokenError as error:
            if error.reason == "expired":
                raise InvalidAccessTokenError("expired", "The access token has expired.") from None
            raise InvalidAccessTokenError(error.reason) from None
        client = self.registry.find(claims.client_id)
        if client is None or not client.is_active or client.epoch != claims.epoch:
            raise InvalidAccessTokenError("revoked", "The access token was revoked.")
        scope, networks = client.allowance
        caller = Caller(client.client_id, client.merchant_id, common_scopes(claims.scope, scope), networks)
        not_before = max(claims.not_before, claims.issued_at)
        keys.found_good.remember(digest, KnownToken(client, caller, not_before, claims.expires_at))
        return caller

    def _verify(self, keys: KeySet, compact: bytes) -> tuple[Claims, KeySet]:
        try:
            return keys.verifier.verify(compact), keys
        except InvalidTokenError as error:
            # Another process may sign with a key that this one is to find within half a second.
            if error.reason != "bad_signature" or not self._keys.is_newer_than(keys):
                raise
        keys = self._keys.content
        return keys.verifier.verify(compact), keys

    def _check(self, client_id: str, client_secret: str, address: str, peppers: Peppers) -> CheckedClient:
        now = self._clock()
        client = self.registry.find(client_id) or NOBODY
        presented = peppers.digests(client_secret)
        found = None
        latest = now + self._lifetime
        expires_at = 0.0
        padding = self._padding[min(len(client.secrets), SECRETS_PER_CLIENT)]
        for secret in client.secrets + padding:
            digest, pepper_id, ends, _ = secret
            # A token does not outlive the secret that it was given for. Worked out before it is known whether it fits.
            ends_at = latest if ends is None or ends > latest else ends
            if compare_digest(digest, presented.get(pepper_id, self._no_digest)):
                found = secret
                expires_at = ends_at
        issued_at = int(now)
        evidence = presented[peppers.current]
        if found is None or not client.is_active or int(expires_at) <= issued_at:
            raise InvalidClientError(evidence)
        networks = client.allowance.networks
        if networks is not None and not networks.allow(address):
            raise InvalidClientError(evidence, (client.merchant_id, found.secret_id))
        if found.pepper_id != peppers.current and len(self._pepper_changes) < PEPPER_CHANGES:
            self._pepper_changes[found.secret_id] = PepperChange(
                found.secret_id, Digest(found.digest, found.pepper_id), Digest(evidence, peppers.current)
            )
        return CheckedClient(client, found.secret_id, issued_at, int(expires_at), found.ends_at)

    def start(self) -> None:
        """Read the registry, then keep it, the signing keys and the peppers up to date in threads of their own.

        Raises:
            DatabaseAwayError: if the registry cannot be read now.
        """
        self.registry.refresh()
        if len(self.registry) >= MANY_CLIENTS:
            gc.collect()
            gc.freeze()
        self._stopping.clear()
        # Several, because a write may have to wait for others, and the registry must not.
        self._threads = [
            threading.Thread(target=self._keep_doing, args=arguments, name=name, daemon=True)
            for name, *arguments in (
                ("registry", self.refresh, REFRESH_EVENTS),
                ("peppers", self.change_peppers, PEPPER_EVENTS),
                ("calls", self.calls.write_if_due, CALL_EVENTS, self.calls.write),
            )
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._stopping.set()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def refresh(self) -> None:
        """Take over what has changed in the signing keys' file, in the peppers' file and in the database.

        Peppers before the database: then a secret that left a pepper before that was taken away is known to have left.
        """
        self._keys.take_changes()
        self._peppers.take_changes()
        self._tell_peppers()
        self.registry.refresh()
        missing = self.registry.pepper_ids - self._peppers.content.keys.keys()
        if missing and missing != self._missing_peppers:
            log.error("peppers_missing", pepper_ids=sorted(missing))
        self._missing_peppers = missing

    def _tell_peppers(self) -> None:
        if self.peppers is not self._told_peppers:
            self._told_peppers = self.peppers
            for tell in self.on_peppers:
                tell()

    def change_peppers(self) -> None:
        """Have the secrets that were used under an older pepper kept under the current one.

        What gets lost on the way is simply done at the secret's next use.
        """
        if self._pepper_changes:
            changes, self._pepper_changes = self._pepper_changes, {}
            self.registry.change_peppers(changes.values())
            log.info("secrets_under_current_pepper", count=len(changes))

    def _keep_doing(
        self, act: Callable[[], None], events: tuple[str, str], at_the_end: Callable[[], None] = lambda: None
    ) -> None:
        failed, recovered = events
        is_failing = False
        while not self._stopping.wait(REFRESH_SECONDS):
            try:
                act()
            except Exception as error:  # a thread that ended would leave a service that looks healthy
                if not is_failing:
                    known = isinstance(error, DomainError)
                    reason = str(error) if known else None
                    log.error(failed, reason=reason, exc_info=not known)  # noqa: TRY400 - a known one needs no traceback
                is_failing = True
            else:
                if is_failing:
                    log.info(recovered)
                is_failing = False
        with contextlib.suppress(DomainError):
            at_the_end()

"""A client's secret is replaced by another one while both work; or at once, because it has leaked.

A client has two live secrets at most. What opens nothing any more is marked as ended when the next one is made, so the
registry never holds more than two of a client. Ending a secret ends no token that was given for it, unless it leaked:
see docs/decisions/0063.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from ecross_server.audit.rules import Actor
from ecross_server.audit.service import record_act
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.merchants import repository, rules
from ecross_server.merchants.errors import (
    ClientRevokedError,
    LastSecretError,
    MerchantDisabledError,
    NoRotationError,
    SecretEndedError,
    SecretInUseError,
    SecretNotFoundError,
    TooManySecretsError,
)
from ecross_server.merchants.models import Client, Secret
from ecross_server.merchants.rules import Peppers
from ecross_server.merchants.service import DONE, UNCHANGED, IssuedCredential, add_secret
from ecross_server.merchants.uses import SecretUses, meter_of

LIVE_SECRETS: Final = 2
MILLISECOND: Final = timedelta(milliseconds=1)

QUIET: Final = timedelta(days=1)
"""A secret that was not used for so long is taken for unused: no token lives longer."""

TOKENS_DIE_IN: Final = timedelta(seconds=5)
"""Every process knows of a raised epoch by then, or answers nobody."""


@dataclass(frozen=True, slots=True)
class RotatedCredential(IssuedCredential):
    """A second secret of a client, and the one that it replaces, if that still worked."""

    old: Secret | None


@dataclass(frozen=True, slots=True)
class Retirement:
    """What comes of retiring a secret: why somebody would be locked out, and how much each secret is used."""

    client: Client
    secret: Secret
    obstacles: tuple[SecretInUseError | LastSecretError, ...]
    meter: Sequence[SecretUses]


@dataclass(frozen=True, slots=True)
class EndedLeak:
    """What was ended of a client whose secret has leaked, when, and by when every token is dead."""

    client: Client
    ended: tuple[Secret, ...]
    ended_at: datetime
    tokens_dead_by: datetime


@dataclass(frozen=True, slots=True)
class LeakReceipt(IssuedCredential):
    """What was done about a leak: the new secret, those that were ended, when, and by when every token is dead."""

    ended: tuple[Secret, ...]
    ended_at: datetime
    tokens_dead_by: datetime


def rotate_credential(
    session: Session,
    client_id: str,
    *,
    peppers: Peppers,
    now: datetime,
    by: Actor,
    label: str | None = None,
    overlap: timedelta | None = None,
    retire_old_at: datetime | None = None,
) -> RotatedCredential:
    """A second secret of the client, beside the one that it is to replace.

    The old one ends after the overlap, or at the instant, or without either when somebody retires it, unless an end was
    planned before.

    Raises:
        ClientNotFoundError, ClientRevokedError, MerchantDisabledError: if the client can have no secret.
        TooManySecretsError: if two are live.
        InvalidInputError: for a label of the wrong form, or an instant that is not ahead.
    """
    if label is not None:
        rules.check_text("label", label, rules.LABEL_CHARACTERS)
    if retire_old_at is not None and retire_old_at <= now:
        raise InvalidInputError("retire-old-at must be ahead", (Fault("retire-old-at", "must be ahead"),))
    client, old = begin_adding(session, client_id, now=now)
    if old is not None and (end := retire_old_at if overlap is None else now + overlap) is not None:
        old.retires_at = end
    issued = add_newest(session, client, peppers, now, label)
    told = {} if old is None else {"old": old.id}
    if old is not None and old.retires_at is not None:
        told["retiresAt"] = rfc3339(old.retires_at)
    _record(session, client, "credentials.rotate", issued.secret, by=by, now=now, **told)
    return RotatedCredential(client, issued.secret, issued.client_secret, old)


def cancel_rotation(session: Session, client_id: str, *, now: datetime, by: Actor, force: bool = False) -> Client:
    """End the newer of two live secrets, and let the older one live on as if nothing had been planned.

    Raises:
        ClientNotFoundError, ClientRevokedError: if there is no such client any more.
        NoRotationError: if there are not two live secrets.
        SecretInUseError: if the newer one was used, unless that is not to matter.
    """
    client = _begin(session, client_id)
    live = live_secrets(client, now)
    if len(live) < LIVE_SECRETS:
        raise NoRotationError(client_id)
    old, new = live
    if new.last_used_at is not None and not force:
        raise SecretInUseError(new.id, new.last_used_at)
    old.retires_at = None
    new.status = "retired"
    _record(session, client, "credentials.cancel_rotation", new, by=by, now=now, kept=old.id)
    return client


def plan_retirement(session: Session, client_id: str, secret_id: str, *, now: datetime) -> Retirement:
    """What would come of retiring the secret. Nothing is changed.

    Raises:
        ClientNotFoundError, SecretNotFoundError: if there is no such client, or it has no such secret.
    """
    client = repository.get_client(session, client_id)
    secret = _secret_of(client, secret_id)
    return Retirement(client, secret, _obstacles(client, secret, now), meter_of(session, client, now=now))


def retire_secret(
    session: Session, client_id: str, secret_id: str, *, now: datetime, by: Actor, force: bool = False
) -> Client:
    """End a secret: no more tokens for it. Those that were given for it live on, for a day at most.

    Raises:
        ClientNotFoundError, SecretNotFoundError: as `plan_retirement`.
        SecretInUseError, LastSecretError: if it was used in the last day, or is the only live one, unless that is not
            to matter.
    """
    revision = repository.raise_revision(session)
    client = repository.get_client(session, client_id)
    secret = _secret_of(client, secret_id)
    outcome = UNCHANGED
    if secret in live_secrets(client, now):
        outcome = DONE
        for obstacle in _obstacles(client, secret, now):
            if not force:
                raise obstacle
        client.revision = revision
        secret.status = "retired"
    _record(session, client, "credentials.retire", secret, by=by, now=now, outcome=outcome)
    return client


def replace_leaked(
    session: Session,
    client_id: str,
    secret_id: str | None = None,
    *,
    peppers: Peppers,
    now: datetime,
    by: Actor,
    label: str | None = None,
) -> LeakReceipt:
    """End a secret that others know, or all of the client's, with every token of the client; and make a new one.

    Raises:
        ClientNotFoundError, SecretNotFoundError: as `plan_retirement`.
        ClientRevokedError: if the client is revoked: nothing is left to end.
        SecretEndedError: if the secret that is named is none of the live ones.
        InvalidInputError: for a label of the wrong form.
    """
    if label is not None:
        rules.check_text("label", label, rules.LABEL_CHARACTERS)
    client, ended = _end_live(session, client_id, secret_id, now)
    issued = add_newest(session, client, peppers, now, label)
    _record(session, client, "credentials.leaked", issued.secret, by=by, now=now, ended=_ids(ended))
    return LeakReceipt(client, issued.secret, issued.client_secret, ended, now, now + TOKENS_DIE_IN)


def end_leaked(
    session: Session, client_id: str, secret_id: str | None = None, *, now: datetime, by: Actor
) -> EndedLeak:
    """The same without a new secret, which somebody else is to get.

    Raises:
        ClientNotFoundError, SecretNotFoundError, ClientRevokedError, SecretEndedError: as `replace_leaked`.
    """
    client, ended = _end_live(session, client_id, secret_id, now)
    record_act(
        session, actor=by, action="credentials.leaked", merchant_id=client.merchant_id, client_id=client.id, now=now,
        ended=_ids(ended),
    )  # fmt: skip
    return EndedLeak(client, ended, now, now + TOKENS_DIE_IN)


def begin_adding(session: Session, client_id: str, *, now: datetime) -> tuple[Client, Secret | None]:
    """The client, which may have another secret, while no other act is under way; and its live one, if there is one.

    Raises:
        ClientNotFoundError: if there is no such client.
        ClientRevokedError, MerchantDisabledError, TooManySecretsError: as `require_room`.
    """
    client = _begin(session, client_id)
    old = require_room(client, now)
    _mark_ended(client, now)
    return client, old


def require_room(client: Client, now: datetime) -> Secret | None:
    """See that the client may have another secret; its live one, if there is one.

    Raises:
        ClientRevokedError, MerchantDisabledError: if it can have no secret.
        TooManySecretsError: if two are live.
    """
    if client.status == "revoked":
        raise ClientRevokedError(client.id)
    if client.merchant.status == "disabled":
        raise MerchantDisabledError(client.merchant_id)
    live = live_secrets(client, now)
    if len(live) >= LIVE_SECRETS:
        raise TooManySecretsError(client.id, [secret.id for secret in live])
    return live[0] if live else None


def add_newest(
    session: Session,
    client: Client,
    peppers: Peppers,
    now: datetime,
    label: str | None,
    *,
    expires_in: timedelta | None = None,
) -> IssuedCredential:
    """A fresh secret, dated after all others whatever the clocks: which one is new is known by that."""
    created_at = max(now, *(secret.created_at + MILLISECOND for secret in client.secrets), now)
    return add_secret(session, client, peppers=peppers, now=created_at, label=label, expires_in=expires_in)


def live_secrets(client: Client, now: datetime) -> list[Secret]:
    """The client's secrets that are not ended, the oldest first."""
    return [secret for secret in client.secrets if _status(secret, now) == "active"]


def _begin(session: Session, client_id: str) -> Client:
    """The client as it is while no other act is under way, its change announced."""
    revision = repository.raise_revision(session)
    client = repository.get_client(session, client_id)
    if client.status == "revoked":
        raise ClientRevokedError(client_id)
    client.revision = revision
    return client


def _end_live(
    session: Session, client_id: str, secret_id: str | None, now: datetime
) -> tuple[Client, tuple[Secret, ...]]:
    client = _begin(session, client_id)
    live = live_secrets(client, now)
    if secret_id is not None:
        secret = _secret_of(client, secret_id)
        if secret not in live:
            raise SecretEndedError(client_id)
        live = [secret]
    for secret in live:
        secret.status = "revoked"
    _mark_ended(client, now)
    client.epoch += 1
    return client, tuple(live)


def _ids(secrets: Sequence[Secret]) -> str | None:
    return ", ".join(secret.id for secret in secrets) or None


def _mark_ended(client: Client, now: datetime) -> None:
    for secret in client.secrets:
        secret.status = _status(secret, now)


def _status(secret: Secret, now: datetime) -> str:
    return rules.shown_status(secret.status, secret.expires_at, secret.retires_at, now)


def _secret_of(client: Client, secret_id: str) -> Secret:
    for secret in client.secrets:
        if secret.id == secret_id:
            return secret
    raise SecretNotFoundError(client.id)


def _obstacles(client: Client, secret: Secret, now: datetime) -> tuple[SecretInUseError | LastSecretError, ...]:
    live = live_secrets(client, now)
    if client.status == "revoked" or secret not in live:
        return ()
    used_at = secret.last_used_at
    in_use = () if used_at is None or used_at <= now - QUIET else (SecretInUseError(secret.id, used_at),)
    stays = any(other.retires_at is None for other in live if other is not secret)
    last = () if stays else (LastSecretError(secret.id),)
    return (*in_use, *last)


def _record(
    session: Session,
    client: Client,
    action: str,
    secret: Secret,
    *,
    by: Actor,
    now: datetime,
    outcome: str = DONE,
    **details: object,
) -> None:
    record_act(
        session, actor=by, action=action, merchant_id=client.merchant_id, client_id=client.id, secret_id=secret.id,
        now=now, outcome=outcome, **details,
    )  # fmt: skip

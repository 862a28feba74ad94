"""What a representative does with merchants and credentials, and what a registry needs to know of them.

Every act that changes what a client may do raises the registry's revision first, in the same transaction: the row's
lock puts such acts in a line, so none of them works on what another is changing. Secrets leave here once, in the answer
to the act that made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from sys import intern  # equal texts of many clients are kept once

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ecross_server.kit.identifiers import BASE32, random_text
from ecross_server.kit.private_files import UnsafeFileError, read_private_json
from ecross_server.merchants import repository, rules
from ecross_server.merchants.errors import MerchantDisabledError, MerchantExistsError
from ecross_server.merchants.models import Client, Merchant, Secret
from ecross_server.merchants.rules import Peppers

__all__ = ["Client", "Merchant", "Secret"]  # the values that the functions below give


@dataclass(frozen=True, slots=True)
class IssuedCredential:
    """A new client or secret. `client_secret` is to be had here and never again."""

    client: Client
    secret: Secret
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegistryClient:
    """All that the token path and the bearer check need of one client.

    `secrets` holds the digest, the pepper's id and the expiry (seconds since the epoch) of each active secret.
    """

    client_id: str
    merchant_id: str
    is_active: bool
    scope: str
    epoch: int
    secrets: tuple[tuple[bytes, str, float | None], ...] = field(repr=False)


def load_peppers(path: Path) -> Peppers:
    """The peppers that the file holds.

    Raises:
        UnavailableError: if it cannot be read.
        UnsafeFileError: if others can read it, or it does not hold peppers.
    """
    content = read_private_json(path)
    try:
        return Peppers.from_document(content)
    except ValueError:
        raise UnsafeFileError(f"The file {path} does not hold peppers. Restore it from a backup.") from None


def has_credentials(session: Session) -> bool:
    """Whether any secret was ever issued: without the peppers none of them could be checked again."""
    return repository.has_secrets(session)


def register_merchant(session: Session, merchant_id: str, name: str, *, now: datetime) -> Merchant:
    """Register a merchant, without credentials yet.

    Raises:
        InvalidInputError: for an id or name of the wrong form.
        MerchantExistsError: if the id is taken.
    """
    rules.check_merchant_id(merchant_id)
    rules.check_text("name", name, rules.NAME_CHARACTERS)
    if repository.find_merchant(session, merchant_id) is not None:
        raise MerchantExistsError(merchant_id)
    merchant = Merchant(id=merchant_id, name=name, status="active", created_at=now)
    session.add(merchant)
    try:
        session.flush()
    except IntegrityError:  # another process was faster
        raise MerchantExistsError(merchant_id) from None
    return merchant


def list_merchants(session: Session) -> Sequence[Merchant]:
    """All merchants, ordered by id."""
    return repository.list_merchants(session)


def show_merchant(session: Session, merchant_id: str) -> tuple[Merchant, Sequence[Client]]:
    """A merchant with its clients and their secrets."""
    return repository.get_merchant(session, merchant_id), repository.list_clients(session, merchant_id)


def disable_merchant(session: Session, merchant_id: str) -> Merchant:
    """End a merchant's access: no new tokens, and every live token dies. Doing it twice changes nothing more."""
    revision = repository.raise_revision(session)
    merchant = repository.get_merchant(session, merchant_id)
    if merchant.status != "disabled":
        merchant.status = "disabled"
        for client in repository.list_clients(session, merchant_id):
            client.epoch += 1
            client.revision = revision
    return merchant


def enable_merchant(session: Session, merchant_id: str) -> Merchant:
    """Let a disabled merchant ask for tokens again. Tokens from before the disabling stay dead."""
    revision = repository.raise_revision(session)
    merchant = repository.get_merchant(session, merchant_id)
    if merchant.status != "active":
        merchant.status = "active"
        for client in repository.list_clients(session, merchant_id):
            client.revision = revision
    return merchant


def issue_credential(
    session: Session,
    merchant_id: str,
    *,
    peppers: Peppers,
    now: datetime,
    label: str | None = None,
    expires_in: timedelta | None = None,
) -> IssuedCredential:
    """A new client of the merchant with its first secret.

    Raises:
        MerchantNotFoundError: if there is no such merchant.
        MerchantDisabledError: if it is disabled.
        InvalidInputError: for a label of the wrong form.
    """
    if label is not None:
        rules.check_text("label", label, rules.LABEL_CHARACTERS)
    revision = repository.raise_revision(session)
    merchant = repository.get_merchant(session, merchant_id)
    if merchant.status == "disabled":
        raise MerchantDisabledError(merchant_id)
    client_secret = rules.new_client_secret()
    client = Client(
        id=rules.new_client_id(merchant_id),
        merchant_id=merchant_id,
        status="active",
        scope=rules.MERCHANT_SCOPE,
        epoch=1,
        revision=revision,
        created_at=now,
    )
    secret = Secret(
        id=f"sec_{random_text(13, BASE32)}",
        client_id=client.id,
        label=label,
        digest=peppers.digest(client_secret),
        pepper_id=peppers.current,
        status="active",
        created_at=now,
        expires_at=None if expires_in is None else now + expires_in,
    )
    client.secrets.append(secret)
    session.add(client)
    session.flush()
    return IssuedCredential(client, secret, client_secret)


def list_credentials(session: Session, merchant_id: str | None = None) -> Sequence[Client]:
    """All clients with their secrets, or one merchant's.

    Raises:
        MerchantNotFoundError: if a merchant is named that does not exist.
    """
    if merchant_id is not None:
        repository.get_merchant(session, merchant_id)
    return repository.list_clients(session, merchant_id)


def revoke_client(session: Session, client_id: str) -> Client:
    """End a client for good: its secrets open nothing any more and its tokens die.

    Raises:
        ClientNotFoundError: if there is no such client.
    """
    revision = repository.raise_revision(session)
    client = repository.get_client(session, client_id)
    if client.status != "revoked":
        client.status = "revoked"
        client.epoch += 1
        client.revision = revision
        for secret in client.secrets:
            secret.status = "revoked"
    return client


def read_registry_changes(session: Session, since: int) -> tuple[int, list[RegistryClient]]:
    """The present revision, and every client changed after revision `since` (0: all of them)."""
    # The revision is read first: a change that comes between is then read again, never missed.
    revision = repository.get_revision(session)
    if revision == since:
        return revision, []
    clients: dict[str, RegistryClient] = {}
    for row in repository.stream_registry_rows(session, since if since < revision else 0):
        known = clients.get(row.client_id)
        secrets = known.secrets if known else ()
        if row.digest is not None and row.pepper_id is not None and row.secret_status == "active":  # noqa: S105 - a status
            expiry = None if row.expires_at is None else row.expires_at.timestamp()
            secrets = (*secrets, (row.digest, intern(row.pepper_id), expiry))
        is_active = row.merchant_status == "active" and row.client_status == "active"
        clients[row.client_id] = RegistryClient(
            row.client_id, intern(row.merchant_id), is_active, intern(row.scope), row.epoch, secrets
        )
    return revision, list(clients.values())

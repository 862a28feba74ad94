"""Every query about merchants, clients and secrets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session, selectinload

from ecross_server.merchants.errors import ClientNotFoundError, MerchantNotFoundError
from ecross_server.merchants.models import Client, Merchant, RegistryRevision, Secret


class RegistryRow(NamedTuple):
    """A client with one of its secrets, as the registry needs it."""

    client_id: str
    merchant_id: str
    merchant_status: str
    client_status: str
    scope: str
    epoch: int
    digest: bytes | None
    pepper_id: str | None
    secret_status: str | None
    expires_at: datetime | None


def find_merchant(session: Session, merchant_id: str) -> Merchant | None:
    return session.get(Merchant, merchant_id)


def get_merchant(session: Session, merchant_id: str) -> Merchant:
    """The merchant as it is now, also where this session has seen it before: an act decides on it under its lock."""
    merchant = session.get(Merchant, merchant_id, populate_existing=True)
    if merchant is None:
        raise MerchantNotFoundError(merchant_id)
    return merchant


def has_secrets(session: Session) -> bool:
    """Whether any secret was ever issued."""
    return session.execute(select(Secret.id).limit(1)).first() is not None


def list_merchants(session: Session) -> Sequence[Merchant]:
    return session.scalars(select(Merchant).order_by(Merchant.id)).all()


def get_client(session: Session, client_id: str) -> Client:
    """The client as it is now, as `get_merchant`."""
    client = session.get(Client, client_id, populate_existing=True)
    if client is None:
        raise ClientNotFoundError(client_id)
    return client


def list_clients(session: Session, merchant_id: str | None) -> Sequence[Client]:
    """All clients as they are now, or one merchant's, with their secrets."""
    query = (
        select(Client)
        .options(selectinload(Client.secrets))
        .order_by(Client.merchant_id, Client.created_at, Client.id)
        .execution_options(populate_existing=True)
    )
    if merchant_id is not None:
        query = query.where(Client.merchant_id == merchant_id)
    return session.scalars(query).all()


def raise_revision(session: Session) -> int:
    """The number of a new change. Held against other writers until the commit."""
    return session.execute(
        update(RegistryRevision)
        .values(value=RegistryRevision.value + 1)
        .returning(RegistryRevision.value)
        .execution_options(synchronize_session=False)
    ).scalar_one()


def get_revision(session: Session) -> int:
    return session.execute(select(RegistryRevision.value)).scalar_one()


def stream_registry_rows(session: Session, since: int) -> Iterator[RegistryRow]:
    """A row per secret of every client changed after the revision; a client without one has one row, without it.

    They come a thousand at a time: all of 100,000 clients at once would take 40 MB that never go back.
    """
    rows = session.execute(
        select(
            Client.id, Client.merchant_id, Merchant.status, Client.status, Client.scope, Client.epoch,
            Secret.digest, Secret.pepper_id, Secret.status, Secret.expires_at,
        )
        .join(Merchant, Merchant.id == Client.merchant_id)
        .outerjoin(Secret, Secret.client_id == Client.id)
        .where(Client.revision > since)
        .order_by(Client.id, Secret.created_at, Secret.id)
        .execution_options(yield_per=1000)
    )  # fmt: skip
    return map(RegistryRow._make, rows)

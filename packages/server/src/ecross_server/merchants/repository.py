"""Every query about merchants, clients and secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Case, ColumnElement, and_, bindparam, case, delete, func, or_, select, text, update
from sqlalchemy.orm import Session, selectinload
from sqlalchemy.sql.dml import ReturningUpdate

from ecross_server.kit.database import UtcDateTime
from ecross_server.merchants.errors import ClientNotFoundError, MerchantNotFoundError
from ecross_server.merchants.models import Client, Merchant, RegistryRevision, Secret, SecretUse

BATCH: Final = 500
"""So many ids in a statement: databases take no endless lists."""


class Digest(NamedTuple):
    """What is kept of a secret."""

    digest: bytes
    pepper_id: str


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
    retires_at: datetime | None
    secret_id: str | None


LAST_USE: Final = (
    update(Secret)
    .where(
        Secret.id == bindparam("secret"),
        or_(Secret.last_used_at.is_(None), Secret.last_used_at < bindparam("at", type_=UtcDateTime)),
    )
    .values(last_used_at=bindparam("at", type_=UtcDateTime), last_used_address=bindparam("address"))
)
HOURLY_USE: Final = text(
    "INSERT INTO secret_uses (secret_id, hour, tokens) VALUES (:secret, :hour, :tokens) "
    "ON CONFLICT (secret_id, hour) DO UPDATE SET tokens = secret_uses.tokens + excluded.tokens"
)


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


def count_live_secrets(session: Session, now: datetime) -> dict[str, int]:
    """So many live secrets are kept under each pepper; also none, where all have run out that were not ended."""
    rows = session.execute(
        select(Secret.pepper_id, func.sum(case((_has_not_run_out(now), 1), else_=0)))
        .where(Secret.status == "active")
        .group_by(Secret.pepper_id)
        .order_by(Secret.pepper_id)
    )
    return {pepper_id: int(count) for pepper_id, count in rows}


def end_secrets(session: Session, pepper_id: str, *, now: datetime, revision: int) -> None:
    """End every secret under the pepper, each as what it is: run out, or taken away."""
    is_active = (Secret.pepper_id == pepper_id, Secret.status == "active")
    status = case((Secret.retires_at <= now, "retired"), (Secret.expires_at <= now, "expired"), else_="revoked")
    _stamp(session, session.scalars(_change_secrets(*is_active, status=status)).all(), revision)


def replace_digest(session: Session, secret_id: str, old: Digest, new: Digest, *, revision: int) -> None:
    """Keep the secret under another pepper, unless somebody was faster or has ended it."""
    is_as_read = (
        Secret.id == secret_id, Secret.digest == old.digest, Secret.pepper_id == old.pepper_id,
        Secret.status == "active",
    )  # fmt: skip
    changed = session.scalars(_change_secrets(*is_as_read, digest=new.digest, pepper_id=new.pepper_id)).all()
    _stamp(session, changed, revision)


def _change_secrets(*where: ColumnElement[bool], **values: str | bytes | Case[str]) -> ReturningUpdate[str]:
    return (
        update(Secret)
        .where(*where)
        .values(**values)
        .returning(Secret.client_id)
        .execution_options(synchronize_session=False)
    )


def _stamp(session: Session, client_ids: Sequence[str], revision: int) -> None:
    for start in range(0, len(client_ids), BATCH):
        session.execute(
            update(Client)
            .where(Client.id.in_(client_ids[start : start + BATCH]))
            .values(revision=revision)
            .execution_options(synchronize_session=False)
        )


def raise_revision(session: Session) -> int:
    """The number of a new change. Held against other writers until the commit."""
    return session.execute(
        update(RegistryRevision)
        .values(value=RegistryRevision.value + 1)
        .returning(RegistryRevision.value)
        .execution_options(synchronize_session=False)
    ).scalar_one()


def hold_revision(session: Session) -> None:
    """Wait for acts that are under way, and hold up others until the commit, without a new change."""
    session.execute(select(RegistryRevision.value).with_for_update())


def set_last_uses(session: Session, uses: Sequence[Mapping[str, Any]]) -> None:
    """Set when and from where each `secret` was last used, if nothing later is known."""
    if uses:
        session.connection().execute(LAST_USE, uses)


def add_hourly_uses(session: Session, uses: Sequence[Mapping[str, Any]]) -> None:
    """Add so many `tokens` to what each `secret` was used for in the `hour`."""
    if uses:
        session.connection().execute(HOURLY_USE, uses)


def remove_hourly_uses(session: Session, before: int) -> None:
    """Forget the uses of all earlier hours."""
    session.execute(delete(SecretUse).where(SecretUse.hour < before).execution_options(synchronize_session=False))


def sum_hourly_uses(session: Session, secret_ids: Sequence[str], since: Sequence[int]) -> dict[str, list[int]]:
    """So many tokens each of the secrets was used for since each of the hours; a secret without uses is left out."""
    sums = [func.sum(case((SecretUse.hour >= hour, SecretUse.tokens), else_=0)) for hour in since]
    rows = session.execute(
        select(SecretUse.secret_id, *sums).where(SecretUse.secret_id.in_(secret_ids)).group_by(SecretUse.secret_id)
    )
    return {secret_id: [int(count) for count in counts] for secret_id, *counts in rows}


def find_secrets(session: Session, digests: Sequence[bytes]) -> Iterator[tuple[Secret, Client, Merchant]]:
    """The secrets that are kept under these digests, alive or not, each with its client and merchant."""
    for start in range(0, len(digests), BATCH):
        rows = session.execute(
            select(Secret, Client, Merchant)
            .join(Client, Client.id == Secret.client_id)
            .join(Merchant, Merchant.id == Client.merchant_id)
            .where(Secret.digest.in_(digests[start : start + BATCH]))
        )
        yield from map(tuple, rows)


def _has_not_run_out(now: datetime) -> ColumnElement[bool]:
    return and_(
        or_(Secret.expires_at.is_(None), Secret.expires_at > now),
        or_(Secret.retires_at.is_(None), Secret.retires_at > now),
    )


def get_revision(session: Session) -> int:
    return session.execute(select(RegistryRevision.value)).scalar_one()


def stream_registry_rows(session: Session, since: int) -> Iterator[RegistryRow]:
    """A row per secret of every client changed after the revision; a client without one has one row, without it.

    They come a thousand at a time: all of 100,000 clients at once would take 40 MB that never go back.
    """
    rows = session.execute(
        select(
            Client.id, Client.merchant_id, Merchant.status, Client.status, Client.scope, Client.epoch,
            Secret.digest, Secret.pepper_id, Secret.status, Secret.expires_at, Secret.retires_at, Secret.id,
        )
        .join(Merchant, Merchant.id == Client.merchant_id)
        .outerjoin(Secret, Secret.client_id == Client.id)
        .where(Client.revision > since)
        .order_by(Client.id, Secret.created_at, Secret.id)
        .execution_options(yield_per=1000)
    )  # fmt: skip
    return map(RegistryRow._make, rows)


def count_active(session: Session) -> tuple[int, int]:
    """So many active clients, and active secrets."""
    clients = select(func.count()).select_from(Client).where(Client.status == "active").scalar_subquery()
    secrets = select(func.count()).select_from(Secret).where(Secret.status == "active").scalar_subquery()
    row = session.execute(select(clients, secrets)).one()
    return row[0], row[1]


def get_highest_epoch(session: Session) -> int:
    return session.execute(select(func.coalesce(func.max(Client.epoch), 0))).scalar_one()


def set_everything_changed(session: Session, *, revision: int, epoch: int) -> None:
    """Give every client the epoch, and the revision of a change to all of them."""
    for statement in (
        update(RegistryRevision).values(value=revision),
        update(Client).values(revision=revision, epoch=epoch),
    ):
        session.execute(statement.execution_options(synchronize_session=False))

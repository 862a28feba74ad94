"""Every query about merchants, clients and secrets."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Case, ColumnElement, String, and_, bindparam, case, delete, func, or_, select, text, update
from sqlalchemy.orm import Session, joinedload, selectinload
from sqlalchemy.sql.dml import ReturningUpdate

from ecross_server.kit.database import UtcDateTime
from ecross_server.merchants.errors import ClientNotFoundError, MerchantNotFoundError
from ecross_server.merchants.models import Client, ClientCall, Merchant, RegistryRevision, Secret, SecretUse

BATCH: Final = 500
"""So many ids in a statement: databases take no endless lists."""


class CallSum(NamedTuple):
    """So many calls that needed the scope came from the address, the last ones on the day."""

    scope: str
    address: str
    calls: int
    last_day: int


class Digest(NamedTuple):
    """What is kept of a secret."""

    digest: bytes
    pepper_id: str


class Standing(NamedTuple):
    """A merchant's active clients and live secrets in numbers, and when any of its secrets was last used."""

    clients: int
    live_secrets: int
    last_used_at: datetime | None


class HourlyUse(NamedTuple):
    """So many tokens were given for a secret in an hour, which is told by its number since 1970."""

    client_id: str
    secret_id: str
    hour: int
    tokens: int


class RegistryRow(NamedTuple):
    """A client with one of its secrets, as the registry needs it."""

    client_id: str
    merchant_id: str
    merchant_status: str
    client_status: str
    scope: str
    allowed_networks: str | None
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
    .values(
        last_used_at=bindparam("at", type_=UtcDateTime),
        last_used_address=bindparam("address"),
        first_used_at=case(
            (Secret.last_used_at.is_(None), bindparam("first_at", type_=UtcDateTime)), else_=Secret.first_used_at
        ),
        first_used_address=case(
            (Secret.last_used_at.is_(None), bindparam("first_address", type_=String)), else_=Secret.first_used_address
        ),
    )
)
HOURLY_USE: Final = text(
    "INSERT INTO secret_uses (secret_id, hour, tokens) VALUES (:secret, :hour, :tokens) "
    "ON CONFLICT (secret_id, hour) DO UPDATE SET tokens = secret_uses.tokens + excluded.tokens"
)

DAILY_CALLS: Final = text(
    "INSERT INTO client_calls (client_id, day, scope, address, calls) VALUES (:client, :day, :scope, :address, :calls) "
    "ON CONFLICT (client_id, day, scope, address) DO UPDATE SET calls = client_calls.calls + excluded.calls"
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
    """Set when and from where each `secret` was last used, if nothing later is known; and first, if nothing was."""
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


def list_hourly_uses(
    session: Session, since: int, *, merchant_id: str | None = None, client_id: str | None = None
) -> list[HourlyUse]:
    """The uses of a merchant's or a client's secrets in each hour from that one on, in their order."""
    query = (
        select(Secret.client_id, SecretUse.secret_id, SecretUse.hour, SecretUse.tokens)
        .join(Secret, Secret.id == SecretUse.secret_id)
        .join(Client, Client.id == Secret.client_id)
        .where(SecretUse.hour >= since)
        .order_by(SecretUse.hour, Secret.created_at, Secret.id)
    )
    if merchant_id is not None:
        query = query.where(Client.merchant_id == merchant_id)
    if client_id is not None:
        query = query.where(Client.id == client_id)
    return [HourlyUse(*row) for row in session.execute(query)]


def search_merchants(
    session: Session,
    *,
    text: str | None,
    status: str | None,
    after: str,
    limit: int,
    condition: ColumnElement[bool] | None = None,
) -> Sequence[Merchant]:
    """So many merchants by id, from behind one on.

    Those with the text in id or name, or at the beginning of a client id; with the status; with a secret that fulfils
    the condition.
    """
    query = select(Merchant).where(Merchant.id > after).order_by(Merchant.id).limit(limit)
    if text:
        lower = text.lower()
        of_merchant = select(Client.id).where(Client.merchant_id == Merchant.id)
        query = query.where(
            or_(
                Merchant.id.contains(text.upper(), autoescape=True),
                func.lower(Merchant.name).contains(lower, autoescape=True),
                of_merchant.where(Client.id.startswith(lower, autoescape=True)).exists(),
            )
        )
    if status is not None:
        query = query.where(Merchant.status == status)
    if condition is not None:
        has_one = select(Secret.id).join(Client, Client.id == Secret.client_id)
        query = query.where(has_one.where(Client.merchant_id == Merchant.id, condition).exists())
    return session.scalars(query).all()


def read_standings(session: Session, merchant_ids: Sequence[str], now: datetime) -> dict[str, Standing]:
    """How each of the merchants stands; one without clients is left out."""
    rows = session.execute(
        select(
            Client.merchant_id,
            func.count(func.distinct(case((Client.status == "active", Client.id)))),
            func.sum(case((is_live(now), 1), else_=0)),
            func.max(Secret.last_used_at),
        )
        .join(Merchant, Merchant.id == Client.merchant_id)
        .outerjoin(Secret, Secret.client_id == Client.id)
        .where(Client.merchant_id.in_(merchant_ids))
        .group_by(Client.merchant_id)
    )
    return {merchant_id: Standing(clients, int(live), last) for merchant_id, clients, live, last in rows}


def count_secrets(session: Session, conditions: Sequence[ColumnElement[bool]]) -> list[int]:
    """So many secrets fulfil each of the conditions, which may be on their clients and merchants as well."""
    sums = [func.coalesce(func.sum(case((condition, 1), else_=0)), 0) for condition in conditions]
    row = session.execute(
        select(*sums)
        .select_from(Secret)
        .join(Client, Client.id == Secret.client_id)
        .join(Merchant, Merchant.id == Client.merchant_id)
        .where(Secret.status == "active")
    ).one()
    return [int(count) for count in row]


def is_live(now: datetime) -> ColumnElement[bool]:
    """Whether a secret opens anything, in a query that has its client and its merchant as well."""
    are_active = (Secret.status == "active", Client.status == "active", Merchant.status == "active")
    return and_(*are_active, _has_not_run_out(now))


def list_clients_by_id(session: Session, client_ids: Collection[str]) -> Sequence[Client]:
    """Those of the clients that there are, each with its merchant and its secrets."""
    query = (
        select(Client)
        .options(joinedload(Client.merchant), selectinload(Client.secrets))
        .where(Client.id.in_(client_ids))
    )
    return session.scalars(query.execution_options(populate_existing=True)).all()


def add_daily_calls(session: Session, calls: Sequence[Mapping[str, Any]]) -> None:
    """Add so many `calls` to the `client`'s on the `day` that needed the `scope` and came from the `address`."""
    if calls:
        session.connection().execute(DAILY_CALLS, calls)


def remove_daily_calls(session: Session, before: int) -> None:
    """Forget the calls of all earlier days."""
    session.execute(delete(ClientCall).where(ClientCall.day < before).execution_options(synchronize_session=False))


def sum_daily_calls(session: Session, client_id: str, since: int) -> list[CallSum]:
    """The client's calls since the day, by scope and address."""
    rows = session.execute(
        select(ClientCall.scope, ClientCall.address, func.sum(ClientCall.calls), func.max(ClientCall.day))
        .where(ClientCall.client_id == client_id, ClientCall.day >= since)
        .group_by(ClientCall.scope, ClientCall.address)
        .order_by(ClientCall.scope, ClientCall.address)
    )
    return [CallSum(scope, address, int(calls), last_day) for scope, address, calls, last_day in rows]


def find_first_call_day(session: Session, client_id: str, since: int) -> int | None:
    """The first day since the given one on which the client made a call."""
    return session.scalar(
        select(func.min(ClientCall.day)).where(ClientCall.client_id == client_id, ClientCall.day >= since)
    )


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
            Client.id, Client.merchant_id, Merchant.status, Client.status, Client.scope, Client.allowed_networks,
            Client.epoch, Secret.digest, Secret.pepper_id, Secret.status, Secret.expires_at, Secret.retires_at,
            Secret.id,
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

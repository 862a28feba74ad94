"""What a representative does with merchants and credentials, and what a registry needs to know of them.

Every act that changes what a client may do raises the registry's revision first, in the same transaction: the row's
lock puts such acts in a line, so none of them works on what another is changing. Secrets leave here once, in the answer
to the act that made them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sys import intern  # equal texts of many clients are kept once
from typing import Any, Final, NamedTuple

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ecross_server.audit.rules import LONGEST_TEXT, Actor
from ecross_server.audit.service import record_act
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.database import Database
from ecross_server.kit.identifiers import BASE32, random_text
from ecross_server.kit.key_files import STARTS_AT, moment, shown_moment, turn_to_change
from ecross_server.kit.private_files import UnsafeFileError, read_private_json
from ecross_server.merchants import repository, rules
from ecross_server.merchants.errors import (
    MerchantDisabledError,
    MerchantExistsError,
    PepperInUseError,
    PepperNotFoundError,
)
from ecross_server.merchants.models import Client, Merchant, Secret
from ecross_server.merchants.repository import Digest
from ecross_server.merchants.rules import UNRESTRICTED, Allowance, Peppers, Restrictions, Sighting, allowance_of
from ecross_server.operators import service as operators

__all__ = ["Client", "Digest", "Merchant", "Secret"]  # the values that the functions below give

DONE: Final = "done"
UNCHANGED: Final = "unchanged"
"""The outcome of an act that found all as it was to be."""


LOOKED_UP_AT_ONCE: Final = 500
"""So many texts at a time are compared with the secrets that are kept."""

EPOCHS_BEGIN: Final = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class IssuedCredential:
    """A new client or secret. `client_secret` is to be had here and never again."""

    client: Client
    secret: Secret
    client_secret: str = field(repr=False)


class RegistrySecret(NamedTuple):
    """All that the token path needs of one active secret. It ends at seconds since the epoch, or never."""

    digest: bytes
    pepper_id: str
    ends_at: float | None
    secret_id: str

    def __repr__(self) -> str:
        return f"RegistrySecret(secret_id={self.secret_id!r})"


@dataclass(frozen=True, slots=True)
class RegistryClient:
    """All that the token path and the bearer check need of one client."""

    client_id: str
    merchant_id: str
    is_active: bool
    allowance: Allowance
    epoch: int
    secrets: tuple[RegistrySecret, ...] = field(repr=False)


class PepperChange(NamedTuple):
    """A secret to be kept under another pepper, and what it was found under."""

    secret_id: str
    old: Digest
    new: Digest

    def __repr__(self) -> str:
        return f"PepperChange(secret_id={self.secret_id!r})"


@dataclass(frozen=True, slots=True)
class PepperUse:
    """What may be shown of a pepper, and how many live secrets and operators' passwords are kept under it."""

    pepper_id: str
    status: str
    created_at: datetime | None
    secrets: int
    starts_at: datetime | None
    operators: int = 0


class RecognizedSecret(NamedTuple):
    """Whose a secret is that was found somewhere, and whether it opens anything at this moment."""

    client_id: str
    secret_id: str
    is_live: bool


class Finding(NamedTuple):
    """What is known of one."""

    sighting: Sighting
    known: RecognizedSecret | None


class RegistryPosition(NamedTuple):
    """How far the registry's changes have come, and the highest epoch of any client."""

    revision: int
    highest_epoch: int


def load_peppers(path: Path) -> Peppers:
    """The peppers that the file holds.

    Raises:
        UnavailableError: if it cannot be read.
        UnsafeFileError: if others can read it, or it does not hold peppers.
    """
    return read_peppers(read_private_json(path), path)


def read_peppers(content: Mapping[str, Any], path: Path, now: float | None = None) -> Peppers:
    """The peppers of what was read from the file.

    Raises:
        UnsafeFileError: if it does not hold peppers.
    """
    try:
        return Peppers.from_document(content, now)
    except ValueError:
        raise UnsafeFileError(f"The file {path} does not hold peppers. Restore it from a backup.") from None


def list_peppers(session: Session, path: Path, *, now: datetime) -> list[PepperUse]:
    """The peppers of the file, in its order, with how many secrets and operators need each; then those that it lacks.

    Raises:
        UnavailableError, UnsafeFileError: as `load_peppers`.
    """
    content = read_private_json(path)
    peppers = read_peppers(content, path, now.timestamp())
    secrets = repository.count_live_secrets(session, now)
    return _shown(content["peppers"], peppers, secrets, operators.count_under_peppers(session), now)


def rotate_peppers(
    path: Path,
    *,
    now: datetime,
    starts_in: timedelta = timedelta(0),
    before: Callable[[str], None] = lambda _pepper_id: None,
) -> PepperUse:
    """Put a new pepper first in the file; secrets come under it as they are used. Processes that rotate take turns.

    `starts_in` is the time for which it is only known, not used yet. `before` is called with its id once nothing but
    the writing is left to do.

    Raises:
        KeyFileBusyError, UnwritableError: if the file cannot be changed.
        UnavailableError, UnsafeFileError: as `load_peppers`.
    """
    pepper = rules.new_pepper(now)
    if starts_in:
        pepper[STARTS_AT] = rfc3339(now + starts_in)
    with turn_to_change(path) as file:
        content = file.read()
        read_peppers(content, path)
        content = {**content, "peppers": [pepper, *content["peppers"]]}
        before(pepper["id"])
        file.replace(content)
    return _shown([pepper], read_peppers(content, path, now.timestamp()), {}, {}, now)[0]


def retire_pepper(
    database: Database, path: Path, pepper_id: str, *, now: datetime, by: Actor, force: bool = False
) -> PepperUse:
    """Take a pepper out of the file, once nothing alive is kept under it; what has run out under it ends for good.

    With `force` live secrets are revoked, and operators have to be invited again. A pepper that the file has lost is
    retired like this as well.

    Raises:
        PepperNotFoundError: if neither the file nor any secret or operator knows such a pepper.
        PepperInUseError: if new secrets come under it, or live ones or operators' passwords are kept under it.
        KeyFileBusyError, UnwritableError, UnavailableError, UnsafeFileError: as `rotate_peppers`.
    """
    with turn_to_change(path) as file:
        content = file.read()
        peppers = read_peppers(content, path, now.timestamp())
        if pepper_id == peppers.current:
            raise PepperInUseError("New secrets come under this pepper. First: ecross-server peppers rotate")
        with database.write() as session:
            # The revision first: its lock keeps others from bringing secrets under this pepper meanwhile.
            revision = repository.raise_revision(session)
            counts = repository.count_live_secrets(session, now)
            people = operators.count_under_peppers(session)
            if pepper_id not in {*peppers.keys, *counts, *people}:
                raise PepperNotFoundError
            if (count := counts.get(pepper_id, 0)) and not force:
                raise PepperInUseError(
                    f"{count} live secret{'s are' if count > 1 else ' is'} still kept under this pepper and would be "
                    "dead without it. Each leaves it at its next use. With --force they are revoked."
                )
            if pepper_id in people and not force:
                raise PepperInUseError(
                    "Passwords of operators are still kept under this pepper. Each leaves it at its next sign-in. "
                    "With --force these operators have to be invited again."
                )
            repository.end_secrets(session, pepper_id, now=now, revision=revision)
            ended = operators.end_under_pepper(session, pepper_id)
            record_act(
                session, actor=by, action="peppers.retire", now=now, pepperId=pepper_id, revoked=count, operators=ended
            )
        # After the commit: a pepper too many in the file does no harm, one too few would.
        kept = [entry for entry in content["peppers"] if entry["id"] != pepper_id]
        if len(kept) < len(content["peppers"]):
            file.replace({**content, "peppers": kept})
    retired = [entry for entry in content["peppers"] if entry["id"] == pepper_id]
    return replace(_shown(retired, peppers, {pepper_id: count}, {pepper_id: ended}, now)[0], status="retired")


def _shown(
    entries: Sequence[Mapping[str, Any]],
    peppers: Peppers,
    counts: Mapping[str, int],
    people: Mapping[str, int],
    now: datetime,
) -> list[PepperUse]:
    lost = [{"id": pepper_id} for pepper_id in {**counts, **people} if pepper_id not in peppers.keys]
    return [
        PepperUse(
            pepper_id=entry["id"],
            status=_status(entry, peppers, now),
            created_at=shown_moment(entry, "createdAt"),
            secrets=counts.get(entry["id"], 0),
            starts_at=shown_moment(entry, STARTS_AT),
            operators=people.get(entry["id"], 0),
        )
        for entry in (*entries, *lost)
    ]


def _status(entry: Mapping[str, Any], peppers: Peppers, now: datetime) -> str:
    if entry["id"] not in peppers.keys:
        return "missing"
    if entry["id"] == peppers.current:
        return "active"
    return "waiting" if moment(entry, STARTS_AT, 0) > now.timestamp() else "older"


def has_credentials(session: Session) -> bool:
    """Whether anything was ever kept under the peppers: without them no secret or password could be checked again."""
    return repository.has_secrets(session) or bool(operators.count_under_peppers(session))


def register_merchant(session: Session, merchant_id: str, name: str, *, now: datetime, by: Actor) -> Merchant:
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
    record_act(session, actor=by, action="merchants.register", merchant_id=merchant_id, now=now, name=name)
    return merchant


def list_merchants(session: Session) -> Sequence[Merchant]:
    """All merchants, ordered by id."""
    return repository.list_merchants(session)


def search_merchants(
    session: Session, *, text: str | None = None, status: str | None = None, after: str = "", limit: int
) -> Sequence[Merchant]:
    """So many merchants by id, from behind the id `after` on: those with the text in id or name, and the status.

    Case does not count; on SQLite that holds for letters of ASCII alone.
    """
    return repository.search_merchants(session, text=text, status=status, after=after, limit=limit)


def show_merchant(session: Session, merchant_id: str) -> tuple[Merchant, Sequence[Client]]:
    """A merchant with its clients and their secrets."""
    return repository.get_merchant(session, merchant_id), repository.list_clients(session, merchant_id)


def disable_merchant(session: Session, merchant_id: str, *, by: Actor) -> Merchant:
    """End a merchant's access: no new tokens, and every live token dies. Doing it twice changes nothing more."""
    revision = repository.raise_revision(session)
    merchant = repository.get_merchant(session, merchant_id)
    outcome = UNCHANGED
    if merchant.status != "disabled":
        outcome = DONE
        merchant.status = "disabled"
        for client in repository.list_clients(session, merchant_id):
            client.epoch += 1
            client.revision = revision
    record_act(session, actor=by, action="merchants.disable", merchant_id=merchant_id, outcome=outcome)
    return merchant


def enable_merchant(session: Session, merchant_id: str, *, by: Actor) -> Merchant:
    """Let a disabled merchant ask for tokens again. Tokens from before the disabling stay dead."""
    revision = repository.raise_revision(session)
    merchant = repository.get_merchant(session, merchant_id)
    outcome = UNCHANGED
    if merchant.status != "active":
        outcome = DONE
        merchant.status = "active"
        for client in repository.list_clients(session, merchant_id):
            client.revision = revision
    record_act(session, actor=by, action="merchants.enable", merchant_id=merchant_id, outcome=outcome)
    return merchant


def issue_credential(
    session: Session,
    merchant_id: str,
    *,
    peppers: Peppers,
    now: datetime,
    by: Actor,
    label: str | None = None,
    expires_in: timedelta | None = None,
    restrictions: Restrictions = UNRESTRICTED,
) -> IssuedCredential:
    """A new client of the merchant with its first secret.

    Raises:
        MerchantNotFoundError: if there is no such merchant.
        MerchantDisabledError: if it is disabled.
        InvalidInputError: for a label, a scope or a network of the wrong form.
    """
    if label is not None:
        rules.check_text("label", label, rules.LABEL_CHARACTERS)
    client = new_client(session, merchant_id, now=now, restrictions=restrictions)
    issued = add_secret(session, client, peppers=peppers, now=now, label=label, expires_in=expires_in)
    record_act(
        session, actor=by, action="credentials.issue", merchant_id=merchant_id, client_id=client.id,
        secret_id=issued.secret.id, now=now, **({} if label is None else {"label": label}), **told_restrictions(client),
    )  # fmt: skip
    return issued


def new_client(
    session: Session, merchant_id: str, *, now: datetime, restrictions: Restrictions = UNRESTRICTED
) -> Client:
    """A fresh client of the merchant: a part of the acts that make one, which record it.

    Raises:
        MerchantNotFoundError: if there is no such merchant.
        MerchantDisabledError: if it is disabled.
        InvalidInputError: for a scope or a network of the wrong form.
    """
    scope = rules.read_scope(restrictions.scope)
    allowed_networks = None if restrictions.networks is None else rules.read_networks(restrictions.networks)
    revision = repository.raise_revision(session)
    merchant = repository.get_merchant(session, merchant_id)
    if merchant.status == "disabled":
        raise MerchantDisabledError(merchant_id)
    client = Client(
        id=rules.new_client_id(merchant_id),
        merchant_id=merchant_id,
        status="active",
        scope=scope,
        allowed_networks=allowed_networks,
        epoch=1,
        revision=revision,
        created_at=now,
    )
    session.add(client)
    return client


def told_restrictions(client: Client) -> dict[str, str]:
    """What an act's record tells of a client that may not do everything, or not from everywhere."""
    told = {} if client.scope == rules.MERCHANT_SCOPE else {"scope": client.scope}
    return told if client.allowed_networks is None else {**told, **told_networks(client.allowed_networks)}


def told_networks(networks: str, name: str = "networks") -> dict[str, str]:
    """A list of networks in as many details of a record as it takes: each is cut where it is too long."""
    parts: list[str] = []
    for network in networks.split(" "):
        if parts and len(parts[-1]) + len(network) < LONGEST_TEXT:
            parts[-1] += f" {network}"
        else:
            parts.append(network)
    return {name if number == 1 else f"{name}{number}": part for number, part in enumerate(parts, 1)}


def add_secret(
    session: Session,
    client: Client,
    *,
    peppers: Peppers,
    now: datetime,
    label: str | None = None,
    expires_in: timedelta | None = None,
) -> IssuedCredential:
    """A fresh secret of the client: a part of the acts that give one, which record it and stamp the client."""
    client_secret = rules.new_client_secret()
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


def revoke_client(session: Session, client_id: str, *, by: Actor) -> Client:
    """End a client for good: its secrets open nothing any more and its tokens die.

    Raises:
        ClientNotFoundError: if there is no such client.
    """
    revision = repository.raise_revision(session)
    client = repository.get_client(session, client_id)
    outcome = UNCHANGED
    if client.status != "revoked":
        outcome = DONE
        client.status = "revoked"
        client.epoch += 1
        client.revision = revision
        for secret in client.secrets:
            secret.status = "revoked"
    record_act(
        session, actor=by, action="credentials.revoke", merchant_id=client.merchant_id, client_id=client_id,
        outcome=outcome,
    )  # fmt: skip
    return client


def recognize_secrets(
    session: Session, client_secrets: Iterable[str], *, peppers: Peppers, now: datetime
) -> dict[str, RecognizedSecret]:
    """Those of the secrets that were issued here, alive or not. What cannot be one is not looked up."""
    secrets_by_digest = {
        digest: client_secret
        for client_secret in client_secrets
        if rules.is_client_secret(client_secret)
        for digest in peppers.digests(client_secret).values()
    }
    found = {}
    for secret, client, merchant in repository.find_secrets(session, list(secrets_by_digest)):
        status = rules.shown_status(secret.status, secret.expires_at, secret.retires_at, now)
        is_live = (status, client.status, merchant.status) == ("active", "active", "active")
        found[secrets_by_digest[secret.digest]] = RecognizedSecret(client.id, secret.id, is_live)
    return found


def look_up_secrets(
    database: Database, peppers: Peppers, found: Iterable[Sighting], *, now: Callable[[], datetime]
) -> Iterator[Finding]:
    """What is known of each. No transaction is open while the text is waited for."""
    found = iter(found)
    while batch := list(itertools.islice(found, LOOKED_UP_AT_ONCE)):
        with database.read() as session:
            known = recognize_secrets(session, {each.text for each in batch}, peppers=peppers, now=now())
        for sighting in batch:
            yield Finding(sighting, known.get(sighting.text))


def change_peppers(session: Session, changes: Iterable[PepperChange]) -> None:
    """Keep secrets under another pepper. One that was changed or ended meanwhile is left as it is."""
    revision = repository.raise_revision(session)
    for change in changes:
        repository.replace_digest(session, change.secret_id, change.old, change.new, revision=revision)


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
        if row.secret_status == "active" and row.digest is not None and row.pepper_id and row.secret_id:  # noqa: S105 - a status
            end = rules.end_of(row.expires_at, row.retires_at)
            ends_at = None if end is None else end.timestamp()
            secrets = (*secrets, RegistrySecret(row.digest, intern(row.pepper_id), ends_at, row.secret_id))
        is_active = row.merchant_status == "active" and row.client_status == "active"
        clients[row.client_id] = RegistryClient(
            row.client_id, intern(row.merchant_id), is_active, allowance_of(row.scope, row.allowed_networks),
            row.epoch, secrets,
        )  # fmt: skip
    return revision, list(clients.values())


def count_credentials(session: Session) -> tuple[int, int]:
    """So many clients that are not revoked, and secrets likewise."""
    return repository.count_active(session)


def registry_position(session: Session) -> RegistryPosition:
    """How far the registry's changes have come in this database."""
    return RegistryPosition(repository.get_revision(session), repository.get_highest_epoch(session))


def end_all_tokens(session: Session, *, now: datetime, seen: Iterable[RegistryPosition] = ()) -> int:
    """End every token there is, for an older state was put in place; the registry's new revision.

    What was before may be lost, so neither the epochs nor the revision may depend on it alone: nobody makes an act
    each second, or a million of them, from the first day on, so the time is beyond both. So is what was seen.
    """
    positions = [registry_position(session), *seen]
    revision = max(int(now.timestamp() * 1_000_000), *(1 + each.revision for each in positions))
    epoch = max(int((now - EPOCHS_BEGIN).total_seconds()), *(1 + each.highest_epoch for each in positions))
    repository.set_everything_changed(session, revision=revision, epoch=epoch)
    return revision

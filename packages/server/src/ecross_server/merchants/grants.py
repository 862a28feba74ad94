"""Clients that get their secret later, from somebody else than who registers them; and the end of one secret.

As in `service`, every act raises the registry's revision first.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from ecross_server.audit.rules import Actor
from ecross_server.audit.service import record_act
from ecross_server.merchants import repository, rotation, rules
from ecross_server.merchants.models import Client
from ecross_server.merchants.rules import UNRESTRICTED, Peppers, Restrictions
from ecross_server.merchants.service import DONE, UNCHANGED, IssuedCredential, new_client, told_restrictions


def add_client(
    session: Session,
    merchant_id: str,
    *,
    now: datetime,
    by: Actor,
    label: str | None = None,
    restrictions: Restrictions = UNRESTRICTED,
) -> Client:
    """A new client of the merchant that has no secret yet, so nobody can ask for a token with it.

    Raises:
        MerchantNotFoundError, MerchantDisabledError, InvalidInputError: as `issue_credential`.
    """
    if label is not None:
        rules.check_text("label", label, rules.LABEL_CHARACTERS)
    client = new_client(session, merchant_id, now=now, restrictions=restrictions)
    session.flush()
    record_act(
        session, actor=by, action="credentials.add_client", merchant_id=merchant_id, client_id=client.id, now=now,
        **({} if label is None else {"label": label}), **told_restrictions(client),
    )  # fmt: skip
    return client


def give_secret(
    session: Session,
    client_id: str,
    *,
    peppers: Peppers,
    now: datetime,
    by: Actor,
    label: str | None = None,
    expires_in: timedelta | None = None,
) -> IssuedCredential:
    """A secret for a client that exists already.

    Raises:
        ClientNotFoundError, ClientRevokedError, MerchantDisabledError: if it cannot have one.
        TooManySecretsError: if two of its secrets are live.
    """
    client, _ = rotation.begin_adding(session, client_id, now=now)
    issued = rotation.add_newest(session, client, peppers, now, label, expires_in=expires_in)
    record_act(
        session, actor=by, action="credentials.issue", merchant_id=client.merchant_id, client_id=client.id,
        secret_id=issued.secret.id, now=now, **({} if label is None else {"label": label}),
    )  # fmt: skip
    return issued


def end_secret(session: Session, client_id: str, secret_id: str, *, now: datetime, by: Actor) -> None:
    """End one secret of a client, and every token of the client: nobody knows which of them came from that secret.

    Raises:
        ClientNotFoundError: if there is no such client.
    """
    revision = repository.raise_revision(session)
    client = repository.get_client(session, client_id)
    ended = [secret for secret in client.secrets if secret.id == secret_id and secret.status == "active"]
    if ended:
        ended[0].status = "revoked"
        client.epoch += 1
        client.revision = revision
    record_act(
        session, actor=by, action="credentials.end_secret", merchant_id=client.merchant_id, client_id=client_id,
        secret_id=secret_id, outcome=DONE if ended else UNCHANGED, now=now,
    )  # fmt: skip


def get_client(session: Session, client_id: str) -> Client:
    """The client as it is now, its merchant at hand.

    Raises:
        ClientNotFoundError: if there is no such client.
    """
    return repository.get_client(session, client_id)


def list_clients_by_id(session: Session, client_ids: Collection[str]) -> dict[str, Client]:
    """Those of the clients that there are, by their ids, each with its merchant and secrets at hand."""
    ids = sorted(client_ids)
    parts = (ids[start : start + repository.BATCH] for start in range(0, len(ids), repository.BATCH))
    return {client.id: client for part in parts for client in repository.list_clients_by_id(session, part)}


def client_with_room(session: Session, client_id: str, now: datetime) -> Client:
    """The client, which may have another secret beside the one it has.

    Raises:
        ClientNotFoundError, ClientRevokedError, MerchantDisabledError, TooManySecretsError: if it may not.
    """
    client = repository.get_client(session, client_id)
    rotation.require_room(client, now)
    return client


def require_merchant(session: Session, merchant_id: str) -> None:
    """See that there is such a merchant.

    Raises:
        MerchantNotFoundError: if there is none.
    """
    repository.get_merchant(session, merchant_id)

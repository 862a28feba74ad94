"""Every query about operators, their invitations, their passkeys and their sessions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from ecross_server.operators.errors import OperatorNotFoundError
from ecross_server.operators.models import (
    OperatorAccount,
    OperatorChallenge,
    OperatorInvitation,
    OperatorPasskey,
    OperatorSession,
)
from ecross_server.operators.rules import Role, SessionEnds, Status


def find_operator(session: Session, operator_id: str) -> OperatorAccount | None:
    """The operator as it is now, also where this session has seen it before."""
    return session.get(OperatorAccount, operator_id, populate_existing=True)


def get_operator(session: Session, operator_id: str) -> OperatorAccount:
    found = find_operator(session, operator_id)
    if found is None:
        raise OperatorNotFoundError
    return found


def hold_operator(session: Session, operator_id: str) -> OperatorAccount:
    """The operator, kept from others' acts until the commit."""
    found = session.get(OperatorAccount, operator_id, populate_existing=True, with_for_update=True)
    if found is None:
        raise OperatorNotFoundError
    return found


def hold_active_owners(session: Session) -> Sequence[str]:
    """The ids of the owners who can sign in, kept from others' acts until the commit."""
    return session.scalars(
        select(OperatorAccount.id)
        .where(OperatorAccount.role == Role.OWNER, OperatorAccount.status == Status.ACTIVE)
        .order_by(OperatorAccount.id)
        .with_for_update()
    ).all()


def list_operators(session: Session) -> Sequence[OperatorAccount]:
    return session.scalars(select(OperatorAccount).order_by(OperatorAccount.id)).all()


def count_under_peppers(session: Session) -> dict[str, int]:
    """So many operators' passwords are kept under each pepper."""
    rows = session.execute(
        select(OperatorAccount.pepper_id, func.count())
        .where(OperatorAccount.pepper_id.is_not(None))
        .group_by(OperatorAccount.pepper_id)
        .order_by(OperatorAccount.pepper_id)
    )
    return {str(pepper_id): count for pepper_id, count in rows}


def list_under_pepper(session: Session, pepper_id: str) -> Sequence[OperatorAccount]:
    return session.scalars(
        select(OperatorAccount)
        .where(OperatorAccount.pepper_id == pepper_id)
        .order_by(OperatorAccount.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()


def claim_step(session: Session, operator_id: str, checked_hash: str, step: int, **values: Any) -> bool:  # noqa: ANN401 - of columns
    """Keep that the code of this step was accepted; of all who try the same at once, one is told so.

    Nobody is, if the password was changed or the operator disabled since they were read.
    """
    changed = session.execute(
        update(OperatorAccount)
        .where(
            OperatorAccount.id == operator_id,
            OperatorAccount.status == Status.ACTIVE,
            OperatorAccount.password_hash == checked_hash,
            or_(OperatorAccount.totp_step.is_(None), OperatorAccount.totp_step < step),
        )
        .values(totp_step=step, **values)
        .returning(OperatorAccount.id)
        .execution_options(synchronize_session=False)
    )
    return changed.first() is not None


def find_invitation(session: Session, token_digest: bytes) -> OperatorInvitation | None:
    return session.scalars(
        select(OperatorInvitation).where(OperatorInvitation.token_digest == token_digest)
    ).one_or_none()


def claim_invitation(session: Session, token_digest: bytes) -> bool:
    """Use the invitation up: of all who try at once, one is told so."""
    gone = session.execute(
        delete(OperatorInvitation)
        .where(OperatorInvitation.token_digest == token_digest)
        .returning(OperatorInvitation.operator_id)
        .execution_options(synchronize_session=False)
    )
    return gone.first() is not None


def remove_invitations(session: Session, operator_id: str | None = None) -> None:
    """Remove the open invitation of an operator, or of all."""
    query = delete(OperatorInvitation).execution_options(synchronize_session=False)
    if operator_id is not None:
        query = query.where(OperatorInvitation.operator_id == operator_id)
    session.execute(query)


def list_passkeys(session: Session, operator_id: str) -> Sequence[OperatorPasskey]:
    """Those of an operator, the newest last."""
    return session.scalars(
        select(OperatorPasskey)
        .where(OperatorPasskey.operator_id == operator_id)
        .order_by(OperatorPasskey.created_at, OperatorPasskey.id)
        .execution_options(populate_existing=True)
    ).all()


def find_passkey(session: Session, credential_digest: bytes) -> tuple[OperatorPasskey, OperatorAccount] | None:
    """The passkey of this credential, with its operator."""
    row = session.execute(
        select(OperatorPasskey, OperatorAccount)
        .join(OperatorAccount, OperatorAccount.id == OperatorPasskey.operator_id)
        .where(OperatorPasskey.credential_digest == credential_digest)
        .execution_options(populate_existing=True)
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def claim_passkey(session: Session, passkey_id: str, checked_seal: bytes, checked_count: int, **values: Any) -> bool:  # noqa: ANN401 - of columns
    """Keep that the passkey was used; of all who use it at the same moment, one is told so."""
    changed = session.execute(
        update(OperatorPasskey)
        .where(
            OperatorPasskey.id == passkey_id,
            OperatorPasskey.seal == checked_seal,
            OperatorPasskey.sign_count == checked_count,
        )
        .values(**values)
        .returning(OperatorPasskey.id)
        .execution_options(synchronize_session=False)
    )
    return changed.first() is not None


def remove_passkeys(
    session: Session, operator_id: str | None = None, passkey_id: str | None = None, *, pepper_id: str | None = None
) -> Sequence[str]:
    """Remove passkeys: an operator's, the one named, those under a pepper, or what is all of that. Their ids."""
    query = delete(OperatorPasskey).returning(OperatorPasskey.id).execution_options(synchronize_session=False)
    for column, value in (
        (OperatorPasskey.operator_id, operator_id),
        (OperatorPasskey.id, passkey_id),
        (OperatorPasskey.pepper_id, pepper_id),
    ):
        if value is not None:
            query = query.where(column == value)
    return session.scalars(query).all()


def spend_challenge(session: Session, digest: bytes, ends_at: datetime, now: datetime) -> None:
    """Keep that the challenge was answered; those that are over are forgotten.

    Raises:
        IntegrityError: if it was answered before.
    """
    session.execute(
        delete(OperatorChallenge).where(OperatorChallenge.ends_at <= now).execution_options(synchronize_session=False)
    )
    session.execute(insert(OperatorChallenge).values(digest=digest, ends_at=ends_at))


def find_session(session: Session, digest: bytes) -> tuple[OperatorSession, OperatorAccount] | None:
    """The session that is kept under the digest, with its operator."""
    row = session.execute(
        select(OperatorSession, OperatorAccount)
        .join(OperatorAccount, OperatorAccount.id == OperatorSession.operator_id)
        .where(OperatorSession.digest == digest)
        .execution_options(populate_existing=True)
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def list_sessions(session: Session, operator_id: str) -> Sequence[OperatorSession]:
    """Those that are kept, the newest last."""
    return session.scalars(
        select(OperatorSession)
        .where(OperatorSession.operator_id == operator_id)
        .order_by(OperatorSession.created_at, OperatorSession.id)
    ).all()


def set_last_seen(session: Session, session_id: str, at: datetime) -> None:
    """Keep when a session was last used, if nothing later is known."""
    session.execute(
        update(OperatorSession)
        .where(OperatorSession.id == session_id, OperatorSession.last_seen_at < at)
        .values(last_seen_at=at)
        .execution_options(synchronize_session=False)
    )


def remove_sessions(
    session: Session, operator_id: str | None = None, session_ids: Sequence[str] | None = None
) -> Sequence[str]:
    """Remove an operator's sessions, all or those named; without an operator, everybody's. The ids of those removed."""
    query = delete(OperatorSession).returning(OperatorSession.id).execution_options(synchronize_session=False)
    if operator_id is not None:
        query = query.where(OperatorSession.operator_id == operator_id)
    if session_ids is not None:
        query = query.where(OperatorSession.id.in_(session_ids))
    return session.scalars(query).all()


def remove_ended_sessions(session: Session, ends: SessionEnds, now: datetime) -> None:
    """Forget the sessions that have ended by themselves."""
    session.execute(
        delete(OperatorSession)
        .where(or_(OperatorSession.ends_at <= now, OperatorSession.last_seen_at <= now - ends.idle))
        .execution_options(synchronize_session=False)
    )


def set_epochs(session: Session, at_least: int) -> None:
    """Give every operator another epoch, which is higher than any before."""
    highest = session.execute(select(func.coalesce(func.max(OperatorAccount.epoch), 0))).scalar_one()
    session.execute(
        update(OperatorAccount).values(epoch=max(at_least, highest + 1)).execution_options(synchronize_session=False)
    )

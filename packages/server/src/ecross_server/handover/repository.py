"""Every query about hand-overs: of one link, one id, or one merchant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select, tuple_, update
from sqlalchemy.orm import Session

from ecross_server.handover.errors import HandOverNotFoundError
from ecross_server.handover.models import HandOver


def find_by_token(session: Session, token_digest: bytes) -> HandOver | None:
    return session.scalars(select(HandOver).where(HandOver.token_digest == token_digest)).one_or_none()


def get_hand_over(session: Session, hand_over_id: str) -> HandOver:
    """The hand-over as it is now, also where this session has seen it before."""
    found = session.get(HandOver, hand_over_id, populate_existing=True)
    if found is None:
        raise HandOverNotFoundError
    return found


def list_hand_overs(session: Session, merchant_id: str | None) -> Sequence[HandOver]:
    """All of them or one merchant's, the newest last."""
    query = select(HandOver).order_by(HandOver.created_at, HandOver.id)
    if merchant_id is not None:
        query = query.where(HandOver.merchant_id == merchant_id)
    return session.scalars(query).all()


def list_newest(
    session: Session, *, merchant_id: str | None, client_id: str | None, before: HandOver | None, limit: int
) -> Sequence[HandOver]:
    """All of them, or one merchant's or client's, the newest first; only those older than `before`."""
    query = select(HandOver).order_by(HandOver.created_at.desc(), HandOver.id.desc()).limit(limit)
    if merchant_id is not None:
        query = query.where(HandOver.merchant_id == merchant_id)
    if client_id is not None:
        query = query.where(HandOver.client_id == client_id)
    if before is not None:
        query = query.where(tuple_(HandOver.created_at, HandOver.id) < (before.created_at, before.id))
    return session.scalars(query).all()


def set_opened(session: Session, hand_over_id: str, *, at: datetime, address: str) -> bool:
    """Keep the first opening; whether this was it."""
    return _set(session, hand_over_id, HandOver.opened_at.is_(None), opened_at=at, opened_address=address)


def claim(session: Session, hand_over_id: str, *, at: datetime, address: str) -> bool:
    """Use the link up, if it is open: of all who try at once, one is told so."""
    is_open = HandOver.revealed_at.is_(None) & HandOver.cancelled_at.is_(None) & (HandOver.expires_at > at)
    return _set(session, hand_over_id, is_open, revealed_at=at, revealed_address=address)


def set_denied(session: Session, hand_over_id: str, *, at: datetime, address: str) -> bool:
    """Keep who said first that it was not for somebody else; whether this was it."""
    is_new = HandOver.revealed_at.is_not(None) & HandOver.denied_at.is_(None)
    return _set(session, hand_over_id, is_new, denied_at=at, denied_address=address)


def set_cancelled(session: Session, hand_over_id: str, *, at: datetime, by: str) -> bool:
    """Cancel it, if nobody has used it up; whether this did it."""
    is_new = HandOver.revealed_at.is_(None) & HandOver.cancelled_at.is_(None)
    return _set(session, hand_over_id, is_new, cancelled_at=at, cancelled_by=by)


def cancel_all_open(session: Session, *, at: datetime, by: str) -> None:
    """Cancel every hand-over that nobody has used up."""
    session.execute(
        update(HandOver)
        .where(HandOver.revealed_at.is_(None), HandOver.cancelled_at.is_(None))
        .values(cancelled_at=at, cancelled_by=by)
        .execution_options(synchronize_session=False)
    )


def _set(session: Session, hand_over_id: str, condition: ColumnElement[bool], **values: Any) -> bool:  # noqa: ANN401 - of columns
    # Compared and written in one statement: the row's lock decides among those who come at once.
    changed = session.execute(
        update(HandOver)
        .where(HandOver.id == hand_over_id, condition)
        .values(**values)
        .returning(HandOver.id)
        .execution_options(synchronize_session=False)
    )
    return changed.first() is not None

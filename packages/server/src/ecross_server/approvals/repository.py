"""Every query about approvals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from ecross_server.approvals.errors import ApprovalNotFoundError
from ecross_server.approvals.models import Approval
from ecross_server.approvals.rules import Subject


def get_approval(session: Session, approval_id: str) -> Approval:
    """The approval as it is now, also where this session has seen it before."""
    found = session.get(Approval, approval_id, populate_existing=True)
    if found is None:
        raise ApprovalNotFoundError(approval_id)
    return found


def find_open(session: Session, subject: Subject, *, by: str, now: datetime) -> Approval | None:
    """One of somebody's approvals of this act that can still be answered or used; a granted one first."""
    query = (
        select(Approval)
        .where(
            Approval.act == subject.act,
            Approval.merchant_id == subject.merchant_id,
            # Both are texts or nothing: a comparison with nothing is written as such.
            Approval.client_id == subject.client_id,
            Approval.asked_by == by,
            *_is_open(now),
        )
        .order_by(Approval.is_granted.is_(None), Approval.asked_at, Approval.id)
    )
    return session.scalars(query.limit(1)).one_or_none()


def list_approvals(session: Session, *, limit: int, open_at: datetime | None) -> Sequence[Approval]:
    """The newest first; with a time, those alone that could be answered or used then."""
    query = select(Approval).order_by(Approval.asked_at.desc(), Approval.id)
    if open_at is not None:
        query = query.where(*_is_open(open_at))
    return session.scalars(query.limit(limit)).all()


def set_decided(session: Session, approval_id: str, *, is_granted: bool, at: datetime, by: str) -> bool:
    """Keep the answer, if there is none and it comes in time; whether this was it."""
    is_asked = Approval.is_granted.is_(None) & (Approval.expires_at > at)
    return _set(session, approval_id, is_asked, is_granted=is_granted, decided_at=at, decided_by=by)


def claim(session: Session, approval_id: str, *, at: datetime) -> bool:
    """Use a granted one up: of all who try at once, one is told so."""
    is_usable = Approval.is_granted.is_(True) & Approval.used_at.is_(None) & (Approval.expires_at > at)
    return _set(session, approval_id, is_usable, used_at=at)


def end_open(session: Session, *, at: datetime) -> None:
    """Let all that could be answered or used run out."""
    session.execute(
        update(Approval).where(*_is_open(at)).values(expires_at=at).execution_options(synchronize_session=False)
    )


def _is_open(now: datetime) -> tuple[ColumnElement[bool], ...]:
    is_not_refused = Approval.is_granted.is_distinct_from(other=False)
    return Approval.used_at.is_(None), is_not_refused, Approval.expires_at > now


def _set(session: Session, approval_id: str, condition: ColumnElement[bool], **values: Any) -> bool:  # noqa: ANN401 - of columns
    # Compared and written in one statement: the row's lock decides among those who come at once.
    changed = session.execute(
        update(Approval)
        .where(Approval.id == approval_id, condition)
        .values(**values)
        .returning(Approval.id)
        .execution_options(synchronize_session=False)
    )
    return changed.first() is not None

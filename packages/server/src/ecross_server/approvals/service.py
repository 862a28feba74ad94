"""Asking for a second person's approval, giving or refusing it, and using it once for the act that it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from ecross_server.approvals import repository, rules
from ecross_server.approvals.errors import ApprovalDecidedError, ApprovalNeededError, OwnApprovalError
from ecross_server.approvals.models import Approval
from ecross_server.approvals.rules import Act, State, Subject
from ecross_server.audit.rules import Actor
from ecross_server.audit.service import record_act
from ecross_server.kit.identifiers import BASE32, random_text
from ecross_server.merchants import grants
from ecross_server.merchants.errors import ClientNotFoundError
from ecross_server.merchants.rules import check_text
from ecross_server.merchants.service import DONE, UNCHANGED

__all__ = ["Approval"]  # what the functions below give

MOST_LISTED: Final = 200
FindSubject = Callable[[Session], Subject]


def ask_approval(session: Session, subject: Subject, reason: str, *, now: datetime, by: Actor) -> Approval:
    """The question, for somebody else to answer within a day. Who has an open one for the same act gets that.

    Raises:
        MerchantNotFoundError, ClientNotFoundError: if there is nobody to do it to.
        InvalidInputError: if the reason is empty or too long.
    """
    check_text("reason", reason, rules.REASON_CHARACTERS)
    grants.require_merchant(session, subject.merchant_id)
    client_id, merchant_id = subject.client_id, subject.merchant_id
    if client_id is not None and grants.get_client(session, client_id).merchant_id != merchant_id:
        raise ClientNotFoundError(client_id)
    found = repository.find_open(session, subject, by=by.name, now=now)
    if found is not None:
        return found
    approval = Approval(
        id=f"apr_{random_text(13, BASE32)}",
        act=subject.act,
        merchant_id=subject.merchant_id,
        client_id=subject.client_id,
        reason=reason,
        asked_at=now,
        asked_by=by.name,
        expires_at=now + rules.LIFE,
    )
    session.add(approval)
    session.flush()
    _record(session, approval, "approvals.ask", now=now, by=by)
    return approval


def decide_approval(session: Session, approval_id: str, *, is_granted: bool, now: datetime, by: Actor) -> Approval:
    """Grant or refuse it. To say the same again changes nothing; who asked may refuse it, which takes it back.

    Raises:
        ApprovalNotFoundError: if there is none of this id.
        OwnApprovalError: if who asked would grant it.
        ApprovalDecidedError: if something else was said before, or it is too late.
    """
    approval = repository.get_approval(session, approval_id)
    if is_granted and approval.asked_by == by.name:
        raise OwnApprovalError
    is_done = repository.set_decided(session, approval_id, is_granted=is_granted, at=now, by=by.name)
    approval = repository.get_approval(session, approval_id)
    if not is_done and state_of(approval, now) is not (State.GRANTED if is_granted else State.REFUSED):
        raise ApprovalDecidedError(state_of(approval, now))
    action = "approvals.grant" if is_granted else "approvals.refuse"
    _record(session, approval, action, now=now, by=by, outcome=DONE if is_done else UNCHANGED)
    return approval


def use_approval(session: Session, subject: Subject, *, now: datetime, by: Actor) -> Approval:
    """Use up what was granted to whoever acts, in the transaction of the act: if that fails, it can be used again.

    Raises:
        ApprovalNeededError: if nothing is granted.
    """
    found = repository.find_open(session, subject, by=by.name, now=now)
    if found is None or not repository.claim(session, found.id, at=now):
        raise ApprovalNeededError(subject.act, subject.merchant_id, subject.client_id)
    _record(session, found, "approvals.use", now=now, by=by)
    return found


def for_merchant(act: Act, merchant_id: str) -> FindSubject:
    """Finds what is to be done to a merchant."""
    return lambda _: Subject(act, merchant_id)


def for_client(act: Act, client_id: str) -> FindSubject:
    """Finds what is to be done to a client; raises `ClientNotFoundError` if there is none."""
    return lambda session: Subject(act, grants.get_client(session, client_id).merchant_id, client_id)


def require_approval(session: Session, find_subject: FindSubject, *, is_needed: bool, now: datetime, by: Actor) -> None:
    """Use up what was granted, where acts of this kind need it: the first step of whatever gives somebody a secret.

    Raises:
        ApprovalNeededError: if it is needed and there is none.
        ClientNotFoundError: if it is to be a client's that does not exist.
    """
    if is_needed:
        use_approval(session, find_subject(session), now=now, by=by)


def find_approval(session: Session, subject: Subject, *, now: datetime, by: str) -> Approval | None:
    """Somebody's approval of this act that can still be answered or used; a granted one first."""
    return repository.find_open(session, subject, by=by, now=now)


def list_approvals(session: Session, *, now: datetime, only_open: bool = False) -> Sequence[Approval]:
    """The newest 200, the newest first; or those alone that wait for an answer or for their act."""
    return repository.list_approvals(session, limit=MOST_LISTED, open_at=now if only_open else None)


def end_open_approvals(session: Session, *, now: datetime) -> None:
    """Let all of them run out, for an older state was put in place: what was used since then would be open again."""
    repository.end_open(session, at=now)


def show_approval(session: Session, approval_id: str) -> Approval:
    """One of them.

    Raises:
        ApprovalNotFoundError: if there is none of this id.
    """
    return repository.get_approval(session, approval_id)


def state_of(approval: Approval, now: datetime) -> State:
    """What has become of it by now."""
    return rules.state_of(now, expires_at=approval.expires_at, is_granted=approval.is_granted, used_at=approval.used_at)


def _record(
    session: Session, approval: Approval, action: str, *, now: datetime, by: Actor, outcome: str = DONE
) -> None:
    record_act(
        session, actor=by, action=action, merchant_id=approval.merchant_id, client_id=approval.client_id,
        outcome=outcome, now=now, approval=approval.id, act=approval.act,
    )  # fmt: skip

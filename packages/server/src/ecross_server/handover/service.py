"""A client gets its secret by a link that works once; whoever made the link never sees the secret.

No secret waits anywhere: it is made at the moment of its reveal, in the transaction that uses the link up. That is
committed before anything is sent, so a crash in between loses the secret and never shows it twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Final, NamedTuple

from sqlalchemy.orm import Session

from ecross_server.audit.rules import Actor
from ecross_server.audit.service import record_act
from ecross_server.auth.limits.local import BudgetTable
from ecross_server.handover import repository, rules
from ecross_server.handover.errors import HandOverNotFoundError, HandOverRevealedError, HandOverSpentError
from ecross_server.handover.models import HandOver
from ecross_server.handover.rules import State
from ecross_server.kit.identifiers import BASE32, random_text
from ecross_server.merchants import grants
from ecross_server.merchants.rules import ADDRESS_CHARACTERS, UNRESTRICTED, Peppers, Restrictions, parse_duration
from ecross_server.merchants.service import DONE, UNCHANGED, Client, IssuedCredential

__all__ = ["HandOver"]  # what the functions below give

ACTIVE: Final = "active"
USUAL_LIFE: Final = "3d"


@dataclass(frozen=True, slots=True)
class OfferedLink:
    """A new hand-over. Token and code are to be had here and never again."""

    hand_over: HandOver
    client: Client
    token: str = field(repr=False)
    code: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a link is to be: how long it works, whether it asks for a code, and what secret it gives."""

    lasts: timedelta
    with_code: bool = False
    label: str | None = None
    secret_lasts: timedelta | None = None


class Receipt(NamedTuple):
    """A hand-over, what has become of it, and whether its client may have a secret at all."""

    hand_over: HandOver
    state: State
    merchant_name: str
    is_withdrawn: bool

    @property
    def is_usable(self) -> bool:
        """Whether it would give a secret now."""
        return self.state is State.OPEN and not self.is_withdrawn


class CodeGuard:
    """Slows down those who guess codes: each link and address by itself, so nobody can keep another out.

    The workers of a server share the table; several servers count each by itself.
    """

    TRIES: Final = 5
    INTERVAL: Final = 60.0

    def __init__(self, table: BudgetTable, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._table = table
        self._monotonic = monotonic
        self._lock = threading.Lock()

    def charge(self, hand_over_id: str, neighborhood: str) -> float:
        """Count a try before it is looked at: 0, or the seconds to wait where there were too many."""
        key = hash(("hand-over code", hand_over_id, neighborhood))
        with self._lock:
            left = self._table.spend(key, self.INTERVAL, self.INTERVAL * self.TRIES, self._monotonic())
        return max(0.0, -left)


def offer_secret(
    session: Session, client: Client, terms: Terms, *, peppers: Peppers, now: datetime, by: Actor
) -> OfferedLink:
    """A link that will give the client a secret. Where that is to expire, the link does not outlive it."""
    token = rules.new_token()
    code = rules.new_code() if terms.with_code else None
    hand_over_id = f"hov_{random_text(13, BASE32)}"
    secret_expires_at = None if terms.secret_lasts is None else now + terms.secret_lasts
    hand_over = HandOver(
        id=hand_over_id,
        token_digest=rules.token_digest(token),
        code_digest=None if code is None else rules.code_digest(peppers, peppers.current, hand_over_id, code),
        code_pepper_id=None if code is None else peppers.current,
        merchant_id=client.merchant_id,
        client_id=client.id,
        label=terms.label,
        secret_expires_at=secret_expires_at,
        created_at=now,
        created_by=by.name,
        expires_at=now + min(terms.lasts, terms.secret_lasts or terms.lasts),
    )
    session.add(hand_over)
    session.flush()
    _record(session, hand_over, "hand-overs.create", now=now, by=by, code=terms.with_code)
    return OfferedLink(hand_over, client, token, code)


def make_terms(
    base: str,
    *,
    expires_in: str | None,
    code: bool,
    label: str | None = None,
    secret_expires_in: tuple[str, str] | None = None,
    path: str = "hand-over-expires-in",
) -> Terms:
    """What link is asked for, from durations such as `3d`; that of the secret with the name that its faults go by.

    Raises:
        InvalidInputError: for a life that is none, or too long.
        UnusableBaseError: if no link could be followed from the base.
    """
    rules.check_base(base)
    lasts = parse_duration(path, expires_in or USUAL_LIFE)
    rules.check_life(path, lasts)
    secret_lasts = None if secret_expires_in is None else parse_duration(*secret_expires_in)
    return Terms(lasts=lasts, with_code=code, label=label, secret_lasts=secret_lasts)


def offer_new_client(
    session: Session,
    merchant_id: str,
    terms: Terms,
    *,
    peppers: Peppers,
    now: datetime,
    by: Actor,
    restrictions: Restrictions = UNRESTRICTED,
) -> OfferedLink:
    """A new client of the merchant, and a link that will give its first secret.

    Raises:
        MerchantNotFoundError, MerchantDisabledError, InvalidInputError: as `merchants.service.issue_credential`.
    """
    client = grants.add_client(session, merchant_id, now=now, by=by, label=terms.label, restrictions=restrictions)
    return offer_secret(session, client, terms, peppers=peppers, now=now, by=by)


def offer_second_secret(
    session: Session, client_id: str, terms: Terms, *, peppers: Peppers, now: datetime, by: Actor
) -> OfferedLink:
    """A link that will give a client another secret beside the one it has.

    Raises:
        ClientNotFoundError, ClientRevokedError, MerchantDisabledError, TooManySecretsError: if it may have none.
    """
    client = grants.client_with_room(session, client_id, now)
    return offer_secret(session, client, terms, peppers=peppers, now=now, by=by)


def look_at_link(session: Session, token: str, *, now: datetime) -> Receipt:
    """The hand-over of a link.

    Raises:
        HandOverNotFoundError: for any token that was not given out, whatever its form.
    """
    found = repository.find_by_token(session, rules.token_digest(token)) if rules.TOKEN.fullmatch(token) else None
    if found is None:
        raise HandOverNotFoundError
    return _receipt(session, found, now)


def note_opening(session: Session, hand_over_id: str, *, now: datetime, by: Actor) -> None:
    """Keep that the link was looked at for the first time. That uses nothing up: previews and scanners look, too."""
    if repository.set_opened(session, hand_over_id, at=now, address=_address(by)):
        _record(session, repository.get_hand_over(session, hand_over_id), "hand-overs.open", now=now, by=by)


def is_right_code(hand_over: HandOver, code: str, peppers: Peppers) -> bool:
    """Whether it is the link's code; any is right for a link without one."""
    if hand_over.code_digest is None or hand_over.code_pepper_id is None:
        return True
    digest = rules.code_digest(peppers, hand_over.code_pepper_id, hand_over.id, code)
    return digest is not None and compare_digest(digest, hand_over.code_digest)


def reveal_secret(
    session: Session, hand_over_id: str, *, peppers: Peppers, now: datetime, by: Actor
) -> IssuedCredential:
    """Use the link up, and make its secret. Nothing of it may be sent before the transaction is committed.

    Raises:
        HandOverSpentError: if somebody was faster, or it has expired or was cancelled.
        ClientRevokedError, MerchantDisabledError, TooManySecretsError: if the client may have none; the link stays as
            it was.
    """
    if not repository.claim(session, hand_over_id, at=now, address=_address(by)):
        raise HandOverSpentError
    hand_over = repository.get_hand_over(session, hand_over_id)
    ends = hand_over.secret_expires_at
    issued = grants.give_secret(
        session, hand_over.client_id, peppers=peppers, now=now, by=by, label=hand_over.label,
        expires_in=None if ends is None else ends - now,
    )  # fmt: skip
    hand_over.secret_id = issued.secret.id
    _record(session, hand_over, "hand-overs.reveal", now=now, by=by)
    return issued


def deny_reveal(session: Session, hand_over_id: str, *, now: datetime, by: Actor) -> None:
    """The holder of the link says that it was somebody else who has seen the secret: it ends, with the client's tokens.

    Raises:
        HandOverSpentError: if nothing was revealed, or too long ago.
    """
    hand_over = repository.get_hand_over(session, hand_over_id)
    if not may_deny(hand_over, now) or hand_over.secret_id is None:
        raise HandOverSpentError
    if repository.set_denied(session, hand_over_id, at=now, address=_address(by)):
        grants.end_secret(session, hand_over.client_id, hand_over.secret_id, now=now, by=by)
        _record(session, hand_over, "hand-overs.deny", now=now, by=by)


def may_deny(hand_over: HandOver, now: datetime) -> bool:
    """Whether the holder of the link may still end what it has revealed."""
    return hand_over.revealed_at is not None and now < hand_over.revealed_at + rules.DENIAL_LIFE


def list_hand_overs(session: Session, merchant_id: str | None, *, now: datetime) -> Sequence[Receipt]:
    """The receipts of all hand-overs, or of one merchant's.

    Raises:
        MerchantNotFoundError: if a merchant is named that does not exist.
    """
    if merchant_id is not None:
        grants.require_merchant(session, merchant_id)
    return _receipts(session, repository.list_hand_overs(session, merchant_id), now)


def list_newest_hand_overs(
    session: Session,
    *,
    limit: int,
    now: datetime,
    merchant_id: str | None = None,
    client_id: str | None = None,
    before: str | None = None,
) -> Sequence[Receipt]:
    """Receipts, the newest first: so many at most, of one merchant or client if it is named, older than one of them.

    Raises:
        HandOverNotFoundError: if there is none of the id that they are to be older than.
    """
    last = None if before is None else repository.get_hand_over(session, before)
    found = repository.list_newest(session, merchant_id=merchant_id, client_id=client_id, before=last, limit=limit)
    return _receipts(session, found, now)


def show_hand_over(session: Session, hand_over_id: str, *, now: datetime) -> Receipt:
    """The receipt of a hand-over.

    Raises:
        HandOverNotFoundError: if there is none of this id.
    """
    return _receipt(session, repository.get_hand_over(session, hand_over_id), now)


def cancel_hand_over(session: Session, hand_over_id: str, *, now: datetime, by: Actor) -> Receipt:
    """Let the link reveal nothing any more. Doing it twice changes nothing more.

    Raises:
        HandOverNotFoundError: if there is none of this id.
        HandOverRevealedError: if it has revealed its secret.
    """
    is_done = repository.set_cancelled(session, hand_over_id, at=now, by=by.name)
    hand_over = repository.get_hand_over(session, hand_over_id)
    if hand_over.secret_id is not None:
        raise HandOverRevealedError(hand_over.client_id, hand_over.secret_id)
    _record(session, hand_over, "hand-overs.cancel", now=now, by=by, outcome=DONE if is_done else UNCHANGED)
    return _receipt(session, hand_over, now)


def cancel_open_hand_overs(session: Session, *, now: datetime, by: Actor) -> None:
    """Cancel all of them, for an older state was put in place: what was used up since then would be open again."""
    repository.cancel_all_open(session, at=now, by=by.name)


def _receipts(session: Session, hand_overs: Sequence[HandOver], now: datetime) -> list[Receipt]:
    clients = grants.list_clients_by_id(session, {each.client_id for each in hand_overs})
    return [_receipt_for(each, clients[each.client_id], now) for each in hand_overs]


def _receipt(session: Session, hand_over: HandOver, now: datetime) -> Receipt:
    return _receipt_for(hand_over, grants.get_client(session, hand_over.client_id), now)


def _receipt_for(hand_over: HandOver, client: Client, now: datetime) -> Receipt:
    state = rules.state_of(
        now,
        expires_at=hand_over.expires_at,
        revealed_at=hand_over.revealed_at,
        denied_at=hand_over.denied_at,
        cancelled_at=hand_over.cancelled_at,
    )
    is_withdrawn = client.status != ACTIVE or client.merchant.status != ACTIVE
    return Receipt(hand_over, state, client.merchant.name, is_withdrawn)


def _address(by: Actor) -> str:
    return (by.address or "unknown")[:ADDRESS_CHARACTERS]


def _record(
    session: Session, hand_over: HandOver, action: str, *, now: datetime, by: Actor, outcome: str = DONE, **told: object
) -> None:
    record_act(
        session, actor=by, action=action, merchant_id=hand_over.merchant_id, client_id=hand_over.client_id,
        secret_id=hand_over.secret_id, outcome=outcome, now=now, handOver=hand_over.id, **told,
    )  # fmt: skip

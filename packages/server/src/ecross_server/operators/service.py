"""What is done with operators: invite, enroll, sign in, change, disable, sign out. Passkeys: see `passkeys`.

Argon2 runs between transactions, never inside of one: a password is checked against what was read, and what comes of
it is written only where that is still so. What an invitation, a cookie or a code opens is claimed by one conditional
statement, so of many who try the same at once one gets it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ecross_server.audit.rules import ANONYMOUS, Actor, AuditKeys
from ecross_server.audit.service import record_act
from ecross_server.kit.database import Database
from ecross_server.operators import repository, rules
from ecross_server.operators.errors import (
    InvitationNotFoundError,
    LastOwnerError,
    NotEnrolledError,
    OperatorDisabledError,
    OperatorExistsError,
    SessionNotFoundError,
    SignInRefusedError,
    TooManySignInsError,
    WrongCodeError,
)
from ecross_server.operators.models import OperatorAccount, OperatorInvitation, OperatorSession
from ecross_server.operators.rules import Operator, OperatorKeys, Role, SessionEnds, Status

if TYPE_CHECKING:
    from ecross_server.operators.passwords import Passwords

__all__ = ["Operator", "OperatorKeys", "Role", "SessionEnds"]  # what callers pass and get

DONE: Final = "done"
UNCHANGED: Final = "unchanged"
"""The outcome of an act that found all as it was to be."""

REFUSED: Final = "refused"
EPOCHS_BEGIN: Final = datetime(2020, 1, 1, tzinfo=UTC)


class Budgets(Protocol):
    """What is left of each key's budget, as `auth.limits.local.BudgetTable` keeps it."""

    def spend(self, key: int, interval: float, window: float, now: float) -> float:
        """Charge one: what is left, or minus the seconds to wait."""
        ...


@dataclass(frozen=True, slots=True)
class Caller:
    """From where an operator acts, and the keys under which the audit trail has it."""

    keys: AuditKeys = field(repr=False)
    address: str | None = None
    request_id: str | None = None
    user_agent: str | None = None
    neighborhood: str = ""
    """What counts as one address."""

    def actor(self, operator_id: str) -> Actor:
        """The operator, as the audit trail names who acts."""
        return Actor(f"operator:{operator_id}", self.keys, self.address, self.request_id)


@dataclass(frozen=True, slots=True)
class Invitation:
    """A new invitation. The token is to be had here and never again."""

    operator: Operator
    token: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Whom an invitation is for, and the seed of the codes, as people type it and as a QR code holds it."""

    operator: Operator
    totp_secret: str = field(repr=False)
    totp_uri: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """What somebody who signs in has typed."""

    operator_id: str
    password: str = field(repr=False)
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proof:
    """That password and code were right a moment ago; it works once, as the code does."""

    operator_id: str
    step: int = field(repr=False)
    password_hash: str = field(repr=False)
    renewed: Mapping[str, object] = field(default_factory=dict, repr=False)
    """What is kept from now on, where that was under another pepper."""
    keys: OperatorKeys | None = field(default=None, repr=False)
    """Those to seal the passkeys with from now on, likewise."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session of an operator. `session_id` names it and opens nothing; `ends_at` is when it ends in any case."""

    operator: Operator
    session_id: str
    created_at: datetime
    last_seen_at: datetime
    ends_at: datetime
    address: str | None
    user_agent: str | None


class SignInGuard:
    """Slows down those who guess: each operator at each address by itself, so nobody can keep another out.

    And each address as a whole, which would otherwise ask for as much work as it likes.
    The processes of a server that share the table share the budgets; several servers count each by itself.
    """

    TRIES: Final = 5
    INTERVAL: Final = 30.0
    ADDRESS_TRIES: Final = 20
    ADDRESS_INTERVAL: Final = 5.0

    def __init__(self, table: Budgets, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._table = table
        self._monotonic = monotonic
        self._lock = threading.Lock()

    def charge(self, operator_id: str, neighborhood: str) -> None:
        """Count a try before it is looked at.

        Raises:
            TooManySignInsError: if there were too many.
        """
        self.charge_address(neighborhood)
        self._charge(("operator's sign-in", operator_id, neighborhood), self.TRIES, self.INTERVAL)

    def charge_address(self, neighborhood: str) -> None:
        """Count what is no try at an operator's password, but as much work.

        Raises:
            TooManySignInsError: as `charge`.
        """
        self._charge(("sign-ins", neighborhood), self.ADDRESS_TRIES, self.ADDRESS_INTERVAL)

    def _charge(self, name: tuple[str, ...], tries: int, interval: float) -> None:
        with self._lock:
            left = self._table.spend(hash(name), interval, interval * tries, self._monotonic())
        if left < 0:
            raise TooManySignInsError(-left)


@dataclass(frozen=True, slots=True)
class Door:
    """What it takes to let operators in. The keys are asked for each time: the file of peppers may have changed."""

    keys: Callable[[], OperatorKeys]
    passwords: Passwords
    guard: SignInGuard


def invite_operator(
    session: Session, operator_id: str, name: str, role: str, *, keys: OperatorKeys, now: datetime, by: Actor
) -> Invitation:
    """A new operator, who enrolls with the invitation's token within 24 hours.

    Raises:
        InvalidInputError: for an id, name or role of the wrong form.
        OperatorExistsError: if the id is taken; `reinvite_operator` is for those who have forgotten their password.
    """
    rules.check_operator_id(operator_id)
    rules.check_name(name)
    role = rules.read_role(role)
    if repository.find_operator(session, operator_id) is not None:
        raise OperatorExistsError(operator_id)
    account = OperatorAccount(
        id=operator_id, name=name, role=role, status=Status.INVITED, epoch=1, created_at=now, last_signed_in_at=None,
        pepper_id=None, password_hash=None, totp_seed=None, totp_step=None,
    )  # fmt: skip
    session.add(account)
    try:
        session.flush()
    except IntegrityError:  # another process was faster
        raise OperatorExistsError(operator_id) from None
    record_act(session, actor=by, action="operators.add", now=now, operatorId=operator_id, name=name, role=role)
    return _invite(session, account, keys, now)


def reinvite_operator(
    session: Session, operator_id: str, *, keys: OperatorKeys, now: datetime, by: Actor
) -> Invitation:
    """Another invitation for an operator, in the place of any before.

    Once it is used, the old password, passkeys, sessions and tokens end; until then all stays as it is.

    Raises:
        OperatorNotFoundError: if there is no such operator.
        OperatorDisabledError: if it is disabled.
    """
    account = repository.hold_operator(session, operator_id)
    if account.status == Status.DISABLED:
        raise OperatorDisabledError(operator_id)
    record_act(session, actor=by, action="operators.reinvite", now=now, operatorId=operator_id)
    return _invite(session, account, keys, now)


def list_operators(session: Session) -> list[Operator]:
    """All operators, ordered by id."""
    return [_operator(account) for account in repository.list_operators(session)]


def get_operator(session: Session, operator_id: str) -> Operator:
    """The operator of this id.

    Raises:
        OperatorNotFoundError: if there is none.
    """
    return _operator(repository.get_operator(session, operator_id))


def find_operator(session: Session, operator_id: str) -> Operator | None:
    """The operator of this id, `None` if there is none."""
    account = repository.find_operator(session, operator_id)
    return None if account is None else _operator(account)


def change_role(session: Session, operator_id: str, role: str, *, now: datetime, by: Actor) -> Operator:
    """Give an operator another role. Its sessions go on with it; its administration tokens end.

    Raises:
        OperatorNotFoundError: if there is no such operator.
        InvalidInputError: for a role that there is not.
        LastOwnerError: if nobody could manage operators any more.
    """
    new = rules.read_role(role)
    account = _hold(session, operator_id, keeps_owner=new is Role.OWNER)
    outcome = UNCHANGED
    old = account.role
    if old != new:
        outcome = DONE
        account.role = new
        account.epoch += 1
    record_act(
        session, actor=by, action="operators.role", now=now, outcome=outcome, operatorId=operator_id, role=new, old=old
    )
    return _operator(account)


def disable_operator(session: Session, operator_id: str, *, now: datetime, by: Actor) -> Operator:
    """End an operator's access: sessions, tokens and an open invitation end at once.

    Raises:
        OperatorNotFoundError: if there is no such operator.
        LastOwnerError: if nobody could manage operators any more.
    """
    account = _hold(session, operator_id)
    outcome = UNCHANGED
    if account.status != Status.DISABLED:
        outcome = DONE
        account.status = Status.DISABLED
        _end_access(session, account)
        repository.remove_invitations(session, operator_id)
    record_act(session, actor=by, action="operators.disable", now=now, outcome=outcome, operatorId=operator_id)
    return _operator(account)


def enable_operator(session: Session, operator_id: str, *, now: datetime, by: Actor) -> Operator:
    """Let a disabled operator sign in again, with the password and the authenticator of before.

    Raises:
        OperatorNotFoundError: if there is no such operator.
    """
    account = repository.hold_operator(session, operator_id)
    outcome = UNCHANGED
    if account.status == Status.DISABLED:
        outcome = DONE
        account.status = Status.INVITED if account.password_hash is None else Status.ACTIVE
    record_act(session, actor=by, action="operators.enable", now=now, outcome=outcome, operatorId=operator_id)
    return _operator(account)


def begin_enrolment(session: Session, token: str, *, keys: OperatorKeys, now: datetime) -> Enrolment:
    """What somebody with an invitation sets the authenticator up with. That uses nothing up, however often.

    Raises:
        InvitationNotFoundError: for any token that is of no use, whatever its form.
    """
    invitation, account, seed = _find_invitation(session, token, keys, now)
    return Enrolment(
        _operator(account), rules.shown_seed(seed), rules.seed_uri(seed, account.id), invitation.expires_at
    )


def finish_enrolment(
    database: Database,
    token: str,
    password: str,
    code: str,
    *,
    door: Door,
    caller: Caller,
    now: datetime,
) -> Operator:
    """Use an invitation up with the chosen password, and a code which shows that the authenticator is set up.

    The code is of no use afterwards. Passkeys, sessions and tokens from before, if there are any, end.

    Raises:
        InvitationNotFoundError: if the token is of no use, or somebody was faster.
        InvalidInputError: if the password will not do; the invitation stays as it was, as with the next two.
        WrongCodeError: if the code is not the authenticator's.
        SignInsBusyError: if too many passwords are being checked.
    """
    keys = door.keys()
    with database.read() as session:
        _, account, seed = _find_invitation(session, token, keys, now)
        operator_id, name = account.id, account.name
    rules.check_password(password, operator_id=operator_id, name=name)
    step = rules.matching_step(seed, code, now)
    if step is None:
        raise WrongCodeError
    password_hash = door.passwords.hash(keys.new_password_message(operator_id, password))
    with database.write() as session:
        account = repository.hold_operator(session, operator_id)
        if not repository.claim_invitation(session, rules.digest_of(token)):
            raise InvitationNotFoundError
        account.pepper_id = keys.current
        account.password_hash = password_hash
        account.totp_seed = keys.seal_seed(operator_id, seed)
        account.totp_step = step
        account.status = Status.ACTIVE
        _end_access(session, account)
        repository.remove_passkeys(session, operator_id)
        by = caller.actor(operator_id)
        record_act(session, actor=by, action="operators.enroll", now=now, operatorId=operator_id)
        return _operator(account)


def check_sign_in(database: Database, attempt: Attempt, *, door: Door, caller: Caller, now: datetime) -> Proof:
    """What `open_session` or `claim_sign_in` take, if operator, password and code are right. A refusal is recorded.

    The same steps are taken whatever is wrong.

    Raises:
        SignInRefusedError: if anything is wrong.
        TooManySignInsError: if too many attempts came from there; nothing was looked at.
        SignInsBusyError: if too many passwords are being checked.
    """
    door.guard.charge(attempt.operator_id, caller.neighborhood)
    keys = door.keys()
    with database.read() as session:
        account = repository.find_operator(session, attempt.operator_id)
        kept = _kept(account) if account is not None else _Kept()
    pepper_id = kept.pepper_id or keys.current
    try:
        message = keys.password_message(pepper_id, kept.operator_id, attempt.password)
    except UnicodeEncodeError:
        message = None
    is_right = door.passwords.is_right(kept.password_hash, message)
    seed = keys.open_seed(pepper_id, kept.operator_id, kept.totp_seed)
    step = rules.matching_step(seed or bytes(rules.SEED_BYTES), attempt.code, now)
    is_fresh = step is not None and step > kept.totp_step
    if (
        not (is_right and is_fresh and kept.is_active)
        or seed is None or step is None or kept.password_hash is None
    ):  # fmt: skip
        with database.write() as session:
            # Of a name that is nobody's nothing is kept: it may be a password in the wrong place.
            who = {"operatorId": kept.operator_id} if account is not None else {}
            actor = Actor(ANONYMOUS, caller.keys, caller.address, caller.request_id)
            record_act(session, actor=actor, action="operators.sign_in", now=now, outcome=REFUSED, **who)
        raise SignInRefusedError
    if pepper_id == keys.current:
        return Proof(kept.operator_id, step, kept.password_hash)
    renewed = {
        "pepper_id": keys.current,
        "password_hash": door.passwords.hash(keys.new_password_message(kept.operator_id, attempt.password)),
        "totp_seed": keys.seal_seed(kept.operator_id, seed),
    }
    return Proof(kept.operator_id, step, kept.password_hash, renewed, keys)


def claim_sign_in(session: Session, proof: Proof, *, now: datetime) -> Operator:
    """Use the proof up: a part of the acts that let an operator in, which record it.

    Raises:
        SignInRefusedError: if its code was used meanwhile, or the password was changed or the operator disabled.
    """
    is_ours = repository.claim_step(
        session, proof.operator_id, proof.password_hash, proof.step, last_signed_in_at=now, **proof.renewed
    )
    if not is_ours:
        raise SignInRefusedError
    if proof.keys is not None:
        reseal_passkeys(session, proof.operator_id, proof.keys)
    return _operator(repository.get_operator(session, proof.operator_id))


def open_session(
    session: Session, proof: Proof, *, ends: SessionEnds, caller: Caller, now: datetime
) -> tuple[str, SignedIn]:
    """A new session, and the value of its cookie, which is to be had here and never again.

    Raises:
        SignInRefusedError: as `claim_sign_in`.
    """
    operator = claim_sign_in(session, proof, now=now)
    return begin_session(session, operator, ends=ends, caller=caller, now=now)


def begin_session(
    session: Session, operator: Operator, *, ends: SessionEnds, caller: Caller, now: datetime, **way: str
) -> tuple[str, SignedIn]:
    """As `open_session`, for an operator whom something else has let in: `way` tells the audit trail what.

    A part of the acts that have checked that.
    """
    repository.remove_ended_sessions(session, ends, now)
    value = rules.new_session_value()
    opened = OperatorSession(
        id=rules.new_session_id(),
        digest=rules.digest_of(value),
        operator_id=operator.operator_id,
        created_at=now,
        last_seen_at=now,
        ends_at=now + ends.absolute,
        address=None if caller.address is None else caller.address[: rules.ADDRESS_CHARACTERS],
        user_agent=_shown_agent(caller.user_agent),
    )
    session.add(opened)
    session.flush()
    by = caller.actor(operator.operator_id)
    record_act(
        session, actor=by, action="operators.sign_in", now=now, operatorId=operator.operator_id, sessionId=opened.id,
        **way,
    )  # fmt: skip
    return value, _signed_in(opened, operator)


def find_session(session: Session, value: str, *, ends: SessionEnds, now: datetime) -> SignedIn | None:
    """The live session of a cookie's value, `None` for all others. Its use is not noted: see `use_session`."""
    if rules.SESSION_VALUE.fullmatch(value) is None:
        return None
    found = repository.find_session(session, rules.digest_of(value))
    if found is None:
        return None
    kept, account = found
    is_over = kept.ends_at <= now or kept.last_seen_at <= now - ends.idle
    return None if is_over or account.status != Status.ACTIVE else _signed_in(kept, _operator(account))


def use_session(database: Database, value: str, *, ends: SessionEnds, now: datetime) -> SignedIn | None:
    """As `find_session`, and the session's idle time begins anew, which is kept at most once a minute."""
    with database.read() as session:
        found = find_session(session, value, ends=ends, now=now)
    if found is not None and now - found.last_seen_at >= rules.LAST_SEEN_EVERY:
        with database.write() as session:
            repository.set_last_seen(session, found.session_id, now)
    return found


def list_sessions(session: Session, operator_id: str, *, ends: SessionEnds, now: datetime) -> list[SignedIn]:
    """The operator's live sessions, the newest last.

    Raises:
        OperatorNotFoundError: if there is no such operator.
    """
    operator = get_operator(session, operator_id)
    return [
        _signed_in(kept, operator)
        for kept in repository.list_sessions(session, operator_id)
        if kept.ends_at > now and kept.last_seen_at > now - ends.idle
    ]


def end_session(session: Session, value: str, *, caller: Caller, now: datetime) -> bool:
    """Sign out: end the session of a cookie's value. Whether there was one."""
    found = None
    if rules.SESSION_VALUE.fullmatch(value) is not None:
        found = repository.find_session(session, rules.digest_of(value))
    if found is None:
        return False
    kept, account = found
    repository.remove_sessions(session, account.id, [kept.id])
    record_act(
        session, actor=caller.actor(account.id), action="operators.sign_out", now=now, operatorId=account.id,
        sessionId=kept.id,
    )  # fmt: skip
    return True


def end_sessions(
    session: Session, operator_id: str, *, now: datetime, by: Actor, session_ids: Iterable[str] | None = None
) -> Sequence[str]:
    """End sessions of an operator: those named, or all of them together with its administration tokens. Their ids.

    Raises:
        OperatorNotFoundError: if there is no such operator.
        SessionNotFoundError: if one that is named is not the operator's; then none is ended.
    """
    account = repository.hold_operator(session, operator_id)
    named = None if session_ids is None else sorted(set(session_ids))
    gone = repository.remove_sessions(session, operator_id, named)
    if named is None:
        account.epoch += 1
    elif len(gone) < len(named):
        raise SessionNotFoundError
    record_act(
        session, actor=by, action="operators.end_sessions", now=now, operatorId=operator_id, sessions=len(gone),
        **({} if named is None else {"sessionIds": ",".join(named)}),
    )  # fmt: skip
    return gone


def record_token(session: Session, operator: Operator, token_id: str, *, now: datetime, by: Actor) -> None:
    """Record that an administration token was made for the operator: a part of the acts that give one."""
    record_act(
        session, actor=by, action="operators.issue_token", now=now, operatorId=operator.operator_id, tokenId=token_id
    )


def require_able(operator: Operator) -> Operator:
    """The operator, if nothing keeps it from acting.

    Raises:
        OperatorDisabledError: if it is disabled.
        NotEnrolledError: if it has not used the invitation yet.
    """
    if operator.status is Status.DISABLED:
        raise OperatorDisabledError(operator.operator_id)
    if operator.status is Status.INVITED:
        raise NotEnrolledError(operator.operator_id)
    return operator


def count_under_peppers(session: Session) -> dict[str, int]:
    """So many operators could not sign in without each of the peppers."""
    return repository.count_under_peppers(session)


def end_under_pepper(session: Session, pepper_id: str) -> int:
    """Let go of what only this pepper could open: these operators have to be invited again. How many they are.

    A part of the act that removes a pepper, which records it.
    """
    accounts = repository.list_under_pepper(session, pepper_id)
    for account in accounts:
        account.pepper_id = account.password_hash = account.totp_seed = None
        if account.status == Status.ACTIVE:
            account.status = Status.INVITED
        _end_access(session, account)
    repository.remove_passkeys(session, pepper_id=pepper_id)
    return len(accounts)


def reseal_passkeys(session: Session, operator_id: str, keys: OperatorKeys) -> None:
    """Bring an operator's passkeys under the current pepper: a part of the acts that let an operator in."""
    for kept in repository.list_passkeys(session, operator_id):
        is_old = kept.pepper_id != keys.current
        if is_old and keys.is_sealed(kept.pepper_id, operator_id, kept.id, kept.credential, kept.seal):
            kept.pepper_id = keys.current
            kept.seal = keys.seal_passkey(operator_id, kept.id, kept.credential)


def end_all_access(session: Session, *, now: datetime) -> None:
    """End every session, administration token and open invitation, for an older state was put in place.

    A part of the act that did so, which records it.
    """
    repository.remove_sessions(session)
    repository.remove_invitations(session)
    # What was before may be lost, so it must not depend on that: nobody raises an epoch each second from the first day.
    repository.set_epochs(session, int((now - EPOCHS_BEGIN).total_seconds()))


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is kept of an operator's password and seed; of nobody, it has the same form."""

    operator_id: str = ""
    is_active: bool = False
    pepper_id: str | None = None
    password_hash: str | None = field(default=None, repr=False)
    totp_seed: bytes = field(default=bytes(rules.NONCE_BYTES + rules.SEED_BYTES), repr=False)
    totp_step: int = -1


def _kept(account: OperatorAccount) -> _Kept:
    nobody = _Kept()
    return _Kept(
        account.id,
        account.status == Status.ACTIVE,
        account.pepper_id,
        account.password_hash,
        account.totp_seed or nobody.totp_seed,
        nobody.totp_step if account.totp_step is None else account.totp_step,
    )


def _invite(session: Session, account: OperatorAccount, keys: OperatorKeys, now: datetime) -> Invitation:
    token = rules.new_invitation_token()
    repository.remove_invitations(session, account.id)
    invitation = OperatorInvitation(
        operator_id=account.id, token_digest=rules.digest_of(token), pepper_id=keys.current, created_at=now,
        expires_at=now + rules.INVITATION_LIFE,
    )  # fmt: skip
    session.add(invitation)
    session.flush()
    return Invitation(_operator(account), token, invitation.expires_at)


def _find_invitation(
    session: Session, token: str, keys: OperatorKeys, now: datetime
) -> tuple[OperatorInvitation, OperatorAccount, bytes]:
    found = None
    if rules.INVITATION_TOKEN.fullmatch(token) is not None:
        found = repository.find_invitation(session, rules.digest_of(token))
    if found is None or found.expires_at <= now:
        raise InvitationNotFoundError
    seed = keys.enrolment_seed(found.pepper_id, found.operator_id, token)
    if seed is None:  # its pepper has been retired since
        raise InvitationNotFoundError
    return found, repository.get_operator(session, found.operator_id), seed


def _hold(session: Session, operator_id: str, *, keeps_owner: bool = False) -> OperatorAccount:
    # All owners first, by their ids: two who end each other's access take turns, and the second one is refused.
    owners = repository.hold_active_owners(session)
    account = repository.hold_operator(session, operator_id)
    if not keeps_owner and list(owners) == [operator_id]:
        raise LastOwnerError(operator_id)
    return account


def _end_access(session: Session, account: OperatorAccount) -> None:
    account.epoch += 1
    repository.remove_sessions(session, account.id)


def _operator(account: OperatorAccount) -> Operator:
    return Operator(
        operator_id=account.id,
        name=account.name,
        role=Role(account.role),
        status=Status(account.status),
        created_at=account.created_at,
        last_signed_in_at=account.last_signed_in_at,
        has_password=account.password_hash is not None,
        has_totp=account.totp_seed is not None,
        epoch=account.epoch,
    )


def _signed_in(kept: OperatorSession, operator: Operator) -> SignedIn:
    return SignedIn(operator, kept.id, kept.created_at, kept.last_seen_at, kept.ends_at, kept.address, kept.user_agent)


def _shown_agent(user_agent: str | None) -> str | None:
    if user_agent is None:
        return None
    return "".join(each for each in user_agent if each.isprintable())[: rules.USER_AGENT_CHARACTERS]

"""What is done with passkeys: add, sign in with, list, remove.

A passkey stands for password and code together: the device has checked that its owner is there. To add one takes both.
Challenges are kept nowhere until they are answered; each is good for one answer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ecross_server.audit.rules import ANONYMOUS, Actor
from ecross_server.audit.service import record_act
from ecross_server.kit.database import Database
from ecross_server.operators import repository, rules, service, webauthn
from ecross_server.operators.errors import (
    PasskeyNotFoundError,
    PasskeyRefusedError,
    PasskeyTooLateError,
    PasskeyUnusableError,
    TooManyPasskeysError,
)
from ecross_server.operators.models import OperatorAccount, OperatorPasskey
from ecross_server.operators.rules import OperatorKeys, Passkey, SessionEnds, Status
from ecross_server.operators.service import Caller, Door, Proof, SignedIn
from ecross_server.operators.webauthn import Answer, Options, RelyingParty, WrongAnswerError

__all__ = ["Passkey", "RelyingParty"]  # what callers pass and get

MOST: Final = 10
SIGN_IN: Final = "sign in"


@dataclass(frozen=True, slots=True)
class PasskeyProof:
    """That a passkey has answered a challenge rightly; it works once, as the challenge does."""

    operator_id: str
    passkey_id: str
    spent: bytes = field(repr=False)
    spent_until: datetime
    seal: bytes = field(repr=False)
    sign_count: int
    new_sign_count: int
    keys: OperatorKeys = field(repr=False)


def begin_passkey(
    session: Session, proof: Proof, label: str, *, session_id: str, party: RelyingParty, keys: OperatorKeys,
    now: datetime,
) -> Options:  # fmt: skip
    """What the browser makes a passkey with, for the operator whose password and code were right a moment ago.

    Raises:
        InvalidInputError: for a label that will not do.
        SignInRefusedError: if the proof was used up meanwhile.
        TooManyPasskeysError: if the operator has as many as are allowed.
    """
    rules.check_passkey_label(label)
    operator = service.claim_sign_in(session, proof, now=now)
    known = repository.list_passkeys(session, operator.operator_id)
    if len(known) >= MOST:
        raise TooManyPasskeysError(MOST)
    challenge = keys.new_challenge(_creation(operator.operator_id, session_id), now)
    ids = [webauthn.credential_id_of(each.credential) for each in known]
    return webauthn.creation_options(party, challenge, operator.operator_id, operator.name, ids)


def add_passkey(
    session: Session, signed_in: SignedIn, label: str, text: str, *, party: RelyingParty, keys: OperatorKeys,
    now: datetime, by: Actor,
) -> Passkey:  # fmt: skip
    """Keep what the browser has made, in the session of the console in which that was begun.

    Raises:
        InvalidInputError: for a label that will not do.
        PasskeyTooLateError: if too much time has passed since `begin_passkey`.
        PasskeyUnusableError: if it is no passkey as it was asked for, or is known already.
        TooManyPasskeysError: if the operator has as many as are allowed.
    """
    rules.check_passkey_label(label)
    operator_id = signed_in.operator.operator_id
    try:
        answer = webauthn.read_answer(text)
        until = keys.challenge_end(answer.challenge, _creation(operator_id, signed_in.session_id))
        created = webauthn.check_creation(party, answer)
    except WrongAnswerError:
        raise PasskeyUnusableError from None
    if until is None:
        raise PasskeyUnusableError
    if until <= now:
        raise PasskeyTooLateError
    account = repository.hold_operator(session, operator_id)
    if account.status != Status.ACTIVE:
        raise PasskeyUnusableError
    if len(repository.list_passkeys(session, operator_id)) >= MOST:
        raise TooManyPasskeysError(MOST)
    passkey_id = rules.new_passkey_id()
    kept = OperatorPasskey(
        id=passkey_id, operator_id=operator_id, label=label, credential_digest=_digest(created.credential_id),
        credential=created.credential, pepper_id=keys.current,
        seal=keys.seal_passkey(operator_id, passkey_id, created.credential), sign_count=created.sign_count,
        created_at=now, last_used_at=None,
    )  # fmt: skip
    session.add(kept)
    try:
        session.flush()
        repository.spend_challenge(session, _digest(answer.challenge), until, now)
    except IntegrityError:
        raise PasskeyUnusableError from None
    record_act(
        session, actor=by, action="operators.add_passkey", now=now, operatorId=operator_id, passkeyId=passkey_id,
        label=label,
    )  # fmt: skip
    return _passkey(kept)


def ask_for_passkey(party: RelyingParty, *, keys: OperatorKeys, now: datetime) -> Options:
    """What a browser asks for a passkey with, whoever's it is."""
    return webauthn.request_options(party, keys.new_challenge(SIGN_IN, now))


def check_passkey(
    database: Database, text: str, *, party: RelyingParty, door: Door, caller: Caller, now: datetime
) -> PasskeyProof:
    """What `open_session` takes, if the answer is that of a passkey of somebody who may sign in. A refusal is recorded.

    Raises:
        PasskeyRefusedError: if anything is wrong.
        PasskeyTooLateError: if too much time has passed since `ask_for_passkey`.
        TooManySignInsError: if too many attempts came from there; nothing was looked at.
    """
    door.guard.charge_address(caller.neighborhood)
    keys = door.keys()
    found = count = None
    answer, until = _read(text, keys)
    if answer is not None and until is not None:
        if until <= now:
            raise PasskeyTooLateError
        with database.read() as session:
            found = repository.find_passkey(session, _digest(answer.credential_id))
        count = None if found is None else _count(*found, answer, party, keys)
    if answer is None or until is None or found is None or count is None:
        with database.write() as session:
            # Of a passkey that is nobody's nothing is kept.
            who = {} if found is None else {"operatorId": found[1].id, "passkeyId": found[0].id}
            actor = Actor(ANONYMOUS, caller.keys, caller.address, caller.request_id)
            record_act(
                session, actor=actor, action="operators.sign_in", now=now, outcome=service.REFUSED, way="passkey", **who
            )
        raise PasskeyRefusedError
    kept, account = found
    return PasskeyProof(account.id, kept.id, _digest(answer.challenge), until, kept.seal, kept.sign_count, count, keys)


def open_session(
    session: Session, proof: PasskeyProof, *, ends: SessionEnds, caller: Caller, now: datetime
) -> tuple[str, SignedIn]:
    """A new session, and the value of its cookie, which is to be had here and never again.

    Raises:
        PasskeyRefusedError: if the challenge was answered before, or the passkey removed or the operator disabled
            meanwhile.
    """
    account = repository.hold_operator(session, proof.operator_id)
    is_ours = account.status == Status.ACTIVE and repository.claim_passkey(
        session, proof.passkey_id, proof.seal, proof.sign_count, sign_count=proof.new_sign_count, last_used_at=now
    )
    if not is_ours:
        raise PasskeyRefusedError
    try:
        repository.spend_challenge(session, proof.spent, proof.spent_until, now)
    except IntegrityError:
        raise PasskeyRefusedError from None
    account.last_signed_in_at = now
    service.reseal_passkeys(session, proof.operator_id, proof.keys)
    operator = service.get_operator(session, proof.operator_id)
    return service.begin_session(session, operator, ends=ends, caller=caller, now=now, passkeyId=proof.passkey_id)


def list_passkeys(session: Session, operator_id: str) -> list[Passkey]:
    """The operator's passkeys, the newest last.

    Raises:
        OperatorNotFoundError: if there is no such operator.
    """
    repository.get_operator(session, operator_id)
    return [_passkey(kept) for kept in repository.list_passkeys(session, operator_id)]


def remove_passkey(session: Session, operator_id: str, passkey_id: str, *, now: datetime, by: Actor) -> None:
    """Let a passkey open nothing any more. Sessions that it has begun go on.

    Raises:
        OperatorNotFoundError: if there is no such operator.
        PasskeyNotFoundError: if it has no such passkey.
    """
    repository.hold_operator(session, operator_id)
    if not repository.remove_passkeys(session, operator_id, passkey_id):
        raise PasskeyNotFoundError
    record_act(
        session, actor=by, action="operators.remove_passkey", now=now, operatorId=operator_id, passkeyId=passkey_id
    )


def _read(text: str, keys: OperatorKeys) -> tuple[Answer | None, datetime | None]:
    """The answer, and until when its challenge is good; `None` for what is no answer, or none to us."""
    try:
        answer = webauthn.read_answer(text)
    except WrongAnswerError:
        return None, None
    return answer, keys.challenge_end(answer.challenge, SIGN_IN)


def _count(
    kept: OperatorPasskey, account: OperatorAccount, answer: Answer, party: RelyingParty, keys: OperatorKeys
) -> int | None:
    """How many signatures the passkey has made by now; `None` if it does not let its operator in."""
    is_sealed = keys.is_sealed(kept.pepper_id, account.id, kept.id, kept.credential, kept.seal)
    is_of_them = answer.user_handle in {None, webauthn.user_handle(account.id)}
    if account.status != Status.ACTIVE or not is_sealed or not is_of_them:
        return None
    try:
        count = webauthn.check_request(party, answer, kept.credential)
    except WrongAnswerError:
        return None
    # Some count nothing. One that counts must go on: else there are two of it (WebAuthn, 6.1.1).
    return count if count > kept.sign_count or count == kept.sign_count == 0 else None


def _creation(operator_id: str, session_id: str) -> str:
    return f"add\0{operator_id}\0{session_id}"


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _passkey(kept: OperatorPasskey) -> Passkey:
    return Passkey(kept.id, kept.operator_id, kept.label, kept.created_at, kept.last_used_at)

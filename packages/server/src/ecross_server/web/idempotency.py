"""`Idempotency-Key`: a request that is sent again with its key is answered again, and nothing is done twice.

As in draft-ietf-httpapi-idempotency-key-header, but for the status of a key that came with another request.
"""

from __future__ import annotations

import hashlib
import secrets
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final, TypeVar

from fastapi import Depends, Header, Request
from sqlalchemy import Index, LargeBinary, String, bindparam, delete, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from ecross_server.kit.database import Base, Database, UtcDateTime, take_turns
from ecross_server.kit.errors import ConflictError, Fault, InvalidInputError

HEADER: Final = "Idempotency-Key"
LONGEST_KEY: Final = 255
LIFE: Final = timedelta(hours=24)
"""How long a key is remembered."""

FASTEST: Final = 1
MOST_BYTES: Final = 64 * 1024 * 1024
"""So much is kept for one merchant, compressed; beyond it the oldest keys are forgotten before their time."""

BYTES_A_LOOK: Final = 1024 * 1024
ROW_BYTES: Final = 500
"""What an answer occupies beside its body."""

Result = TypeVar("Result")


class IdempotentAnswer(Base):
    """What was answered to a request with a key. Kept in the transaction of what it did."""

    __tablename__ = "idempotent_answers"
    __table_args__ = (Index(None, "merchant_id", "expires_at"),)

    merchant_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    key: Mapped[str] = mapped_column(String(LONGEST_KEY), primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class IdempotencyKeyReusedError(ConflictError):
    """The key came with another request before."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(f"This {HEADER} came with another request before. Use a new key for a new request.")


EXPIRED: Final = IdempotentAnswer.expires_at <= bindparam("now", type_=UtcDateTime)


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request's key, and the digest of what it asks for."""

    key: str
    digest: bytes


async def get_keyed_request(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description="Makes a repeated request safe: with the same key and body it is answered as the first time, "
            "and nothing is done twice. Remembered for 24 hours, or the last 64 MiB of answers; at most 255 visible "
            "characters.",
            min_length=1,
            max_length=LONGEST_KEY,
            pattern="^[!-~]+$",
            examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
        ),
    ] = None,
) -> KeyedRequest | None:
    """The request's key, if it has one.

    Raises:
        InvalidInputError: if there are two.
    """
    if key is None:
        return None
    if len(request.headers.getlist(HEADER)) > 1:
        reason = "must not be sent twice"
        raise InvalidInputError(f"{HEADER} {reason}", (Fault(HEADER, reason),))
    digest = hashlib.sha256(f"{request.method} {request.scope['path']}\n".encode() + await request.body()).digest()
    return KeyedRequest(key, digest)


CurrentKeyedRequest = Annotated[KeyedRequest | None, Depends(get_keyed_request)]
"""What an endpoint asks for that may be called again."""


def answer_once(
    database: Database,
    merchant_id: str,
    keyed: KeyedRequest | None,
    act: Callable[[Session], Result],
    to_body: Callable[[Result], bytes],
    *,
    now: datetime,
) -> bytes:
    """Act in a transaction; the body of the answer, or the one given when the request came the first time.

    Two requests with keys of one merchant take turns. What `act` raises is not remembered: nothing was done then.

    Raises:
        IdempotencyKeyReusedError: if the key came with another request.
    """
    if keyed is None:
        with database.write() as session:
            result = act(session)
        return to_body(result)  # after the commit: others wait for their turn until then
    with database.write() as session:
        take_turns(session, f"idempotency keys of {merchant_id}")
        session.execute(
            delete(IdempotentAnswer).where(IdempotentAnswer.merchant_id == merchant_id, EXPIRED), {"now": now}
        )
        kept = session.get(IdempotentAnswer, (merchant_id, keyed.key))
        if kept is None:
            return _act_and_keep(session, merchant_id, keyed, lambda: to_body(act(session)), now)
    if kept.digest != keyed.digest:
        raise IdempotencyKeyReusedError
    return zlib.decompress(kept.body)


def _act_and_keep(
    session: Session, merchant_id: str, keyed: KeyedRequest, act: Callable[[], bytes], now: datetime
) -> bytes:
    body = act()
    answer = IdempotentAnswer(
        merchant_id=merchant_id,
        key=keyed.key,
        digest=keyed.digest,
        body=zlib.compress(body, FASTEST),
        expires_at=now + LIFE,
    )
    session.add(answer)
    # Seldom, as it looks at all of them: once for so many bytes, whatever the answers' sizes are.
    if secrets.randbelow(BYTES_A_LOOK) < len(answer.body) + ROW_BYTES:
        session.flush()
        _forget_oldest(session, merchant_id)
    return body


def _forget_oldest(session: Session, merchant_id: str) -> None:
    mine = IdempotentAnswer.merchant_id == merchant_id
    size = func.length(IdempotentAnswer.body) + ROW_BYTES
    held = select(
        IdempotentAnswer.expires_at, func.sum(size).over(order_by=IdempotentAnswer.expires_at.desc()).label("held")
    )
    sums = held.where(mine).subquery()
    too_old = select(func.max(sums.c.expires_at)).where(sums.c.held > MOST_BYTES).scalar_subquery()
    session.execute(delete(IdempotentAnswer).where(mine, IdempotentAnswer.expires_at <= too_old))

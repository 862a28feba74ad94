"""Pure rules of approvals: what needs one, how long it may take, and what has become of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

LIFE: Final = timedelta(days=1)
"""So long after the question it may be answered, and what was granted be done."""

REASON_CHARACTERS: Final = 300


class Act(StrEnum):
    """What gives somebody a secret, as the audit trail calls it."""

    ISSUE = "credentials.issue"
    ROTATE = "credentials.rotate"
    REPLACE_LEAKED = "credentials.leaked"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be done to whom; a new client has no id yet."""

    act: Act
    merchant_id: str
    client_id: str | None = None


class State(StrEnum):
    """What has become of an approval."""

    ASKED = "asked"
    GRANTED = "granted"
    REFUSED = "refused"
    USED = "used"
    EXPIRED = "expired"


def state_of(now: datetime, *, expires_at: datetime, is_granted: bool | None, used_at: datetime | None) -> State:
    """What has become of it by now."""
    if used_at is not None:
        return State.USED
    if is_granted is False:
        return State.REFUSED
    if now >= expires_at:
        return State.EXPIRED
    return State.ASKED if is_granted is None else State.GRANTED

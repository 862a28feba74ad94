"""The wire form of approvals, for representatives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from ecross_server.approvals.rules import Act, State
from ecross_server.approvals.service import Approval, state_of
from ecross_server.kit.clock import rfc3339

Instant = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class ApprovalOut(_Wire):
    """What was asked for, and what was said."""

    approval_id: str = Field(examples=["apr_q7w4k2m5zt3xa"])
    act: Act = Field(examples=[Act.ISSUE])
    merchant_id: str = Field(examples=["ACME"])
    client_id: str | None = Field(examples=["acme-q7w4k2m5zt3xa"])
    reason: str = Field(examples=["The warehouse system gets its own."])
    state: State = Field(examples=[State.ASKED])
    asked_at: Instant = Field(examples=["2026-11-25T10:00:00.000Z"])
    asked_by: str = Field(examples=["operator:ann"])
    expires_at: Instant = Field(examples=["2026-11-26T10:00:00.000Z"])
    decided_at: Instant | None
    decided_by: str | None
    used_at: Instant | None

    @classmethod
    def of(cls, approval: Approval, now: datetime) -> ApprovalOut:
        """The wire form, as of now."""
        same = {name: getattr(approval, name) for name in cls.model_fields if hasattr(approval, name)}
        return cls(approval_id=approval.id, state=state_of(approval, now), **same)


class ApprovalListOut(_Wire):
    """Approvals, the newest first."""

    approvals: list[ApprovalOut]

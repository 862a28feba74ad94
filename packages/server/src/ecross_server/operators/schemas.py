"""The wire forms of operators, their invitations and their sessions. Nothing in them opens anything but a new token."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from ecross_server.kit.clock import rfc3339
from ecross_server.operators.rules import Passkey, Role, Status
from ecross_server.operators.service import Invitation, Operator, SignedIn

Instant = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class OperatorOut(_Wire):
    """An operator."""

    operator_id: str = Field(examples=["jane"])
    name: str = Field(examples=["Jane Doe"])
    role: Role = Field(examples=[Role.REPRESENTATIVE])
    status: Status = Field(examples=[Status.ACTIVE])
    created_at: Instant
    last_signed_in_at: Instant | None
    has_password: bool
    has_totp: bool

    @classmethod
    def of(cls, operator: Operator) -> OperatorOut:
        """The wire form."""
        return cls(**{name: getattr(operator, name) for name in OperatorOut.model_fields})


class OperatorListOut(_Wire):
    """All operators."""

    operators: list[OperatorOut]


class InvitedOperatorOut(OperatorOut):
    """An operator with an invitation, whose token is shown this once."""

    invitation_token: str = Field(repr=False)
    invitation_expires_at: Instant

    @classmethod
    def of_invitation(cls, invitation: Invitation) -> InvitedOperatorOut:
        """The wire form."""
        return cls(
            **OperatorOut.of(invitation.operator).model_dump(mode="python"),
            invitation_token=invitation.token,
            invitation_expires_at=invitation.expires_at,
        )


class SessionOut(_Wire):
    """A session in the console."""

    session_id: str = Field(examples=["ses_q7w4k2m5zt3xa"])
    created_at: Instant
    last_seen_at: Instant
    ends_at: Instant
    address: str | None
    user_agent: str | None

    @classmethod
    def of(cls, signed_in: SignedIn) -> SessionOut:
        """The wire form."""
        return cls(**{name: getattr(signed_in, name) for name in SessionOut.model_fields})


class SessionListOut(_Wire):
    """An operator's live sessions."""

    operator_id: str
    sessions: list[SessionOut]


class EndedSessionsOut(_Wire):
    """Which sessions were ended."""

    operator_id: str
    ended: list[str]


class PasskeyOut(_Wire):
    """A passkey of the console."""

    passkey_id: str = Field(examples=["psk_q7w4k2m5zt3xa"])
    label: str = Field(examples=["Jane's laptop"])
    created_at: Instant
    last_used_at: Instant | None

    @classmethod
    def of(cls, passkey: Passkey) -> PasskeyOut:
        """The wire form."""
        return cls(**{name: getattr(passkey, name) for name in PasskeyOut.model_fields})


class PasskeyListOut(_Wire):
    """An operator's passkeys."""

    operator_id: str
    passkeys: list[PasskeyOut]

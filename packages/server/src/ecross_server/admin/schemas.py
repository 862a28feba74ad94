"""The wire forms of administration: what is asked for. What is answered has the forms of its domain."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StrictBool
from pydantic.alias_generators import to_camel

from ecross_server.approvals.rules import Act
from ecross_server.auth.schemas import SigningKeyOut
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.merchants.rules import MERCHANT_SCOPE, Restrictions, read_networks, read_scope
from ecross_server.merchants.schemas import MerchantOut
from ecross_server.operators.rules import Role
from ecross_server.operators.schemas import OperatorOut

Instant = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]
Duration = Annotated[str, Field(examples=["3d"], description="A whole number with m, h, d or w.")]
Label = Annotated[str, Field(examples=["ERP"], description="What it is for.")]
Scope = Annotated[str, Field(examples=["catalog:read inventory:write"])]
Networks = Annotated[list[str], Field(examples=[["198.51.100.0/24", "2001:db8::/48"]])]
LONGEST_TYPED = 1024
"""Of what somebody who signs in sends; no password is longer."""


class _Asked(BaseModel):
    # What is not known is refused: a misspelt "handOver" would otherwise show a secret.
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=False, extra="forbid", hide_input_in_errors=True
    )


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class AdminTokenRequest(_Asked):
    """Who signs in."""

    operator: str = Field(min_length=1, max_length=64, examples=["jane"])
    password: str = Field(min_length=1, max_length=LONGEST_TYPED, examples=["four words of yours"], repr=False)
    code: str = Field(min_length=1, max_length=16, examples=["123456"], description="Of the authenticator.", repr=False)


class AdminTokenOut(_Wire):
    """An administration token."""

    token: str = Field(repr=False, examples=["eyJhbGciOiJIUzI1NiIsInR5cCI6ImVjcm9zcy1hZG1pbitqd3QifQ..."])
    token_type: Literal["Bearer"] = Field(examples=["Bearer"])
    expires_in: int = Field(examples=[3600], description="The token's life in seconds.")


class MeOut(OperatorOut):
    """Who calls."""

    may: list[Role] = Field(description="The roles that the caller's includes.", examples=[["viewer"]])


class CheckOut(_Wire):
    """One thing looked at."""

    name: str = Field(examples=["database"])
    status: Literal["ok", "warning", "failed"] = Field(examples=["ok"])
    detail: str = Field(examples=["sqlite, 12 clients, 14 secrets"])
    fix: str | None = Field(description="What to do about it.", examples=["ecross-server doctor"])


class HealthOut(_Wire):
    """What was looked at."""

    ok: bool = Field(examples=[True])
    checks: list[CheckOut]


class MerchantPageOut(_Wire):
    """Merchants by id, and where the next page begins."""

    merchants: list[MerchantOut]
    next_page_token: str | None = Field(examples=["Zm9yIHRoZSBuZXh0IHBhZ2U"])


class LinkAsked(_Asked):
    """How a secret is to reach its user: by a link that shows it once, unless it is asked for in clear."""

    hand_over: StrictBool = Field(default=True, description="false: the secret itself, in this answer.")
    hand_over_expires_in: Duration | None = Field(None, description="How long the link works; 3d if not said.")
    hand_over_code: StrictBool = Field(
        default=False, description="Whether the link asks for a code, to be told by another way."
    )


class LimitsAsked(_Asked):
    """What a client is to be limited to."""

    scope: Scope | None = Field(None, description="What it may do; all that its merchant may if not said.")
    allowed_networks: Networks | None = Field(None, description="From where alone; from anywhere if not said.")

    def restrictions(self) -> Restrictions:
        """The same, as it is kept.

        Raises:
            InvalidInputError: for a scope or networks of the wrong form.
        """
        scope = MERCHANT_SCOPE if self.scope is None else read_scope(self.scope)
        networks = self.allowed_networks
        return Restrictions(scope, None if networks is None else read_networks(networks, "allowedNetworks").split(" "))


class LimitAsked(LimitsAsked):
    """What a client is to be limited to from now on; what is not said stays as it is."""

    scope: Scope | None = Field(None, description="What it may do; as it is if not said.")
    allowed_networks: Networks | None = Field(
        None, description="From where alone; null: from anywhere; as it is if not said."
    )
    dry_run: StrictBool = Field(default=False, description="Only tell what that would have refused.")


class RegisterAsked(LinkAsked, LimitsAsked):
    """A merchant to register."""

    merchant_id: str = Field(examples=["ACME"])
    name: str = Field(examples=["Acme"])
    credentials: StrictBool = Field(default=True, description="Whether it gets its first credentials now.")

    def restrictions(self) -> Restrictions:
        """What its first client is to be limited to.

        Raises:
            InvalidInputError: for a scope or networks of the wrong form, or if it gets no client.
        """
        limits = {"scope": self.scope, "allowedNetworks": self.allowed_networks}
        told = [name for name, value in limits.items() if value is not None]
        if told and not self.credentials:
            raise InvalidInputError(
                f"{told[0]} needs credentials", tuple(Fault(name, "needs credentials") for name in told)
            )
        return super().restrictions()


class IssueAsked(LinkAsked, LimitsAsked):
    """A new client."""

    label: Label | None = None
    expires_in: Duration | None = Field(None, description="How long the secret lasts; for good if not said.")


class RotateAsked(LinkAsked):
    """A second secret."""

    label: Label | None = None
    overlap: Duration | None = Field(None, description="How long the old secret goes on working.")
    retire_old_at: str | None = Field(None, examples=["2026-12-01T00:00:00Z"], description="When the old secret ends.")


class ForceAsked(_Asked):
    """Whether to go on where somebody may notice."""

    force: StrictBool = False


class ApprovalAsked(_Asked):
    """What somebody else is asked to agree to."""

    act: Act = Field(examples=[Act.ISSUE])
    merchant_id: str = Field(examples=["ACME"])
    client_id: str | None = Field(
        None, examples=["acme-q7w4k2m5zt3xa"], description="Whose secret; a new client has none."
    )
    reason: str = Field(examples=["The warehouse system gets its own."], description="Whoever decides reads it.")


class RetireAsked(ForceAsked):
    """How to end a secret."""

    dry_run: StrictBool = Field(default=False, description="Only tell whether somebody would notice.")


class LeakedAsked(_Asked):
    """What has leaked."""

    secret_id: str | None = Field(None, examples=["sec_q7w4k2m5zt3xa"], description="Only this one; all if not said.")
    label: Label | None = None


class RotateKeysAsked(_Asked):
    """How to replace the signing key."""

    after: Duration | None = Field(None, description="How long the new key is only known; at most 7d.")
    drop_old: StrictBool = Field(
        default=False, description="A key has leaked: every token ends at once, the caller's among them."
    )


class SigningKeysOut(_Wire):
    """All keys of the signing keys' file."""

    keys: list[SigningKeyOut]


class InviteAsked(_Asked):
    """An operator to invite."""

    operator_id: str = Field(examples=["jane"])
    name: str = Field(examples=["Jane Doe"])
    role: Role = Field(examples=[Role.REPRESENTATIVE])


class RoleAsked(_Asked):
    """Another role."""

    role: Role = Field(examples=[Role.REPRESENTATIVE])


class SignOutAsked(_Asked):
    """Which sessions to end."""

    session_ids: list[str] | None = Field(
        None, max_length=1000, examples=[["ses_q7w4k2m5zt3xa"]],
        description="Only these; all of them and all administration tokens if not said.",
    )  # fmt: skip


class SearchAsked(_Asked):
    """A text that may hold secrets of ours."""

    text: str = Field(examples=["export CLIENT_SECRET=..."], repr=False)


class FindingOut(_Wire):
    """A client secret in the text: where it begins, from 1, and what is known of it. Never the secret."""

    line: int = Field(examples=[1])
    column: int = Field(examples=[22])
    ours: bool = Field(examples=[True])
    live: bool = Field(examples=[True])
    client_id: str | None = Field(examples=["acme-q7w4k2m5zt3xa"])
    secret_id: str | None = Field(examples=["sec_q7w4k2m5zt3xa"])


class FindingsOut(_Wire):
    """All client secrets in the text."""

    findings: list[FindingOut]


class RecordOut(_Wire):
    """A record of the audit trail."""

    seq: int = Field(examples=[42])
    at: str | None = Field(examples=["2026-11-25T10:00:00.000Z"])
    actor: str = Field(examples=["operator:jane"])
    action: str = Field(examples=["merchants.register"])
    merchant_id: str | None
    client_id: str | None
    outcome: str = Field(examples=["done"])
    address: str | None
    request_id: str | None
    token_id: str | None
    secret_id: str | None
    secret_fingerprint: str | None
    count: Any = Field(examples=[1])
    details: dict[str, Any] | None
    hash: str | None


class RecordPageOut(_Wire):
    """The newest records that were asked for, the newest last, and where the page of older ones begins."""

    records: list[RecordOut]
    next_page_token: str | None = Field(examples=["Zm9yIHRoZSBuZXh0IHBhZ2U"])


class VerdictOut(_Wire):
    """What a check of the whole audit trail found."""

    ok: bool = Field(examples=[True])
    count: int = Field(examples=[42])
    first_bad: int | None
    reason: str | None
    pruned_through: int | None
    unchecked: int
    missing_keys: list[str]
    witness: bool

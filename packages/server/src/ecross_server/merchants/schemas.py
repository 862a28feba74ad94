"""The wire forms of merchants and credentials for operators. No stored secret has a form among them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

from ecross_server.kit.clock import rfc3339
from ecross_server.merchants.restrictions import Restriction, SuggestedNetwork, Suggestion, Traffic
from ecross_server.merchants.rotation import LeakReceipt, Retirement, RotatedCredential
from ecross_server.merchants.rules import shown_status
from ecross_server.merchants.service import Client, IssuedCredential, Merchant, PepperUse, Secret
from ecross_server.merchants.uses import SecretUses

Instant = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class SecretOut(_Wire):
    """A secret's life, without the secret."""

    secret_id: str
    label: str | None
    status: str
    created_at: Instant
    expires_at: Instant | None
    retires_at: Instant | None
    last_used_at: Instant | None
    last_used_address: str | None

    @classmethod
    def of(cls, secret: Secret, now: datetime) -> SecretOut:
        """The wire form; a secret that has run out is shown as `expired` or `retired`."""
        return cls(
            secret_id=secret.id,
            label=secret.label,
            status=shown_status(secret.status, secret.expires_at, secret.retires_at, now),
            created_at=secret.created_at,
            expires_at=secret.expires_at,
            retires_at=secret.retires_at,
            last_used_at=secret.last_used_at,
            last_used_address=secret.last_used_address,
        )


class ClientOut(_Wire):
    """A client, what it is limited to, and its secrets' lives. Without `allowed_networks` it may call from anywhere."""

    client_id: str
    merchant_id: str
    status: str
    scope: str
    allowed_networks: list[str] | None
    created_at: Instant
    secrets: list[SecretOut]

    @classmethod
    def of(cls, client: Client, now: datetime) -> ClientOut:
        """The wire form."""
        return cls(
            client_id=client.id,
            merchant_id=client.merchant_id,
            status=client.status,
            scope=client.scope,
            allowed_networks=listed(client.allowed_networks),
            created_at=client.created_at,
            secrets=[SecretOut.of(secret, now) for secret in client.secrets],
        )


class MerchantOut(_Wire):
    """A merchant."""

    merchant_id: str
    name: str
    status: str
    created_at: Instant

    @classmethod
    def of(cls, merchant: Merchant) -> MerchantOut:
        """The wire form."""
        return cls(merchant_id=merchant.id, name=merchant.name, status=merchant.status, created_at=merchant.created_at)


class MerchantWithClientsOut(MerchantOut):
    """A merchant with its clients."""

    clients: list[ClientOut]

    @classmethod
    def with_clients(cls, merchant: Merchant, clients: Sequence[Client], now: datetime) -> MerchantWithClientsOut:
        """The wire form."""
        return cls(
            **MerchantOut.of(merchant).model_dump(mode="python"),
            clients=[ClientOut.of(client, now) for client in clients],
        )


class RegisteredMerchantOut(MerchantOut):
    """A merchant just registered, with its first credentials: the secret is shown this once."""

    client_id: str
    client_secret: str


class MerchantListOut(_Wire):
    """All merchants."""

    merchants: list[MerchantOut]


class CredentialListOut(_Wire):
    """Clients with their secrets' lives."""

    credentials: list[ClientOut]


class IssuedCredentialOut(_Wire):
    """A new client with its secret, which is shown this once."""

    merchant_id: str
    client_id: str
    secret_id: str
    client_secret: str
    label: str | None
    created_at: Instant
    expires_at: Instant | None
    scope: str
    allowed_networks: list[str] | None

    @classmethod
    def of(cls, issued: IssuedCredential) -> IssuedCredentialOut:
        """The wire form."""
        return cls(
            merchant_id=issued.client.merchant_id,
            client_id=issued.client.id,
            secret_id=issued.secret.id,
            client_secret=issued.client_secret,
            label=issued.secret.label,
            created_at=issued.secret.created_at,
            expires_at=issued.secret.expires_at,
            scope=issued.client.scope,
            allowed_networks=listed(issued.client.allowed_networks),
        )


class RotatedCredentialOut(IssuedCredentialOut):
    """A second secret, which is shown this once, and when the one before it ends."""

    old_secret_id: str | None
    old_retires_at: Instant | None

    @classmethod
    def of_rotation(cls, rotated: RotatedCredential) -> RotatedCredentialOut:
        """The wire form."""
        old = rotated.old
        return cls(
            **IssuedCredentialOut.of(rotated).model_dump(mode="python"),
            old_secret_id=None if old is None else old.id,
            old_retires_at=None if old is None else old.retires_at,
        )


class EndedSecretOut(_Wire):
    """A secret that was ended because it leaked."""

    secret_id: str
    label: str | None
    last_used_at: Instant | None
    last_used_address: str | None


class LeakReceiptOut(IssuedCredentialOut):
    """The new secret, which is shown this once, and what was ended for it."""

    ended: list[EndedSecretOut]
    ended_at: Instant
    tokens_dead_by: Instant

    @classmethod
    def of_receipt(cls, receipt: LeakReceipt) -> LeakReceiptOut:
        """The wire form."""
        return cls(
            **IssuedCredentialOut.of(receipt).model_dump(mode="python"),
            ended=[
                EndedSecretOut(
                    secret_id=secret.id, label=secret.label,
                    last_used_at=secret.last_used_at, last_used_address=secret.last_used_address,
                )
                for secret in receipt.ended
            ],
            ended_at=receipt.ended_at,
            tokens_dead_by=receipt.tokens_dead_by,
        )  # fmt: skip


class SecretUsesOut(SecretOut):
    """A secret's life, and how many tokens were given for it."""

    last_hour: int
    last_day: int
    last_week: int

    @classmethod
    def of_uses(cls, uses: SecretUses, now: datetime) -> SecretUsesOut:
        """The wire form."""
        return cls(
            **SecretOut.of(uses.secret, now).model_dump(mode="python"),
            last_hour=uses.last_hour,
            last_day=uses.last_day,
            last_week=uses.last_week,
        )


class MeterOut(_Wire):
    """How much each secret of a client is used."""

    client_id: str
    merchant_id: str
    secrets: list[SecretUsesOut]

    @classmethod
    def of(cls, client: Client, meter: Sequence[SecretUses], now: datetime) -> MeterOut:
        """The wire form."""
        secrets = [SecretUsesOut.of_uses(uses, now) for uses in meter]
        return cls(client_id=client.id, merchant_id=client.merchant_id, secrets=secrets)


class ObstacleOut(_Wire):
    """Why somebody would be locked out."""

    code: str
    message: str


class RetirementOut(ClientOut):
    """What would come of retiring a secret."""

    would_break: bool
    reasons: list[ObstacleOut]
    meter: list[SecretUsesOut]

    @classmethod
    def of_plan(cls, plan: Retirement, now: datetime) -> RetirementOut:
        """The wire form."""
        return cls(
            **ClientOut.of(plan.client, now).model_dump(mode="python"),
            would_break=bool(plan.obstacles),
            reasons=[ObstacleOut(code=each.code, message=each.message) for each in plan.obstacles],
            meter=[SecretUsesOut.of_uses(uses, now) for uses in plan.meter],
        )


class TrafficOut(_Wire):
    """Tokens that were given to an address, or calls from there that needed the scope."""

    address: str
    scope: str | None
    tokens: int
    calls: int
    last_seen_at: Instant

    @classmethod
    def of(cls, traffic: Traffic) -> TrafficOut:
        """The wire form."""
        return cls.model_validate(traffic, from_attributes=True)


class RestrictionOut(ClientOut):
    """A client as it is limited, and what of its traffic since then that refuses."""

    traffic_since: Instant
    refused: list[TrafficOut]

    @classmethod
    def of_restriction(cls, restriction: Restriction, now: datetime) -> RestrictionOut:
        """The wire form, also of what is only planned."""
        limits = {"scope": restriction.scope, "allowed_networks": listed(restriction.networks)}
        return cls(
            **ClientOut.of(restriction.client, now).model_dump(mode="python") | limits,
            traffic_since=restriction.since,
            refused=[TrafficOut.of(each) for each in restriction.refused],
        )

    def as_kept(self, client: Client) -> RestrictionOut:
        """With the limits that hold by now: somebody else may have changed what this act left as it was."""
        return self.model_copy(update={"scope": client.scope, "allowed_networks": listed(client.allowed_networks)})


class SuggestedNetworkOut(_Wire):
    """A network that traffic came from."""

    network: str
    addresses: int
    tokens: int
    calls: int
    last_seen_at: Instant

    @classmethod
    def of(cls, suggested: SuggestedNetwork) -> SuggestedNetworkOut:
        """The wire form."""
        return cls.model_validate(suggested, from_attributes=True)


class SuggestionOut(_Wire):
    """What would have been enough for a client's traffic, and the command that limits it to that."""

    client_id: str
    merchant_id: str
    scope: str
    allowed_networks: list[str] | None
    traffic_since: Instant
    first_seen_at: Instant | None
    last_seen_at: Instant | None
    tokens: int
    calls: int
    suggested_scope: str | None
    suggested_networks: list[str] | None
    sources: list[SuggestedNetworkOut]
    hides_callers: bool
    command: str | None

    @classmethod
    def of(cls, suggestion: Suggestion) -> SuggestionOut:
        """The wire form."""
        client, scope, networks = suggestion.client, suggestion.scope, suggestion.networks
        options = [] if scope is None else ["--scope", scope]
        options += [option for network in networks or () for option in ("--allow", network)]
        command = ["ecross-server", "credentials", "limit", client.id, *options]
        return cls(
            client_id=client.id,
            merchant_id=client.merchant_id,
            scope=client.scope,
            allowed_networks=listed(client.allowed_networks),
            traffic_since=suggestion.since,
            first_seen_at=suggestion.first_seen_at,
            last_seen_at=suggestion.last_seen_at,
            tokens=suggestion.tokens,
            calls=suggestion.calls,
            suggested_scope=scope,
            suggested_networks=None if networks is None else list(networks),
            sources=[SuggestedNetworkOut.of(each) for each in suggestion.sources],
            hides_callers=suggestion.hides_callers,
            command=shlex.join(command) if options else None,
        )


class PepperOut(_Wire):
    """A pepper's life and use, without the pepper."""

    pepper_id: str
    status: str
    created_at: Instant | None
    secrets: int
    operators: int

    @classmethod
    def of(cls, pepper: PepperUse) -> PepperOut:
        """The wire form."""
        return cls(
            pepper_id=pepper.pepper_id, status=pepper.status, created_at=pepper.created_at, secrets=pepper.secrets,
            operators=pepper.operators,
        )  # fmt: skip


class PepperListOut(_Wire):
    """All peppers."""

    peppers: list[PepperOut]


def listed(networks: str | None) -> list[str] | None:
    """A client's networks one by one; None if it may call from anywhere."""
    return None if networks is None else networks.split(" ")

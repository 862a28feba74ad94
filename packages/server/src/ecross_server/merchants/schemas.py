"""The wire forms of merchants and credentials for operators. No stored secret has a form among them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

from ecross_server.kit.clock import rfc3339
from ecross_server.merchants.rules import is_live
from ecross_server.merchants.service import Client, IssuedCredential, Merchant, PepperUse, Secret

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
    last_used_at: Instant | None
    last_used_address: str | None

    @classmethod
    def of(cls, secret: Secret, now: datetime) -> SecretOut:
        """The wire form; a secret that has run out is shown as `expired`."""
        has_expired = secret.status == "active" and not is_live(secret.status, secret.expires_at, now)
        return cls(
            secret_id=secret.id,
            label=secret.label,
            status="expired" if has_expired else secret.status,
            created_at=secret.created_at,
            expires_at=secret.expires_at,
            last_used_at=secret.last_used_at,
            last_used_address=secret.last_used_address,
        )


class ClientOut(_Wire):
    """A client with its secrets' lives."""

    client_id: str
    merchant_id: str
    status: str
    created_at: Instant
    secrets: list[SecretOut]

    @classmethod
    def of(cls, client: Client, now: datetime) -> ClientOut:
        """The wire form."""
        return cls(
            client_id=client.id,
            merchant_id=client.merchant_id,
            status=client.status,
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
        )


class PepperOut(_Wire):
    """A pepper's life and use, without the pepper."""

    pepper_id: str
    status: str
    created_at: Instant | None
    secrets: int

    @classmethod
    def of(cls, pepper: PepperUse) -> PepperOut:
        """The wire form."""
        return cls(
            pepper_id=pepper.pepper_id, status=pepper.status, created_at=pepper.created_at, secrets=pepper.secrets
        )


class PepperListOut(_Wire):
    """All peppers."""

    peppers: list[PepperOut]

"""The wire forms of hand-overs: of links for programs, and of receipts for operators. None of them holds a digest."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.alias_generators import to_camel

from ecross.jws import StrictJsonError, loads_strict
from ecross_server.handover.rules import Act, State
from ecross_server.handover.service import OfferedLink, Receipt
from ecross_server.kit.clock import rfc3339
from ecross_server.merchants.schemas import MerchantOut, listed

Instant = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]

LONGEST_BODY: Final = 4096
MOST_FIELDS: Final = 8


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class LinkAct(_Wire):
    """What the holder of a link asks for."""

    nonce: str = Field("", max_length=256, description="That of the page.", examples=["VGhpcyBpcyBub3Qgb25l"])
    act: Act = Field(Act.REVEAL, description="`reveal`, or `deny` to end a secret that somebody else has seen.")
    code: str = Field("", max_length=64, description="If the link asks for one.", examples=["abcde-fghij"])


def read_act(media_type: str, body: bytes) -> LinkAct | None:
    """What a form or JSON asks for; `None` for what cannot be read."""
    if len(body) > LONGEST_BODY:
        return None
    with contextlib.suppress(ValueError, StrictJsonError, ValidationError):
        if media_type == "application/json":
            return LinkAct.model_validate(loads_strict(body))
        return LinkAct.model_validate(dict(parse_qsl(body.decode(), max_num_fields=MOST_FIELDS)))
    return None


class OpenLinkOut(_Wire):
    """A link that can still be used, to its holder."""

    state: State = Field(examples=[State.OPEN])
    merchant_id: str = Field(examples=["ACME"])
    merchant_name: str = Field(examples=["Acme"])
    client_id: str = Field(examples=["acme-q7w4k2m5zt3xa"])
    label: str | None = Field(examples=["ERP"])
    created_at: Instant = Field(examples=["2026-11-25T10:00:00.000Z"])
    expires_at: Instant = Field(examples=["2026-11-28T10:00:00.000Z"])
    needs_code: bool = Field(examples=[False])
    nonce: str = Field(description="To be sent along with the `POST`; good for an hour.", examples=["VGhpcyBpcyBub3Q"])

    @classmethod
    def of(cls, receipt: Receipt, nonce: str) -> OpenLinkOut:
        """The wire form."""
        it = receipt.hand_over
        return cls(
            state=receipt.state,
            merchant_id=it.merchant_id,
            merchant_name=receipt.merchant_name,
            client_id=it.client_id,
            label=it.label,
            created_at=it.created_at,
            expires_at=it.expires_at,
            needs_code=it.code_digest is not None,
            nonce=nonce,
        )


def spent_facts(receipt: Receipt, nonce: str | None) -> dict[str, Any]:
    """What the holder of a link that cannot be used any more is told beside the message."""
    it = receipt.hand_over
    return {
        "state": receipt.state,
        "openedAt": _shown(it.opened_at),
        "openedAddress": it.opened_address,
        "revealedAt": _shown(it.revealed_at),
        "revealedAddress": it.revealed_address,
        **({} if nonce is None else {"nonce": nonce}),
    }


class HandOverOut(_Wire):
    """A receipt, for the representative."""

    hand_over_id: str
    merchant_id: str
    client_id: str
    label: str | None
    state: State
    has_code: bool
    created_at: Instant
    created_by: str
    expires_at: Instant
    opened_at: Instant | None
    opened_address: str | None
    revealed_at: Instant | None
    revealed_address: str | None
    secret_id: str | None
    denied_at: Instant | None
    denied_address: str | None
    cancelled_at: Instant | None
    cancelled_by: str | None

    @classmethod
    def of(cls, receipt: Receipt) -> HandOverOut:
        """The wire form."""
        it = receipt.hand_over
        same = {name: getattr(it, name) for name in cls.model_fields if hasattr(it, name)}
        return cls(hand_over_id=it.id, state=receipt.state, has_code=it.code_digest is not None, **same)


class HandOverListOut(_Wire):
    """Receipts."""

    hand_overs: list[HandOverOut]


class OfferOut(_Wire):
    """What a representative gets instead of the secret."""

    client_id: str
    hand_over_id: str
    hand_over_url: str
    hand_over_expires_at: Instant
    hand_over_code: str | None

    @classmethod
    def of(cls, offered: OfferedLink, base: str) -> OfferOut:
        """The wire form; `base` is what every link begins with."""
        return cls(
            client_id=offered.hand_over.client_id,
            hand_over_id=offered.hand_over.id,
            hand_over_url=f"{base}/hand-over/{offered.token}",
            hand_over_expires_at=offered.hand_over.expires_at,
            hand_over_code=offered.code,
        )


class OfferedMerchantOut(MerchantOut):
    """A merchant just registered, and the link that will give its first credentials."""

    client_id: str
    hand_over_id: str
    hand_over_url: str
    hand_over_expires_at: Instant
    hand_over_code: str | None


class OfferedCredentialOut(_Wire):
    """A new client, and the link that will give its secret, which has no id before."""

    merchant_id: str
    client_id: str
    secret_id: None
    hand_over_id: str
    hand_over_url: str
    hand_over_expires_at: Instant
    hand_over_code: str | None
    label: str | None
    created_at: Instant
    expires_at: Instant | None
    scope: str
    allowed_networks: list[str] | None

    @classmethod
    def of_offer(cls, offered: OfferedLink, base: str) -> OfferedCredentialOut:
        """The wire form."""
        it = offered.hand_over
        return cls(
            **dict(OfferOut.of(offered, base)),
            merchant_id=it.merchant_id,
            secret_id=None,
            label=it.label,
            created_at=it.created_at,
            expires_at=it.secret_expires_at,
            scope=offered.client.scope,
            allowed_networks=listed(offered.client.allowed_networks),
        )


def _shown(instant: datetime | None) -> str | None:
    return None if instant is None else rfc3339(instant)

"""The values of channels, free of tables and wire forms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ecross_server.kit.errors import Fault, InvalidInputError

CHANNEL_ID: Final = re.compile(r"[A-Z][A-Z0-9_]{1,15}")
COUNTRY: Final = re.compile(r"[A-Z]{2}")
CURRENCY: Final = re.compile(r"[A-Z]{3}")
LONGEST_NAME: Final = 200

SANDBOX: Final = "SB_"
"""How the ids of merchants begin that only try things out."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A channel on which a merchant sells, and whether somebody looks at what it wants to sell there."""

    channel_id: str
    country: str
    needs_review: bool


@dataclass(frozen=True, slots=True)
class ConnectionsChanged:
    """A merchant sells on other channels than before, or is reviewed otherwise. Told to whoever subscribed."""

    merchant_id: str
    at: datetime


def is_sandbox(merchant_id: str) -> bool:
    """Whether the merchant only tries things out: no person is to be waited for."""
    return merchant_id.startswith(SANDBOX)


def check_channel(channel_id: str, name: str, country: str, currency: str) -> None:
    """Refuse what cannot be a channel.

    Raises:
        InvalidInputError: with every fault.
    """
    checks = (
        ("id", CHANNEL_ID.fullmatch(channel_id), "must have 2 to 16 capital letters, digits or _, a letter first"),
        ("name", 1 <= len(name) <= LONGEST_NAME and name.isprintable(), f"must have 1 to {LONGEST_NAME} characters"),
        ("country", COUNTRY.fullmatch(country), "must be ISO 3166-1 alpha-2, such as BR"),
        ("currency", CURRENCY.fullmatch(currency), "must be ISO 4217, such as BRL"),
    )
    faults = tuple(Fault(field, message) for field, is_good, message in checks if not is_good)
    if faults:
        raise InvalidInputError("; ".join(f"{fault.path} {fault.message}" for fault in faults), faults)

"""Merchants of the fake server, and what their representative and their catalog do."""

import hmac
import re
import secrets
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ecross.testing._agenda import Agenda
from ecross.testing._catalog import Catalog
from ecross.testing._changes import parse_instant
from ecross.testing._channel import DENIALS, Verdict
from ecross.testing._idempotency import KeptAnswers
from ecross.testing._inventory import AVAILABLE, DEFAULT_WAREHOUSE, MERCHANT, RETURNS, TYPES, Inventory, Warehouse
from ecross.testing._tokens import Issuer

MERCHANT_ID = re.compile(r"[A-Z0-9_]{2,32}")
BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
MERCHANT_SCOPE = "merchant"
"""The scope of a client that may do all its merchant may."""


@dataclass(frozen=True, slots=True)
class World:
    """What a merchant shares with its server."""

    clock: Callable[[], float]
    issuer: Issuer
    lock: threading.RLock


class Merchant:
    """A registered merchant: its credentials, its SKUs, and the acts of its representative. Its `repr` hides secrets.

    All acts take effect at once.
    """

    def __init__(
        self,
        merchant_id: str,
        client_id: str | None,
        client_secret: str | None,
        world: World,
        scope: str = MERCHANT_SCOPE,
    ) -> None:
        if MERCHANT_ID.fullmatch(merchant_id) is None:
            raise ValueError("a merchant id is 2 to 32 of A-Z, 0-9 and _, such as ACME")
        self.id = merchant_id
        self.client_id = client_id or f"{merchant_id.lower()}-{_random_text(13, BASE32)}"
        self.client_secret = client_secret or _new_secret()
        """The newest secret."""
        self._secrets: dict[str, float | None] = {self.client_secret: None}  # with their ends
        self._world = world
        self._scope = scope
        self._agenda = Agenda()
        self._catalog = Catalog(merchant_id, self._agenda)
        self._inventory = Inventory(merchant_id, self._catalog, self._agenda)
        self._catalog.on_shown.append(self._inventory.take_over)
        self._kept_answers = KeptAnswers()
        self._is_enabled = True
        self._epoch = 1

    def __repr__(self) -> str:
        return f"Merchant({self.id!r}, client_id={self.client_id!r})"

    @property
    def credentials(self) -> dict[str, str]:
        """The body of a token request."""
        return {"clientId": self.client_id, "clientSecret": self.client_secret}

    def disable(self) -> None:
        """Refuse its credentials, and end its tokens."""
        with self._world.lock:
            self._is_enabled = False
            self._epoch += 1

    def enable(self) -> None:
        """Accept its credentials again. Its old tokens stay dead."""
        with self._world.lock:
            self._is_enabled = True

    def revoke_tokens(self) -> None:
        """End every token given until now; its credentials stay good."""
        with self._world.lock:
            self._epoch += 1

    def rotate_secret(self, *, keep_old: bool = False, retire_old_in: float | None = None) -> str:
        """The new secret. The old one and the tokens it was given end, unless it is to be kept beside the new one.

        With `retire_old_in` it is kept for so many seconds by the server's clock; who uses it is told when it ends.
        """
        with self._world.lock:
            old, self.client_secret = self.client_secret, _new_secret()
            if keep_old or retire_old_in is not None:
                ends_at = None if retire_old_in is None else self._world.clock() + retire_old_in
                self._secrets = {old: ends_at, self.client_secret: None}
            else:
                self._secrets = {self.client_secret: None}
                self._epoch += 1
            return self.client_secret

    def issue_token(self, *, lifetime_seconds: int = 28_800, scope: str | None = None) -> str:
        """A good access token that no request was needed for: to test what takes tokens, and scopes.

        Without a scope of its own it has that of the merchant's credentials.
        """
        with self._world.lock:
            return self._world.issuer.issue(
                client_id=self.client_id,
                merchant_id=self.id,
                scope=self._scope if scope is None else scope,
                epoch=self._epoch,
                lifetime_seconds=lifetime_seconds,
            )

    def put_sku(self, sku: Mapping[str, Any], /) -> dict[str, Any]:
        """Add a SKU or replace the one of its `skuId`; what the API will show of it.

        Fields are spelled as the API spells them. Only `skuId` has to be there. What the server sets otherwise can be
        given too: `localizationStatus`, `salesChannelStatus`, `lastUpdateDate`. A SKU whose status is not given is on
        its sales channel 3 seconds later by the server's clock; one whose status is given keeps it until its content
        changes. Raises `ValueError`.
        """
        with self._world.lock:
            return self.catalog.put(sku, self._now)

    def put_numbered_skus(self, count: int, /) -> list[dict[str, Any]]:
        """Add so many SKUs, `SKU-1`, `SKU-2` and so on: enough for several pages, say."""
        return [self.put_sku({"skuId": f"SKU-{number}"}) for number in range(1, count + 1)]

    @property
    def skus(self) -> list[dict[str, Any]]:
        """All its SKUs, as the API shows them."""
        with self._world.lock:
            return self.catalog.all()

    def deny_sku(self, sku_id: str, /, *, status: str = "REVIEW_DENIED", reason: str = "Denied") -> None:
        """Let a SKU get this status, and its sales channel the reason: when its 3 seconds are over, or now if they are.

        It may be told before the SKU comes, and counts once: when the SKU's content changes, it is looked at again and
        passes. The status is `REVIEW_DENIED` or `DENIED_REGULATORY`.
        """
        if status not in DENIALS:
            raise ValueError(f"a SKU is denied as {' or '.join(DENIALS)}")
        with self._world.lock:
            self.catalog.deny(sku_id, Verdict(status, reason), self._now)

    def add_warehouse(
        self,
        warehouse_id: int,
        /,
        *,
        name: str,
        country: str | None = None,
        type: str = MERCHANT,  # noqa: A002 - the API's name
    ) -> None:
        """Add a warehouse, or change it; every merchant has number 1. One of type `RETURNS` cannot be written to."""
        if type not in {MERCHANT, RETURNS}:
            raise ValueError(f"the type of a warehouse is {MERCHANT} or {RETURNS}")
        with self._world.lock:
            self._inventory.warehouses[warehouse_id] = Warehouse(name, country, type)

    def put_inventory(
        self,
        sku_id: str,
        quantity: int,
        /,
        *,
        warehouse_id: int = DEFAULT_WAREHOUSE,
        inventory_type: str = AVAILABLE,
        last_update_date: str | None = None,
    ) -> dict[str, Any]:
        """Let so many pieces lie in a warehouse, also in one for returns; what the API will show of it.

        Raises `ValueError` for a warehouse or a type that there is not, and for a date that is none.
        """
        with self._world.lock:
            inventory = self.inventory
            if warehouse_id not in inventory.warehouses or inventory_type not in TYPES:
                raise ValueError(f"there is no such warehouse, or the type is none of {', '.join(TYPES)}")
            dated = self._now if last_update_date is None else parse_instant(last_update_date)
            if dated is None:
                raise ValueError("last_update_date is no ISO 8601 date and time with a time zone")
            return inventory.shown(
                inventory.set(sku_id, warehouse_id, inventory_type, quantity, now=self._now, dated=dated)
            )

    @property
    def inventories(self) -> list[dict[str, Any]]:
        """All its stock records, as the API shows them."""
        with self._world.lock:
            return self.inventory.all()

    @property
    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._world.clock(), UTC)

    # What the server alone asks; it holds the lock.

    @property
    def catalog(self) -> Catalog:
        """Its SKUs, as they are by now."""
        self._agenda.settle(self._now)
        return self._catalog

    @property
    def inventory(self) -> Inventory:
        """Its warehouses, and what lies in them, as it is by now."""
        self._agenda.settle(self._now)
        return self._inventory

    @property
    def kept_answers(self) -> KeptAnswers:
        """What its requests with keys were answered."""
        return self._kept_answers

    def knows(self, client_secret: str) -> bool:
        """Whether the secret opens anything at this moment."""
        presented = client_secret.encode()
        now = self._world.clock()
        return self._is_enabled and any(
            hmac.compare_digest(presented, each.encode()) and (ends_at is None or int(now) < int(ends_at))
            for each, ends_at in self._secrets.items()
        )

    def end_of(self, client_secret: str) -> float | None:
        """When a secret that it knows ends."""
        return self._secrets[client_secret]

    def honors(self, epoch: int) -> bool:
        """Whether tokens of this epoch are still good."""
        return self._is_enabled and epoch == self._epoch


def _random_text(length: int, alphabet: str) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _new_secret() -> str:
    """A secret in the published form: its last six characters check the others."""
    body = f"ecs_{_random_text(43, BASE62)}"
    number, check = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        check = BASE62[digit] + check
    return body + check

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

from ecross.testing._catalog import Catalog
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

    def __init__(self, merchant_id: str, client_id: str | None, client_secret: str | None, world: World) -> None:
        if MERCHANT_ID.fullmatch(merchant_id) is None:
            raise ValueError("a merchant id is 2 to 32 of A-Z, 0-9 and _, such as ACME")
        self.id = merchant_id
        self.client_id = client_id or f"{merchant_id.lower()}-{_random_text(13, BASE32)}"
        self.client_secret = client_secret or _new_secret()
        """The newest secret."""
        self._secrets = [self.client_secret]
        self._world = world
        self._catalog = Catalog(merchant_id)
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

    def rotate_secret(self, *, keep_old: bool = False) -> str:
        """The new secret. The old one and the tokens it was given end, unless it is to be kept beside the new one."""
        with self._world.lock:
            self.client_secret = _new_secret()
            if keep_old:
                self._secrets = [*self._secrets[-1:], self.client_secret]
            else:
                self._secrets = [self.client_secret]
                self._epoch += 1
            return self.client_secret

    def issue_token(self, *, lifetime_seconds: int = 28_800, scope: str = MERCHANT_SCOPE) -> str:
        """A good access token that no request was needed for: to test what takes tokens, and scopes."""
        with self._world.lock:
            return self._world.issuer.issue(
                client_id=self.client_id,
                merchant_id=self.id,
                scope=scope,
                epoch=self._epoch,
                lifetime_seconds=lifetime_seconds,
            )

    def put_sku(self, sku: Mapping[str, Any], /) -> dict[str, Any]:
        """Add a SKU or replace the one of its `skuId`; what the API will show of it.

        Fields are spelled as the API spells them. Only `skuId` has to be there. What the server sets otherwise can be
        given too: `localizationStatus`, `salesChannelStatus`, `lastUpdateDate`. Raises `ValueError`.
        """
        with self._world.lock:
            return self._catalog.put(sku, datetime.fromtimestamp(self._world.clock(), UTC))

    def put_numbered_skus(self, count: int, /) -> list[dict[str, Any]]:
        """Add so many SKUs, `SKU-1`, `SKU-2` and so on: enough for several pages, say."""
        return [self.put_sku({"skuId": f"SKU-{number}"}) for number in range(1, count + 1)]

    @property
    def skus(self) -> list[dict[str, Any]]:
        """All its SKUs, as the API shows them."""
        with self._world.lock:
            return self._catalog.all()

    # What the server alone asks; it holds the lock.

    @property
    def catalog(self) -> Catalog:
        """Its SKUs, for the list."""
        return self._catalog

    def knows(self, client_secret: str) -> bool:
        """Whether the secret opens anything at this moment."""
        presented = client_secret.encode()
        return self._is_enabled and any(hmac.compare_digest(presented, each.encode()) for each in self._secrets)

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

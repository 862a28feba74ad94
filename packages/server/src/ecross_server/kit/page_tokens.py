"""Page tokens: where the next page begins, signed, and of use to the merchant they were given to alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from ecross_server.kit.errors import Fault, InvalidInputError

MAC_BYTES = 16
LABEL = b"ecross page token v1"


class InvalidPageTokenError(InvalidInputError):
    """A page token that was not made here, not for this list, or not for this merchant."""

    code = "invalid_page_token"

    def __init__(self) -> None:
        reason = "is not one that this list gave. Begin again without it."
        super().__init__(f"nextPageToken {reason}", (Fault("nextPageToken", reason),))


class PageTokens:
    """Makes and reads the page tokens of every list.

    `keys` are the live signing keys: the first signs, all are accepted, so tokens outlive a rotation. A key of its own
    is derived from each, so nothing signed here can pass as an access token.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(hmac.digest(key, LABEL, "sha256") for key in keys)

    def __repr__(self) -> str:
        return f"PageTokens({len(self._keys)} keys)"

    def make(self, *, merchant_id: str, list_name: str, position: str) -> str:
        """An opaque token that leads this merchant to the position in this list."""
        text = position.encode()
        return _encode(_mac(self._keys[0], merchant_id, list_name, text) + text)

    def read(self, token: str, *, merchant_id: str, list_name: str) -> str:
        """The position that `make` was given.

        Raises:
            InvalidPageTokenError: for any token not made for this merchant and list.
        """
        try:
            content = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raise InvalidPageTokenError from None
        if _encode(content) != token:  # base64 has several spellings of the same bytes; only one was given out
            raise InvalidPageTokenError
        mac, text = content[:MAC_BYTES], content[MAC_BYTES:]
        for key in self._keys:
            if hmac.compare_digest(_mac(key, merchant_id, list_name, text), mac):
                return text.decode()
        raise InvalidPageTokenError


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _mac(key: bytes, merchant_id: str, list_name: str, text: bytes) -> bytes:
    # NUL cannot occur in a merchant id or a list's name, so no two triples share one message.
    message = b"\0".join((merchant_id.encode(), list_name.encode(), text))
    return hmac.new(key, message, hashlib.sha256).digest()[:MAC_BYTES]

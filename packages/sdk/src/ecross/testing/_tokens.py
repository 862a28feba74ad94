"""Access tokens and page tokens of the fake server: signed as the real one signs, checked by `ecross.verifier`."""

import base64
import hmac
import json
import secrets
from collections.abc import Callable

from ecross.verifier import Claims, TokenVerifier

HEADER = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
"""base64url of `{"alg":"HS256","typ":"JWT"}`."""

MAC_BYTES = 16


class Issuer:
    """Issues and checks tokens under a key of its own, made anew for each server."""

    def __init__(self, *, issuer: str, audience: str, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._page_key = hmac.digest(self._key, b"page tokens", "sha256")
        self._key_id = secrets.token_hex(8)
        self._verifier = TokenVerifier(keys=self.jwk_set(), issuer=issuer, audience=audience, clock=clock, cache_size=0)

    def jwk_set(self) -> dict[str, object]:
        """The key as a JWK Set, as `ecross-server keys export` gives it to services that verify tokens."""
        return {"keys": [{"kty": "oct", "alg": "HS256", "use": "sig", "kid": self._key_id, "k": _encode(self._key)}]}

    def issue(self, *, client_id: str, merchant_id: str, scope: str, epoch: int, lifetime_seconds: int) -> str:
        """A token that begins now."""
        now = int(self._clock())
        claims = {
            "iss": self._issuer, "sub": client_id, "aud": self._audience,
            "iat": now, "nbf": now, "exp": now + lifetime_seconds, "jti": secrets.token_hex(16),
            "client_id": client_id, "merchant_id": merchant_id, "scope": scope, "epoch": epoch,
        }  # fmt: skip
        signing_input = f"{HEADER}.{_encode(json.dumps(claims, separators=(',', ':')).encode())}"
        return f"{signing_input}.{_encode(hmac.digest(self._key, signing_input.encode(), 'sha256'))}"

    def verify(self, token: str) -> Claims:
        """The claims of a token that is good at this moment, whoever it belongs to. Raises `InvalidTokenError`."""
        return self._verifier.verify(token)

    def page_token(self, merchant_id: str, list_name: str, after: int, updated_after: str, began_at: str) -> str:
        """An opaque token of a merchant's place in one of its lists."""
        content = json.dumps([merchant_id, list_name, after, updated_after, began_at]).encode()
        return _encode(self._page_mac(content) + content)

    def read_page_token(self, token: str, merchant_id: str, list_name: str) -> tuple[int, str, str] | None:
        """The place; `None` if the token was not made here for this list of this merchant's."""
        try:
            decoded = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        mac, content = decoded[:MAC_BYTES], decoded[MAC_BYTES:]
        if _encode(decoded) != token or not hmac.compare_digest(mac, self._page_mac(content)):
            return None
        owner, name, after, updated_after, began_at = json.loads(content)
        return (after, updated_after, began_at) if (owner, name) == (merchant_id, list_name) else None

    def _page_mac(self, content: bytes) -> bytes:
        return hmac.digest(self._page_key, content, "sha256")[:MAC_BYTES]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

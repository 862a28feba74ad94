"""An entry on disk: encrypted with AES-256-GCM, and bound to the token endpoint and the client it belongs to.

    ECROSS | version (1 byte) | key id (8) | nonce (12) | ciphertext | tag (16)

The header, the endpoint's URL and the client id are associated data: an entry that was changed, cut, renamed or copied
over another one does not open. Nonces are random; a key would have to seal 2^32 entries before two of them matter.
"""

import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ecross._token_cache.keys import CacheKey
from ecross.errors import CacheError

MAX_ENTRY_BYTES: Final = 64 * 1024

_MAGIC: Final = b"ECROSS"
_VERSION: Final = 1
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16


class CorruptEntryError(Exception):
    """The bytes are no entry of this key, endpoint and client."""


def seal_entry(entry: bytes, key: CacheKey, auth_url: str, client_id: str) -> bytes:
    """The bytes to keep.

    Raises:
        CacheError: if the entry is too large.
    """
    header = _header(key)
    if len(header) + _NONCE_BYTES + len(entry) + _TAG_BYTES > MAX_ENTRY_BYTES:
        raise CacheError("The token is too large to be kept.")
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = AESGCM(key.secret).encrypt(nonce, entry, _associated_data(header, auth_url, client_id))
    return header + nonce + sealed


def open_entry(sealed: bytes, key: CacheKey, auth_url: str, client_id: str) -> bytes:
    """The entry as it was sealed.

    Raises:
        CorruptEntryError: if a single bit of it, the key, the endpoint or the client is another one.
    """
    header = _header(key)
    start = len(header) + _NONCE_BYTES
    if not sealed.startswith(header) or len(sealed) < start + _TAG_BYTES:
        raise CorruptEntryError
    try:
        return AESGCM(key.secret).decrypt(
            sealed[len(header) : start], sealed[start:], _associated_data(header, auth_url, client_id)
        )
    except InvalidTag:
        raise CorruptEntryError from None


def _header(key: CacheKey) -> bytes:
    return _MAGIC + bytes([_VERSION]) + key.key_id


def _associated_data(header: bytes, auth_url: str, client_id: str) -> bytes:
    """Each part after its length, so that no two lists of parts are the same bytes."""
    parts = (header, auth_url.encode(), client_id.encode())
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

"""Compact JWS tokens signed with HS256, verified strictly (RFC 7515, RFC 7518 section 3.2); standard library only.

The strict JSON parser for untrusted bytes lives here as well. Claims do not: see `ecross.verifier`.
"""

import binascii
import hmac
import json
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import NoReturn

from ecross.errors import InvalidKeyError, InvalidTokenError, InvalidTokenReason

__all__ = [
    "MAX_TOKEN_BYTES",
    "HmacKey",
    "InvalidKeyError",
    "InvalidTokenError",
    "InvalidTokenReason",
    "StrictJsonError",
    "key_secret",
    "loads_strict",
    "token_bytes",
    "verify_any",
    "verify_compact",
]

MAX_TOKEN_BYTES = 8 * 1024
MIN_KEY_BYTES = 32  # RFC 7518 section 3.2: a key at least as long as the hash

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_URL_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_STANDARD_TO_URL = bytes.maketrans(b"+/", b"-_")

_JSON_SPACE = " \t\n\r"
_LONGEST_NUMBER = 4_300  # what the interpreter bears of an integer

# {"alg":"HS256","typ":"JWT"}: what e-CROSS itself issues, known good without parsing.
_ISSUED_HEADER = b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
_TYPES_OF_ISSUED = ("JWT", None)


class StrictJsonError(ValueError):
    """Bytes that are no strict JSON. The message tells the kind and the place of the fault, never any content."""


def loads_strict(data: bytes, *, exact: bool = False) -> object:
    """The value that untrusted JSON bytes stand for (RFC 8259, and the limits of RFC 7493 on what peers read alike).

    Refused, where the standard library's parser guesses or goes on: every encoding but UTF-8 without a byte order
    mark, a member named twice at any level, NaN and infinities (also a number too large for a float), and unpaired
    surrogates, however written. Nesting and integers too large for the interpreter are refused, not passed on.

    With `exact`, a number with a fraction or an exponent is a `Decimal` with the digits that were sent, not a float.

    Raises `StrictJsonError`, which no other exception is chained to: those would hold the data.
    """
    try:
        value = _parse_document(data.decode(), _parse_exact_value if exact else _parse_value)
        # Only an escape can bring in a surrogate, UTF-8 cannot; and only a surrogate is refused by the encoder.
        if b"\\ud" in data or b"\\uD" in data:
            json.dumps(value, ensure_ascii=False, default=str).encode()
    except StrictJsonError:
        raise
    except json.JSONDecodeError as error:
        fault = f"not JSON at line {error.lineno}, column {error.colno}"
    except UnicodeDecodeError:
        fault = "not UTF-8"
    except UnicodeEncodeError:
        fault = "an unpaired surrogate in a string"
    except RecursionError:
        fault = "nested too deeply"
    except ValueError:
        fault = "an integer with too many digits"
    else:
        return value
    raise StrictJsonError(fault)  # after the handlers: inside one, the caught exception would become its context


def _parse_document(text: str, parse: Callable[[str, int], tuple[object, int]]) -> object:
    value, end = parse(text, len(text) - len(text.lstrip(_JSON_SPACE)))
    if end != len(text) and text[end:].strip(_JSON_SPACE):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def _unique_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise StrictJsonError("a member is named twice in an object")
    return members


def _refuse_constant(_: str) -> NoReturn:
    raise StrictJsonError("NaN or an infinity")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise StrictJsonError("a number too large")
    return number


def _exact(text: str) -> Decimal:
    _finite(text)
    if len(text) > _LONGEST_NUMBER:
        raise StrictJsonError("a number with too many digits")
    try:
        return Decimal(text)
    except InvalidOperation:
        fault = "a number with too large an exponent"
    raise StrictJsonError(fault)


# One decoder for all: json.loads builds a new one on every call that has hooks. And raw_decode, because decode looks
# for white space with regular expressions, which takes longer than a small document itself.
_parse_value = json.JSONDecoder(
    object_pairs_hook=_unique_members, parse_constant=_refuse_constant, parse_float=_finite
).raw_decode
_parse_exact_value = json.JSONDecoder(
    object_pairs_hook=_unique_members, parse_constant=_refuse_constant, parse_float=_exact
).raw_decode


class HmacKey:
    """An HS256 key that was found fit for use. Its `repr` shows nothing of it, and it cannot be pickled.

    Made from a JWK of type `oct` (RFC 7517) or from the raw bytes. Raises `InvalidKeyError`.
    """

    __slots__ = ("_keyed",)

    def __init__(self, key: Mapping[str, object] | bytes) -> None:
        # Copying a keyed hash is cheaper than keying one each time, and no frame that refuses a token holds the secret.
        self._keyed = hmac.new(key_secret(key), digestmod="sha256")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is neither copied nor pickled")

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's over the message; takes the same time wherever the two differ."""
        keyed = self._keyed.copy()
        keyed.update(message)
        return hmac.compare_digest(keyed.digest(), signature)


def key_secret(key: Mapping[str, object] | bytes) -> bytes:
    """The bytes of an HS256 key given as a JWK (RFC 7517, RFC 7518 section 6.4) or as those bytes.

    A JWK must be of type `oct` and, where it says so, meant for HS256, for signatures and for verifying. Further
    members are ignored. Raises `InvalidKeyError` if it is not, or for less than 256 bits.
    """
    secret = _jwk_secret(key) if isinstance(key, Mapping) else key
    if not isinstance(secret, bytes):
        raise InvalidKeyError("The key is neither a JWK with a member k in base64url, nor bytes.")
    if len(secret) < MIN_KEY_BYTES:
        raise InvalidKeyError("The key is too short: HS256 needs 256 bits.")
    return secret


def _jwk_secret(jwk: Mapping[str, object]) -> bytes | None:
    if jwk.get("kty") != "oct":
        raise InvalidKeyError("The key's type (kty) is not oct.")
    if jwk.get("alg", "HS256") != "HS256":
        raise InvalidKeyError("The key is for another algorithm (alg) than HS256.")
    if jwk.get("use", "sig") != "sig":
        raise InvalidKeyError("The key's use is not sig.")
    if "key_ops" in jwk and not _may_verify(jwk["key_ops"], only_signatures="use" in jwk):
        raise InvalidKeyError("The key's operations (key_ops) do not include verify, or contradict its use.")
    encoded = jwk.get("k")
    if not isinstance(encoded, str) or not encoded.isascii():
        return None
    return _decode_base64url(encoded.encode())


def _may_verify(operations: object, *, only_signatures: bool) -> bool:
    if not isinstance(operations, list) or not all(isinstance(operation, str) for operation in operations):
        return False
    distinct = set(operations)
    if len(distinct) != len(operations) or "verify" not in distinct:
        return False
    return not only_signatures or distinct <= {"sign", "verify"}


def verify_compact(token: str | bytes, key: Mapping[str, object] | bytes) -> bytes:
    """The payload of a compact JWS, once its HS256 signature under the key is found good (RFC 7515 section 5.2).

    `key` is a JWK or at least 32 raw bytes. The payload is returned as it is: any bytes, possibly none.

    The algorithm is HS256 whatever the token says, and the token must say so too. Nothing in the token is
    interpreted before its signature is found good. Then the header must be an object without a member named twice,
    with `alg` "HS256" and neither `crit` nor `b64`. Its `typ` may be any text, for the application to judge (section
    4.1.9). Keys that a header offers or points to (`jwk`, `jku`, `x5c`, `x5u`, `kid`) are never looked at. Every part
    must be base64url in its one canonical form. A token has at most 8,192 bytes.

    Raises `InvalidTokenError`, for an unfit key its subclass `InvalidKeyError`.
    """
    return verify_any(token_bytes(token), (HmacKey(key),))


def token_bytes(token: object) -> bytes:
    """The token as bytes, for `verify_any`; `InvalidTokenError` if it is no ASCII text or too long."""
    if isinstance(token, str) and len(token) <= MAX_TOKEN_BYTES and token.isascii():
        return token.encode()
    if not isinstance(token, (str, bytes)):
        raise InvalidTokenError(InvalidTokenReason.MALFORMED, "The token is no text.")
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidTokenError(InvalidTokenReason.TOO_LONG, f"The token is longer than {MAX_TOKEN_BYTES} bytes.")
    if isinstance(token, bytes):
        return token
    raise InvalidTokenError(InvalidTokenReason.MALFORMED, "The token has characters outside base64url.")


def verify_any(token: bytes, keys: Sequence[HmacKey], *, typ: str | None = None) -> bytes:
    """Like `verify_compact`, for bytes from `token_bytes` and several keys: any of them may have signed.

    With `typ`, a header that names another type is refused; that e-CROSS issues is of type "JWT".
    """
    if token.translate(None, _ALPHABET) != b"..":
        raise InvalidTokenError(InvalidTokenReason.MALFORMED, "The token is not three parts of base64url.")
    signing_input, _, encoded_signature = token.rpartition(b".")
    signature = _decode_part(encoded_signature)
    for key in keys:
        if key.signed(signing_input, signature):
            break
    else:
        raise InvalidTokenError(InvalidTokenReason.BAD_SIGNATURE, "The token was signed with none of the known keys.")
    encoded_header, _, encoded_payload = signing_input.partition(b".")
    if encoded_header != _ISSUED_HEADER or typ not in _TYPES_OF_ISSUED:
        _check_header(_decode_part(encoded_header), typ)
    return _decode_part(encoded_payload)


def _check_header(data: bytes, typ: str | None) -> None:
    try:
        header = loads_strict(data)
    except StrictJsonError:
        header = None
    if not isinstance(header, dict):
        raise InvalidTokenError(InvalidTokenReason.BAD_HEADER, "The token's header is not a strict JSON object.")
    if header.get("alg") != "HS256":
        raise InvalidTokenError(InvalidTokenReason.BAD_HEADER, "The token's algorithm (alg) is not HS256.")
    said_typ = header.get("typ", typ or "")
    if not isinstance(said_typ, str):
        raise InvalidTokenError(InvalidTokenReason.BAD_HEADER, "The token's type (typ) is no text.")
    if typ is not None and said_typ != typ:
        raise InvalidTokenError(InvalidTokenReason.BAD_HEADER, f"The token's type (typ) is not {typ}.")
    # RFC 7797 demands crit beside b64, and we understand no extension: either one alone is refused.
    if "crit" in header or "b64" in header:
        raise InvalidTokenError(InvalidTokenReason.BAD_HEADER, "The token demands an extension (crit or b64).")


def _decode_part(encoded: bytes) -> bytes:
    decoded = _decode_base64url(encoded)
    if decoded is None:
        raise InvalidTokenError(InvalidTokenReason.MALFORMED, "A part of the token is not canonical base64url.")
    return decoded


def _decode_base64url(encoded: bytes) -> bytes | None:
    """The bytes, or None unless `encoded` is the one text that stands for them (RFC 4648 sections 3.5 and 5)."""
    try:
        decoded = binascii.a2b_base64(encoded.translate(_URL_TO_STANDARD) + b"==")
    except binascii.Error:
        return None
    # The decoder skips foreign characters, padding and unused bits; what it read past does not come back.
    canonical = binascii.b2a_base64(decoded, newline=False).rstrip(b"=").translate(_STANDARD_TO_URL)
    return decoded if canonical == encoded else None

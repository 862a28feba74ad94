"""The wire forms of `POST /token`: reading requests strictly, and describing both sides for the OpenAPI document."""

from __future__ import annotations

import functools
import json
from datetime import datetime
from email.utils import formatdate
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from ecross.jws import StrictJsonError, loads_strict
from ecross_server.auth.tokens import SigningKey
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.errors import InvalidInputError

Instant = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]

LONGEST_CLIENT_ID: Final = 128
LONGEST_CLIENT_SECRET: Final = 256

# The published examples.
REQUEST_EXAMPLE: Final = {"clientId": "your-client-id", "clientSecret": "your-client-secret"}
RESPONSE_EXAMPLE: Final = {
    "token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9...",
    "tokenType": "Bearer",
    "expiresIn": 28800,
}


class TokenRequest(BaseModel):
    """Client credentials."""

    client_id: str = Field(
        alias="clientId", min_length=1, max_length=LONGEST_CLIENT_ID,
        description="The client ID provided to identify your merchant account (username).",
    )  # fmt: skip
    client_secret: str = Field(
        alias="clientSecret", min_length=1, max_length=LONGEST_CLIENT_SECRET,
        description="The client secret to authenticate your merchant account (password).",
    )  # fmt: skip


class SigningKeyOut(BaseModel):
    """A signing key's life, without the key."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    key_id: str | None
    algorithm: str
    status: str
    created_at: Instant | None
    retires_at: Instant | None

    @classmethod
    def of(cls, key: SigningKey) -> SigningKeyOut:
        """The wire form."""
        return cls(
            key_id=key.key_id,
            algorithm="HS256",
            status=key.status,
            created_at=key.created_at,
            retires_at=key.retires_at,
        )


class SigningKeyListOut(BaseModel):
    """All keys of the signing keys' file."""

    keys: list[SigningKeyOut]


class TokenResponse(BaseModel):
    """An access token."""

    token: str = Field(description="The access token. Send it as `Authorization: Bearer {token}`.")
    token_type: str = Field(alias="tokenType", description="Always `Bearer`.")
    expires_in: int = Field(alias="expiresIn", description="The token's remaining life in seconds.")


class TokenError(BaseModel):
    """Why no token was issued."""

    message: str = Field(description="For people.")


def parse_token_request(body: bytes) -> tuple[str, str]:
    """The client id and secret of a request's body. Unknown fields are ignored.

    Raises:
        InvalidInputError: naming the field that is wrong, never its value.
    """
    try:
        content = loads_strict(body)
    except StrictJsonError as error:
        raise InvalidInputError(f"The body is not acceptable JSON: {error}.") from None
    if not isinstance(content, dict):
        raise InvalidInputError('The body must be a JSON object: {"clientId": "...", "clientSecret": "..."}.')
    return (
        _text(content, "clientId", LONGEST_CLIENT_ID),
        _text(content, "clientSecret", LONGEST_CLIENT_SECRET),
    )


def token_answer(token: str, expires_in: int) -> bytes:
    """The body of a good answer. A token is base64url and dots, so nothing in it needs escaping."""
    return b'{"token":"%b","tokenType":"Bearer","expiresIn":%d}' % (token.encode(), expires_in)


@functools.lru_cache(maxsize=1024)  # one a secret that is to end, and no more work for its tokens than for others
def http_date(seconds: int) -> bytes:
    """An instant in seconds since the epoch as RFC 9110 section 5.6.7 has it: `Sun, 06 Nov 1994 08:49:37 GMT`."""
    return formatdate(seconds, usegmt=True).encode()


@functools.lru_cache(maxsize=128)  # few messages make up nearly all, and a refusal must not cost more than a token
def error_answer(message: str) -> bytes:
    """The body of any other answer: the one published key."""
    return json.dumps({"message": message}, separators=(",", ":")).encode()


def _text(content: dict[str, Any], name: str, longest: int) -> str:
    value = content.get(name)
    if value is None:
        raise InvalidInputError(f"{name} is required.")
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be a string.")
    if not value:
        raise InvalidInputError(f"{name} must not be empty.")
    if len(value) > longest:
        raise InvalidInputError(f"{name} must have at most {longest} characters.")
    return value

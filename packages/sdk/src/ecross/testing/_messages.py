"""Requests as they came in, and responses before they go out."""

import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2

from ecross.jws import StrictJsonError, loads_strict

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")

Fields = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RecordedRequest:
    """A request that the server got, also one that got no answer. Its `repr` shows neither headers nor body."""

    method: str
    path: str
    """Percent-decoded, without the query."""
    query: httpx2.QueryParams
    headers: httpx2.Headers
    content: bytes
    at: float
    """When it came, by the server's clock."""
    request_id: str

    @classmethod
    def received(
        cls, method: str, target: bytes, fields: Iterable[tuple[bytes, bytes]], content: bytes, at: float
    ) -> "RecordedRequest":
        """The request as it stands on the wire: `target` is what stands behind the method."""
        text = target.decode("ascii", "replace")
        if not text.startswith("/"):  # with a host before it, as to a proxy
            split = urlsplit(text)
            text = split.path + ("?" + split.query if split.query else "")
        path, _, query = text.partition("?")
        headers = httpx2.Headers([(name.lower(), value.strip(b" \t")) for name, value in fields])
        return cls(method, unquote(path), httpx2.QueryParams(query), headers, content, at, _request_id(headers))

    def __repr__(self) -> str:
        return f"RecordedRequest({self.method} {self.path} at {self.at})"

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON is anything
        """The body as JSON; `None` if it is none."""
        try:
            return loads_strict(self.content)
        except StrictJsonError:
            return None

    def values(self, name: str) -> list[bytes]:
        """The values of a header that may have been sent more than once, as they were sent."""
        return [value for each, value in self.headers.raw if each == name.encode()]

    def parameter(self, name: str) -> str | None:
        """The last value of a query parameter: which one counts, if there are several."""
        values = self.query.get_list(name)
        return values[-1] if values else None


def _request_id(headers: httpx2.Headers) -> str:
    sent = [value for name, value in headers.raw if name == b"x-request-id"]
    if len(sent) == 1 and REQUEST_ID.fullmatch(sent[0]):
        return sent[0].decode()
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Response:
    """What the server answers."""

    status: int
    headers: Fields = field(default_factory=list)
    content: bytes = field(default=b"", repr=False)


def phrase(status: int) -> str:
    """What stands behind a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown Status"


def json_bytes(content: object, *, ascii_only: bool = False) -> bytes:
    """JSON without any space."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=ascii_only).encode()

"""What callers tell of a request, checked before anything is sent."""

import re
from collections.abc import AsyncIterable, Iterable, Mapping

import httpx2

from ecross._transport.addresses import Addresses
from ecross._transport.senders import ApiRequest, Body, encode_json
from ecross.errors import ConfigurationError

QueryValue = str | int | float | bool | None
Params = Mapping[str, QueryValue | list[str]]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_HEADER_VALUE = re.compile(r"([!-~]([ -~\t]*[!-~])?)?")


def make_request(  # noqa: PLR0913 - what a request is made of
    addresses: Addresses,
    method: str,
    path: str,
    *,
    service: str,
    params: Params | None,
    json: object,
    content: Body | str | None,
    headers: Mapping[str, str] | None,
    is_async: bool,
) -> ApiRequest:
    """The request. Raises `ConfigurationError`, which repeats no header and no part of the body."""
    if not _TOKEN.fullmatch(method):
        raise ConfigurationError("method must be a name as GET or POST")
    told = _checked_headers(headers or {})
    if json is not None:
        if content is not None:
            raise ConfigurationError("json and content are two bodies; a request has one")
        content = encode_json(json)
        told.setdefault("Content-Type", "application/json")
    url = _with_params(addresses.join(service, path), params or {})
    return ApiRequest(method.upper(), url, _checked_body(content, is_async=is_async), told)


def _checked_headers(headers: Mapping[str, object]) -> httpx2.Headers:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ConfigurationError("a header's name must be made of letters, digits and hyphens")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise ConfigurationError(f"the header {name} must be one line of printable ASCII without spaces around it")
        if name.lower() == "host":
            # A proxy on the way may go by it, and so hand the token to a stranger.
            raise ConfigurationError("the header Host cannot be told: it follows from the base URL")
    return httpx2.Headers({name: str(value) for name, value in headers.items()})


def _with_params(url: str, params: Params) -> str:
    if not params:
        return url
    try:
        return str(httpx2.URL(url, params=params))
    except (httpx2.InvalidURL, TypeError, ValueError):
        pass
    raise ConfigurationError("params must be texts, numbers, true, false, None, or lists of these, and not too long")


def _checked_body(content: object, *, is_async: bool) -> Body | None:
    if content is None or isinstance(content, bytes):
        return content
    if isinstance(content, (bytearray, memoryview)):
        return bytes(content)
    if isinstance(content, str):
        return _encoded(content)
    if isinstance(content, AsyncIterable if is_async else Iterable) and not isinstance(content, Mapping):
        return content
    kind = "an asynchronous iterable" if is_async else "an iterable"
    raise ConfigurationError(f"content must be text, bytes or {kind} of bytes")


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass
    raise ConfigurationError("content must be text that UTF-8 can encode")

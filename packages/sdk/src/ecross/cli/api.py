"""`ecross api`: any call of the API, for what has no command of its own."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import httpx2

from ecross._auth.api_errors import read_error, read_retry_after
from ecross._client import EcrossAuth
from ecross._transport.addresses import Addresses
from ecross._transport.senders import user_agent
from ecross.cli.failures import NotConfiguredError, UsageError
from ecross.cli.output import plain_lines, say_bytes
from ecross.cli.session import configure, make_client
from ecross.errors import ApiError, ConfigurationError, EcrossError, TransportError

TIMEOUT: Final = httpx2.Timeout(30.0, connect=10.0)
MOST_OF_AN_ERROR: Final = 256 * 1024
STANDARD_INPUT: Final = "-"


def call_api(profile: str | None, method: str, path: str, *, data: str | None, query: list[str], service: str) -> None:
    """Send a request and print the body of its answer. Raises `EcrossError` for what is no success."""
    configuration, credentials = configure(profile)
    try:
        configuration.endpoints.url_of(service)
    except ConfigurationError as error:
        raise NotConfiguredError(str(error)) from None
    if "?" in path:
        raise UsageError("PATH has no query: give its parameters with --query NAME=VALUE.")
    url = Addresses(configuration.endpoints).join(service, path)
    content = None if data is None else read_data(data)
    headers = {"User-Agent": user_agent(), "Accept": "application/json"}
    if content is not None:
        headers["Content-Type"] = "application/json"
    with make_client(configuration, credentials) as client, httpx2.Client(timeout=TIMEOUT) as connections:
        request = connections.build_request(
            checked_method(method), url, params=parse_query(query) or None, content=content, headers=headers
        )
        try:
            response = connections.send(request, auth=EcrossAuth(client), stream=True)
            with contextlib.closing(response):
                kept = print_body(response)
        except httpx2.HTTPError as error:
            fault: EcrossError = transport_error(error, request.url.host)
        else:
            if response.is_success:
                return
            fault = refusal(response, kept, hidden=(credentials.client_secret, sent_token(response)))
    raise fault


def checked_method(method: str) -> str:
    """The method as it is sent. Raises `UsageError`."""
    if not (method.isascii() and method.isalpha()):
        raise UsageError("METHOD must be a word, as GET.")
    return method.upper()


def parse_query(pairs: list[str]) -> list[tuple[str, str | int | float | bool | None]]:
    """Names and values. Raises `UsageError`."""
    split = [pair.partition("=") for pair in pairs]
    if not all(name and equals for name, equals, _ in split):
        raise UsageError("--query must be NAME=VALUE.")
    return [(name, value) for name, _, value in split]


def read_data(file: str) -> bytes:
    """What is to be sent. Raises `UsageError`."""
    if file == STANDARD_INPUT:
        if sys.stdin is None:
            raise UsageError("Standard input is closed, so there is nothing to send.")
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        fault = error.strerror
    raise UsageError(f"The file {file} cannot be read: {fault}.")


def print_body(response: httpx2.Response) -> bytes:
    """Print the body as it comes; on a terminal without what could move its cursor. The beginning of it."""
    kept = b""
    for chunk in pieces(response):
        say_bytes(chunk)
        kept += chunk[: MOST_OF_AN_ERROR - len(kept)]
    return kept


def pieces(response: httpx2.Response) -> Iterator[bytes]:
    """The body, as it is to be printed."""
    if not sys.stdout.isatty():
        yield from response.iter_bytes()
        return
    text = response.read().decode("utf-8", "backslashreplace")
    if text:
        yield (plain_lines(text).removesuffix("\n") + "\n").encode()


def transport_error(error: httpx2.HTTPError, host: str) -> TransportError:
    """Why there was no answer, or not all of one."""
    is_timeout = isinstance(error, httpx2.TimeoutException)
    if is_timeout:
        return TransportError(f"{host} did not answer in time.", is_timeout=True)
    if isinstance(error, httpx2.ConnectError):
        return TransportError(f"{host} could not be reached: {error}")
    return TransportError(f"The connection to {host} broke off ({type(error).__name__}).")


def refusal(response: httpx2.Response, body: bytes, *, hidden: Iterable[str]) -> ApiError:
    """The error that the answer means; `hidden` are texts that it must not repeat."""
    headers = response.headers
    wait = read_retry_after(headers.get("Retry-After"), now=time.time(), date=headers.get("Date"))
    return read_error(
        response.status_code, body, request_id=headers.get("X-Request-Id"), retry_after_seconds=wait, hidden=hidden
    )


def sent_token(response: httpx2.Response) -> str:
    """The token that the request had."""
    return response.request.headers["Authorization"].removeprefix("Bearer ")

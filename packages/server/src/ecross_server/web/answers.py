"""The one form of every error: `message` for people, a stable `code`, and an input's faults as `errors`.

A caller that accepts `application/problem+json` gets the same as a problem of RFC 9457.
"""

from __future__ import annotations

import http
import json
import re
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from ecross_server.kit.errors import (
    ConflictError,
    DomainError,
    Fault,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from ecross_server.web.context import context_of

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
ACCEPTS_PROBLEMS: Final = re.compile(rb"\s*application/problem\+json\s*(;.*)?", re.IGNORECASE | re.DOTALL)
ACCEPTS_NOT: Final = re.compile(rb";\s*q=0(\.0*)?\s*(;|$)", re.IGNORECASE)
RETRY_AFTER_SECONDS: Final = 1
METHOD_NOT_ALLOWED: Final = 405
UNAVAILABLE: Final = 503

STATUS_OF: Final[tuple[tuple[type[DomainError], int], ...]] = (
    (InvalidInputError, 400),
    (NotFoundError, 404),
    (ConflictError, 409),
    (UnavailableError, UNAVAILABLE),
)

MESSAGES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("invalid_request", "The request cannot be read."),
    404: ("not_found", "There is nothing at this path. The API is described at /docs."),
    405: ("method_not_allowed", "This path does not know the method; the Allow header names those it knows."),
    413: ("body_too_large", "The body is too large."),
    415: ("unsupported_media_type", "Send JSON with Content-Type: application/json."),
    500: ("internal_error", "Something went wrong on our side. Report it with the X-Request-Id of this answer."),
}
"""Code and message of the answers that HTTP itself asks for."""


def error_response(
    scope: MutableMapping[str, Any],
    status: int,
    code: str,
    message: str,
    *,
    faults: Iterable[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error in the form that the caller accepts. Notes the code as the request's outcome."""
    context_of(scope).outcome = code
    media_type = PROBLEM if _accepts_problems(scope) else JSON
    content = error_content(status, code, message, faults, media_type=media_type)
    headers = {**(headers or {}), "Vary": "Accept"}
    return Response(json.dumps(content, separators=(",", ":")), status, headers, media_type)


def error_content(
    status: int, code: str, message: str, faults: Iterable[Fault] = (), *, media_type: str = JSON
) -> dict[str, Any]:
    """The body of an error."""
    content: dict[str, Any] = {"message": message, "code": code}
    if listed := [{"path": fault.path, "message": fault.message} for fault in faults]:
        content["errors"] = listed
    if media_type == PROBLEM:
        title = http.HTTPStatus(status).phrase
        content = {"type": "about:blank", "title": title, "status": status, "detail": message, **content}
    return content


def domain_error_response(scope: MutableMapping[str, Any], error: DomainError) -> Response:
    """The answer to an error of a domain, its status following from its class."""
    status = next(status for kind, status in STATUS_OF if isinstance(error, kind))
    faults = error.faults if isinstance(error, InvalidInputError) else ()
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == UNAVAILABLE else None
    return error_response(scope, status, error.code, error.message, faults=faults, headers=headers)


def http_error_response(scope: MutableMapping[str, Any], status: int, headers: Mapping[str, str] | None) -> Response:
    """The answer to an error that HTTP itself defines, such as an unknown path."""
    code, message = MESSAGES.get(status, ("error", http.HTTPStatus(status).phrase))
    return error_response(scope, status, code, message, headers=headers)


def install_error_answers(app: FastAPI) -> None:
    """Make every error of the application take the one form."""

    async def on_domain_error(request: Request, error: DomainError) -> Response:
        return domain_error_response(request.scope, error)

    async def on_http_error(request: Request, error: HTTPException) -> Response:
        headers = error.headers
        if error.status_code == METHOD_NOT_ALLOWED:
            headers = {**(headers or {}), "Allow": ", ".join(_methods_at(request))}
        return http_error_response(request.scope, error.status_code, headers)

    async def on_validation_error(request: Request, error: RequestValidationError) -> Response:
        faults = [Fault(_path(item), item["msg"]) for item in error.errors()]
        return error_response(request.scope, 400, "invalid_input", "The request has faults.", faults=faults)

    async def on_our_bug(request: Request, _error: Exception) -> Response:
        return http_error_response(request.scope, 500, None)

    # One of another class would be our bug: it is logged, and its text is shown to nobody.
    for kind, _ in STATUS_OF:
        app.add_exception_handler(kind, on_domain_error)  # type: ignore[arg-type] # Starlette types the base class
    app.add_exception_handler(HTTPException, on_http_error)  # type: ignore[arg-type] # likewise
    app.add_exception_handler(RequestValidationError, on_validation_error)  # type: ignore[arg-type] # likewise
    app.add_exception_handler(Exception, on_our_bug)


def _methods_at(request: Request) -> list[str]:
    """The methods that the path knows: a route for each of them, of which the framework names the first one's alone."""
    return sorted(
        {
            method
            for route in iter_route_contexts(request.app.routes)
            if compile_path(route.path or "")[0].match(request.scope["path"])
            for method in route.methods or ()
        }
    )


def _path(item: Mapping[str, Any]) -> str:
    source, *names = (str(part) for part in item["loc"])
    # Where no JSON was found at all, the second part counts characters.
    return source if not names or item["type"] == "json_invalid" else ".".join(names)


def _accepts_problems(scope: MutableMapping[str, Any]) -> bool:
    return any(
        ACCEPTS_PROBLEMS.fullmatch(media_range) and not ACCEPTS_NOT.search(media_range)
        for name, value in scope["headers"]
        if name == b"accept"
        for media_range in value.split(b",")
    )

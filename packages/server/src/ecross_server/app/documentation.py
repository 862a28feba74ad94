"""The OpenAPI document at `/openapi.json`, and the page at `/docs` that shows it without any outside address."""

from __future__ import annotations

import copy
import functools
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from starlette.responses import FileResponse, Response

from ecross_server.admin.errors import InsufficientRoleError, InvalidAdminTokenError, MissingAdminTokenError
from ecross_server.auth.endpoints import CHALLENGE, LARGEST_TOKEN_BODY, TOKEN_PATH, TOO_MANY
from ecross_server.auth.errors import (
    AddressNotAllowedError,
    InsufficientScopeError,
    InvalidAccessTokenError,
    InvalidClientError,
    InvalidRequestError,
    MissingTokenError,
    RegistryStaleError,
)
from ecross_server.auth.schemas import REQUEST_EXAMPLE, RESPONSE_EXAMPLE, TokenError, TokenRequest, TokenResponse
from ecross_server.catalog.errors import ProductNotFoundError
from ecross_server.inventory.errors import SkuNotFoundError, UnknownWarehouseError, WarehouseNotWritableError
from ecross_server.kit.database import DatabaseAwayError
from ecross_server.kit.errors import DomainError, Fault, InvalidInputError
from ecross_server.kit.page_tokens import InvalidPageTokenError
from ecross_server.merchants.errors import ClientNotFoundError, MerchantExistsError, MerchantNotFoundError
from ecross_server.operators.errors import (
    LastOwnerError,
    SignInRefusedError,
    SignInsBusyError,
    TooManySignInsError,
)
from ecross_server.web.answers import JSON, MESSAGES, PROBLEM, RETRY_AFTER_SECONDS, error_content
from ecross_server.web.bodies import refusal
from ecross_server.web.idempotency import IdempotencyKeyReusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from fastapi import FastAPI, Request

TITLE: Final = "e-CROSS Merchant Integration API"
VERSION: Final = version("ecross-server")
DESCRIPTION: Final = """\
All APIs are private. Your e-CROSS representative registers your merchant user and gives you a `clientId` and a
`clientSecret`; `POST /token` turns them into an access token, which every other call carries as
`Authorization: Bearer {token}`. Cache the token and use it until it expires.

Every error has a `message` for people and, but for `POST /token`, a stable `code`.
"""

# Nothing from elsewhere, and nothing written into the page runs. Swagger UI sets styles on its elements and shows
# its icons as data addresses.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PAGE: Final = f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{TITLE}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<noscript>This page needs JavaScript. The document itself: <a href="openapi.json">openapi.json</a></noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START: Final = """\
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
});
"""
ASSETS: Final = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


class FaultOut(BaseModel):
    """One fault of an input."""

    path: str = Field(description="Where it is.", examples=["lastUpdateDateFrom"])
    message: str = Field(description="What it is.", examples=["Field required"])


class Error(BaseModel):
    """The form of every error."""

    message: str = Field(description="For people.", examples=["The access token has expired."])
    code: str = Field(description="Stable: for programs.", examples=["invalid_token"])
    errors: list[FaultOut] = Field([], description="Every fault of an input; absent where there is none.")


class Problem(Error):  # noqa: N818 - a form, not an exception
    """The form of every error for a caller that accepts `application/problem+json` (RFC 9457)."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(description="The status in words.", examples=["Unauthorized"])
    status: int = Field(examples=[401])
    detail: str = Field(description="As `message`.", examples=["The access token has expired."])


TAGS: Final = (
    {"name": "authentication", "description": "Tokens."},
    {"name": "catalog", "description": "Products and their SKUs."},
    {"name": "inventory", "description": "How many pieces lie where."},
    {
        "name": "hand-over",
        "description": "Links that show a secret once. Not under a token: whoever has the link is let in.",
    },
    {"name": "health", "description": "For load balancers and monitors."},
)
TOKEN_MODELS: Final = (TokenRequest, TokenResponse, TokenError)
ERROR_MODELS: Final = (Error, Problem)
FRAMEWORK_ERRORS: Final = ("HTTPValidationError", "ValidationError")
"""What FastAPI documents of the 422 that it would give itself; ours are 400."""

HEADERS: Final[dict[str, dict[str, Any]]] = {
    "RequestId": {
        "description": "The request's own `X-Request-Id` if it was well-formed, else one made for it. "
        "Name it when you report something.",
        "schema": {"type": "string"},
        "example": "0f6b1f0e8a5d4d5c9b1e6a7c2d3e4f50",
    },
    "RetryAfter": {
        "description": "Seconds to wait.",
        "schema": {"type": "integer"},
        "example": RETRY_AFTER_SECONDS,
    },
    "Challenge": {
        "description": "What is asked for (RFC 6750 section 3).",
        "schema": {"type": "string"},
        "example": f'{CHALLENGE}, error="invalid_token"',
    },
    "RateLimitPolicy": {
        "description": "The limits that are told: that of the caller's address, and after a right secret the client's. "
        "See draft-ietf-httpapi-ratelimit-headers-11; absent where limits are off.",
        "schema": {"type": "string"},
        "example": '"address";q=300;w=60, "client";q=60;w=60',
    },
    "RateLimit": {
        "description": "What is left of them (`r`), and the seconds until all of it is there again (`t`).",
        "schema": {"type": "string"},
        "example": '"address";r=299;t=1, "client";r=59;t=1',
    },
    "CredentialExpires": {
        "description": "From when on the secret that was used opens nothing: it is being replaced, or was issued "
        "for a time. Absent where no end is set.",
        "schema": {"type": "string"},
        "example": "Tue, 01 Dec 2026 00:00:00 GMT",
    },
    "Allow": {"description": "The methods that the path knows.", "schema": {"type": "string"}, "example": "POST"},
}


def _reference(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


RETRY_AFTER: Final = {"Retry-After": _reference("headers", "RetryAfter")}
RATE_LIMITS: Final = {
    "RateLimit-Policy": _reference("headers", "RateLimitPolicy"),
    "RateLimit": _reference("headers", "RateLimit"),
}
CREDENTIAL_EXPIRES: Final = {"ECross-Credential-Expires": _reference("headers", "CredentialExpires")}
WWW_AUTHENTICATE: Final = {"WWW-Authenticate": _reference("headers", "Challenge")}


def _errors(
    status: int, description: str, *errors: DomainError, headers: dict[str, Any] | None = None
) -> dict[str, Any]:
    """An answer with an example of each error; without errors the one that HTTP itself asks for."""
    facts = [
        (error.code, error.message, error.faults if isinstance(error, InvalidInputError) else ()) for error in errors
    ] or [(*MESSAGES[status], ())]
    return {
        "description": description,
        "headers": headers or {},
        "content": {
            media_type: {
                "schema": _reference("schemas", schema.__name__),
                "examples": {
                    code: {"value": error_content(status, code, message, faults, media_type=media_type)}
                    for code, message, faults in facts
                },
            }
            for media_type, schema in zip((JSON, PROBLEM), ERROR_MODELS, strict=True)
        },
    }


_FAULTY_FIELD: Final = "must be an ISO 8601 date and time with a time zone, such as 2023-10-27T19:10:00Z"

PRIVATE_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: _errors(
        400,
        "The request has faults.",
        InvalidInputError(f"lastUpdateDateFrom {_FAULTY_FIELD}", (Fault("lastUpdateDateFrom", _FAULTY_FIELD),)),
        InvalidPageTokenError(),
        InvalidRequestError("The Authorization header holds no token."),
    ),
    401: _errors(
        401,
        "No token, or one that is malformed, forged, expired or revoked.",
        MissingTokenError(),
        InvalidAccessTokenError("expired", "The access token has expired."),
        headers=WWW_AUTHENTICATE,
    ),
    403: _errors(
        403,
        "The token is good, but does not allow this, or not from this address.",
        InsufficientScopeError("catalog:read"),
        AddressNotAllowedError(),
        headers=WWW_AUTHENTICATE,
    ),
    413: _errors(413, "A body of more than 4 MiB."),
    500: _errors(500, "Our fault."),
    503: _errors(503, "Not at the moment.", RegistryStaleError(), DatabaseAwayError(), headers=RETRY_AFTER),
}

ERRORS_BEGIN: Final = 400
ADMIN_TITLE: Final = "e-CROSS administration"
ADMIN_DESCRIPTION: Final = """\
What an operator does with the command `ecross-server`, over HTTP and under the operator's own name. It listens apart
from the API of merchants, by default on this machine alone. `POST /admin/token` turns a password and a code of the
authenticator into an administration token, which every other call carries as `Authorization: Bearer {token}`.

Each operation says in `x-required-role` who may call it: a viewer reads, a representative acts for merchants, an owner
also manages keys and operators. A secret is handed over by a link that shows it once, unless it is asked for in clear.
Nothing is kept of an answer, so a request that may have been done is not sent again blindly: look first.
"""
ADMIN_TAGS: Final = (
    {"name": "signing in", "description": "Administration tokens, and who the caller is."},
    {"name": "merchants", "description": "Who may sell."},
    {"name": "credentials", "description": "Clients of merchants, and their secrets."},
    {"name": "approvals", "description": "A second person's word before somebody gets a secret."},
    {"name": "hand-overs", "description": "Receipts of the links that show a secret once."},
    {"name": "audit trail", "description": "Who did what."},
    {"name": "keys", "description": "What signs tokens."},
    {"name": "operators", "description": "Who administers."},
)
ADMIN_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: _errors(
        400,
        "The request has faults; each is listed with its path.",
        refusal((Fault("merchantId", "Field required"),)),
        InvalidPageTokenError(),
        InvalidRequestError("The Authorization header holds no token."),
    ),
    401: _errors(
        401,
        "No administration token, or one that is forged, expired or revoked.",
        MissingAdminTokenError(),
        InvalidAdminTokenError("expired"),
        headers=WWW_AUTHENTICATE,
    ),
    403: _errors(
        403, "The operator's role does not allow this.", InsufficientRoleError("owner"), headers=WWW_AUTHENTICATE
    ),
    404: _errors(
        404, "There is no such thing.", MerchantNotFoundError("ACME"), ClientNotFoundError("acme-q7w4k2m5zt3xa")
    ),
    409: _errors(409, "It does not fit the present state.", MerchantExistsError("ACME"), LastOwnerError("jane")),
    413: _errors(413, "A body of more than 4 MiB."),
    500: _errors(500, "Our fault."),
    503: _errors(503, "Not at the moment.", DatabaseAwayError(), headers=RETRY_AFTER),
}
SIGN_IN_ERRORS: Final = {
    400: _errors(400, "The request has faults.", refusal((Fault("operator", "Field required"),))),
    401: _errors(
        401, "Whatever is wrong about operator, password or code.", SignInRefusedError(), headers=WWW_AUTHENTICATE
    ),
    429: _errors(429, "Too many attempts from this address.", TooManySignInsError(30), headers=RETRY_AFTER),
    503: _errors(503, "Not at the moment.", SignInsBusyError(), DatabaseAwayError(), headers=RETRY_AFTER),
}

BODY_ERRORS: Final = {
    409: _errors(409, "The idempotency key came with another request before.", IdempotencyKeyReusedError()),
    415: _errors(415, "Another content type."),
}
SET_INVENTORY_ERRORS: Final = {
    400: _errors(
        400,
        "The request has faults; each is listed with its path.",
        refusal((Fault("quantity", "Input should be greater than or equal to 0"),)),
        UnknownWarehouseError(),
        WarehouseNotWritableError(),
        InvalidRequestError("The Authorization header holds no token."),
    ),
    **BODY_ERRORS,
}
OPERATION_ERRORS: Final[dict[str, dict[int, dict[str, Any]]]] = {
    "upsert_skus": {
        400: _errors(
            400,
            "The request has faults; each is listed with its path.",
            refusal((Fault("0.name", "Field required"), Fault("1.productId", "must be that of the first SKU"))),
            InvalidRequestError("The Authorization header holds no token."),
        ),
        **BODY_ERRORS,
    },
    "get_product": {404: _errors(404, "The merchant has no such product.", ProductNotFoundError())},
    "set_inventory": SET_INVENTORY_ERRORS,
    "set_inventory_without_slash": SET_INVENTORY_ERRORS,
    "get_sellable_stock": {404: _errors(404, "No such SKU, and no stock of it.", SkuNotFoundError())},
}
"""What not every private operation answers, by the operation's id."""


def openapi_document(api: FastAPI, *, with_token: bool = True) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the whole server, the token endpoint in front of the framework included."""
    made = get_openapi(
        title=TITLE, version=VERSION, description=DESCRIPTION, routes=api.routes, tags=[dict(tag) for tag in TAGS]
    )
    document = copy.deepcopy(made)  # parts of it are the routes' own
    if with_token:
        document["paths"] = {TOKEN_PATH: {"post": _token_operation()}, **document["paths"]}
    return _completed(document, OPERATION_ERRORS, HEADERS, TOKEN_MODELS if with_token else ())


def _completed(
    document: dict[str, Any],
    operation_errors: Mapping[str, Mapping[int, dict[str, Any]]],
    headers: dict[str, dict[str, Any]],
    more_models: Sequence[type[BaseModel]] = (),
) -> dict[str, Any]:
    components = document.setdefault("components", {})
    forms: dict[str, Any] = components.get("schemas", {})
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        operation["responses"].pop("422", None)
        errors = operation_errors.get(operation["operationId"], {})
        operation["responses"] |= {str(status): dict(answer) for status, answer in errors.items()}
        for content in operation.get("requestBody", {}).get("content", {}).values():
            forms |= content["schema"].pop("$defs", {})
        for answer in operation["responses"].values():
            answer["headers"] = {**answer.get("headers", {}), "X-Request-Id": _reference("headers", "RequestId")}
    components["headers"] = headers
    schemas = {name: schema for name, schema in forms.items() if name not in FRAMEWORK_ERRORS}
    models: tuple[type[BaseModel], ...] = (*ERROR_MODELS, *more_models)
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    components["schemas"] = dict(sorted({**schemas, **definitions["$defs"]}.items()))
    return document


def admin_document(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the administration. What nearly all operations answer stands in it once."""
    made = get_openapi(
        title=ADMIN_TITLE, version=VERSION, description=ADMIN_DESCRIPTION, routes=api.routes,
        tags=[dict(tag) for tag in ADMIN_TAGS],
    )  # fmt: skip
    headers = {name: HEADERS[name] for name in ("RequestId", "RetryAfter", "Challenge")}
    document = copy.deepcopy(made)
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    for operation in operations:
        if "requestBody" in operation:
            operation["responses"] |= {"415": _errors(415, "Another content type.")}
    _completed(document, {"issue_administration_token": SIGN_IN_ERRORS}, headers)
    shared: dict[str, Any] = {}
    for operation in operations:
        for status, response in operation["responses"].items():
            if int(status) < ERRORS_BEGIN or operation["operationId"] == "issue_administration_token":
                continue
            shared[f"Error{status}"] = response
            operation["responses"][status] = _reference("responses", f"Error{status}")
    document["components"]["responses"] = dict(sorted(shared.items()))
    return document


def _token_operation() -> dict[str, Any]:
    def content(schema: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
        return {JSON: {"schema": _reference("schemas", schema.__name__), "example": example}}

    def refusal(description: str, message: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
        return {
            "description": description,
            "headers": (headers or {}) | RATE_LIMITS,
            "content": content(TokenError, {"message": message}),
        }

    return {
        "tags": ["authentication"],
        "summary": "Get an access token",
        "description": "Turns client credentials into a token for all other calls. Unknown fields are ignored.",
        "operationId": "issue_access_token",
        "security": [],
        "requestBody": {"required": True, "content": content(TokenRequest, REQUEST_EXAMPLE)},
        "responses": {
            "200": {
                "description": "The token.",
                "headers": CREDENTIAL_EXPIRES | RATE_LIMITS,
                "content": content(TokenResponse, RESPONSE_EXAMPLE),
            },
            "400": refusal("The body has a fault; the message names the field.", "clientId is required."),
            "401": refusal(
                "Wrong credentials, whatever is wrong about them.", InvalidClientError().message, WWW_AUTHENTICATE
            ),
            "405": refusal("Another method than POST.", "Use POST.", {"Allow": _reference("headers", "Allow")}),
            "413": refusal(
                "A body of more than 64 KiB.", f"The body is too large: at most {LARGEST_TOKEN_BODY} bytes."
            ),
            "415": refusal("Another content type.", "Send JSON with Content-Type: application/json."),
            "429": refusal("Too many requests, of the client or of the address.", TOO_MANY, RETRY_AFTER),
            "500": refusal("Our fault.", MESSAGES[500][1]),
            "503": refusal("Not at the moment.", RegistryStaleError().message, RETRY_AFTER),
        },
    }


def install(api: FastAPI, make: Callable[[FastAPI], dict[str, Any]], prefix: str = "") -> None:
    """Serve the document and the page that shows it."""

    @functools.cache
    def document() -> bytes:
        return json.dumps(make(api), separators=(",", ":")).encode()

    page = PAGE.replace(TITLE, api.title)
    answers: dict[str, Callable[[], Response]] = {
        f"{prefix}/openapi.json": lambda: Response(document(), media_type=JSON),
        f"{prefix}/docs": lambda: Response(page, media_type="text/html"),
        f"{prefix}/docs/start.js": lambda: Response(START, media_type="text/javascript"),
    }
    folder = _assets_folder()
    for name, media_type in ASSETS.items():
        answers[f"{prefix}/docs/{name}"] = functools.partial(
            FileResponse, folder / name, media_type=media_type, headers={"Cache-Control": "max-age=86400"}
        )
    for path, answer in answers.items():
        api.add_route(path, _endpoint(answer), include_in_schema=False)


def _endpoint(answer: Callable[[], Response]) -> Callable[[Request], Awaitable[Response]]:
    async def get(_request: Request) -> Response:
        response = answer()
        response.headers.update(PAGE_HEADERS)
        return response

    return get


def _assets_folder() -> Path:
    # The package is there for its files; importing it would load code that nobody needs.
    spec = importlib.util.find_spec("fastapi_offline")
    if spec is None or spec.origin is None:  # pragma: no cover - a declared dependency
        raise ModuleNotFoundError("fastapi_offline")
    return Path(spec.origin).parent / "static"

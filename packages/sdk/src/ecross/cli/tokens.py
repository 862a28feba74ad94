"""`ecross token` and `ecross whoami`: the access token, and what it says."""

import base64
import binascii
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ecross.cli.failures import UsageError
from ecross.cli.output import duration, print_facts, print_json, rfc3339, say, shown, warn
from ecross.cli.session import configure, make_client, open_client
from ecross.jws import StrictJsonError, loads_strict

JWT_PARTS: Final = 3
ALL_SCOPES: Final = "merchant"
"""The scope of credentials that nobody has limited."""


def print_token(profile: str | None, *, raw: bool, header: bool, as_json: bool) -> None:
    """Print a good token, alone or as a header. Raises `UsageError` unless told which."""
    if raw == header:
        fault = "Both contradict each other." if raw else "Without one of them no token is printed."
        raise UsageError(f"Tell how to print the token: --raw or --header. {fault}")
    with open_client(profile) as client:
        found = client.access_token()
    if sys.stdout.isatty():
        warn("warning: The token is on your screen now. Whoever reads it there is the merchant until it expires.")
    if as_json and raw:
        print_json({"token": found.value, "tokenType": found.token_type, "expiresAt": rfc3339(found.expires_at)})
    elif as_json:
        print_json({"Authorization": f"Bearer {found.value}"})
    else:
        say(f"Authorization: Bearer {found.value}" if header else found.value)


def print_claims(profile: str | None, *, as_json: bool) -> None:
    """Print what the token says of its merchant, and how long it lives."""
    configuration, credentials = configure(profile)
    with make_client(configuration, credentials) as client:
        found = client.access_token()
    claims = read_claims(found.value)
    left = max(0, int((found.expires_at - datetime.now(UTC)).total_seconds()))
    if as_json:
        print_json(
            {
                "server": configuration.endpoints.auth, "profile": configuration.profile,
                "clientId": credentials.client_id, "merchantId": claims.get("merchant_id"),
                "scope": claims.get("scope"), "expiresAt": rfc3339(found.expires_at), "remainingSeconds": left,
                "credentialExpiresAt": found.credential_expires_at and rfc3339(found.credential_expires_at),
                "isVerified": False, "claims": claims,
            }
        )  # fmt: skip
        return
    local = f"{found.expires_at.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    print_facts(
        {
            "merchant": _text(claims.get("merchant_id")),
            "client id": credentials.client_id,
            "scope": _text(claims.get("scope")),
            "server": configuration.endpoints.auth,
            "profile": configuration.profile,
            "issuer": _text(claims.get("iss")),
            "expires": f"{shown(found.expires_at)} (here: {local})",
            "remaining": duration(left),
            **({} if found.credential_expires_at is None else {"secret ends": shown(found.credential_expires_at)}),
        }
    )
    if _text(claims.get("scope")) not in {None, ALL_SCOPES}:
        warn("note: What the scope does not name is refused (insufficient_scope). Your representative can widen it.")
    if claims:
        warn("note: The claims are read from the token, not verified.")
    else:
        warn("note: The token shows no claims; only the server can read it.")


def read_claims(token: str) -> Mapping[str, Any]:
    """The claims of a JWT, not verified; none if it is no JWT."""
    parts = token.split(".")
    if len(parts) != JWT_PARTS:
        return {}
    try:
        claims = loads_strict(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, StrictJsonError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _text(claim: object) -> str | None:
    return claim if isinstance(claim, str) else None

"""`ecross doctor`: does all that a client needs work, and where does each setting come from?"""

import os
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import typer

from ecross._auth.api_errors import read_http_date
from ecross._auth.secret_end import WARNED_BEFORE
from ecross._configuration import SERVICES, Configuration, Credentials, Endpoints
from ecross._token_cache import KeyPlace, describe_cache, told_directory
from ecross.cli.failures import CREDENTIALS, UNREACHABLE, exit_code
from ecross.cli.output import duration, plain, print_json, print_table, redact, say, shown
from ecross.cli.session import configure, make_client
from ecross.cli.tokens import ALL_SCOPES, read_claims
from ecross.errors import CacheError, EcrossError, RateLimitedError
from ecross.types import AccessToken

HIDDEN: Final = "(hidden)"
SECONDS: Final = 10.0
MOST_SKEW_SECONDS: Final = 30.0
SOON_SECONDS: Final = 14 * 24 * 3600.0
_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at: `status` is ok, warning, failed, or skipped where it could not be looked at."""

    name: str
    status: str
    detail: str
    fix: str | None = None
    exit_code: int = field(default=0, repr=False)


@dataclass(frozen=True, slots=True)
class Origin:
    """A server as a connection is made to it."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Origin":
        """The one that the address leads to."""
        parts = urlsplit(url)
        return cls(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def print_checks(profile: str | None, *, as_json: bool) -> None:
    """Print all checks, and every setting with its source. Ends with the exit code of the first fault."""
    checks, settings = examine(profile)
    failed = [check for check in checks if check.status == "failed"]
    if as_json:
        print_json({"ok": not failed, "checks": [_wire(check) for check in checks], "settings": settings})
    else:
        for check in checks:
            say(f"{check.status:<7}  {plain(check.name)}: {plain(check.detail)}")
            if check.fix:
                say(f"{'':<7}  what to do: {plain(check.fix)}")
        say()
        rows = [(setting["name"], setting["value"], setting["source"]) for setting in settings]
        print_table(("SETTING", "VALUE", "SOURCE"), rows, empty="No setting was told.")
    if failed:
        raise typer.Exit(failed[0].exit_code)


def examine(profile: str | None) -> tuple[list[Check], list[dict[str, str]]]:
    """All checks, and the settings with their sources."""
    cache = check_cache()
    try:
        configuration, credentials = configure(profile)
    except EcrossError as error:
        rest = ("server", "clock", "credentials", "token")
        fix = "set what is missing, or run: ecross login"
        return [
            Check("configuration", "failed", redact(str(error)), fix, exit_code(error)),
            *(Check(name, "skipped", "no configuration to check it with") for name in rest),
            *cache,
        ], []
    checks = [Check("configuration", "ok", "complete")]
    origins = dict.fromkeys(Origin.of(url) for url in _urls(configuration.endpoints).values())
    for origin in origins:
        checks += check_origin(origin)
    auth = Origin.of(configuration.endpoints.auth)
    if any(check.status == "failed" and check.name.endswith(f" {auth}") for check in checks):
        reason = f"{auth} could not be reached"
        checks += [Check(name, "skipped", reason) for name in ("clock", "credentials", "token")]
    else:
        checks.append(check_clock(configuration.endpoints.auth))
        checks += check_credentials(configuration, credentials)
    return [*checks, *cache], list_settings(configuration, credentials)


def check_origin(origin: Origin) -> Iterator[Check]:
    """Whether its name is known, and whether a connection can be made that is as safe as it must be."""
    name, connection = f"name {origin}", f"connection {origin}"
    if origin.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(origin.host):
        detail = "the environment tells a proxy to go through, which sees to it"
        yield Check(name, "skipped", detail)
        yield Check(connection, "skipped", detail)
        return
    try:
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the latter for a label that no name can have
        fix = "check the address for a typing error, and this machine's network and DNS"
        detail = f"the name is not known: {getattr(error, 'strerror', None) or error}"
        yield Check(name, "failed", detail, fix, UNREACHABLE)
        yield Check(connection, "skipped", "the name is not known")
        return
    yield Check(name, "ok", ", ".join(dict.fromkeys(str(address[4][0]) for address in found)))
    yield check_connection(origin, connection)


def check_connection(origin: Origin, name: str) -> Check:
    """Whether a connection can be made, and until when its certificate is good."""
    try:
        with socket.create_connection((origin.host, origin.port), timeout=SECONDS) as plain_socket:
            if origin.scheme == "http":
                return Check(name, "ok", "without TLS, which is for this machine only")
            context = httpx2.create_ssl_context()
            with context.wrap_socket(plain_socket, server_hostname=origin.host) as tls:
                return _check_certificate(name, tls)
    except ssl.SSLCertVerificationError as error:
        fix = "do not go on if you did not expect this; a private authority's certificate goes into SSL_CERT_FILE"
        return Check(name, "failed", f"the certificate is not trusted: {error.verify_message}", fix, UNREACHABLE)
    except (OSError, ValueError) as error:
        fix = "check that the server runs, the port, and the firewalls on the way"
        detail = f"no connection: {getattr(error, 'strerror', None) or error}"
        return Check(name, "failed", detail, fix, UNREACHABLE)


def check_clock(auth_url: str) -> Check:
    """How far this machine's clock is from the server's."""
    try:
        with httpx2.stream("GET", auth_url, timeout=SECONDS, follow_redirects=False) as answer:
            theirs = read_http_date(answer.headers.get("Date"))
    except httpx2.HTTPError as error:
        return Check("clock", "skipped", f"the server did not answer ({type(error).__name__})")
    if theirs is None:
        return Check("clock", "skipped", "the server does not tell the time")
    skew = time.time() - theirs
    if abs(skew) <= MOST_SKEW_SECONDS:
        return Check("clock", "ok", f"within {MOST_SKEW_SECONDS:.0f} seconds of the server's")
    detail = f"{duration(abs(skew))} {'ahead of' if skew > 0 else 'behind'} the server's; the client allows for it"
    return Check("clock", "warning", detail, "set this machine's clock, best by NTP")


def check_credentials(configuration: Configuration, credentials: Credentials) -> list[Check]:
    """Whether the server gives a token for them, and what token."""
    try:
        with make_client(configuration, credentials) as client:
            token = client.access_token(force_refresh=True)
    except EcrossError as error:
        detail = redact(str(error))
        failed = Check("credentials", "failed", detail, _advice(error), exit_code(error))
        return [failed, Check("token", "skipped", "none was given")]
    return [check_secret(credentials.client_id, token.credential_expires_at), check_token(token)]


def check_secret(client_id: str, ends_at: datetime | None) -> Check:
    """Until when the server accepts the client secret."""
    accepts = f"the server accepts {client_id}"
    if ends_at is None:
        return Check("credentials", "ok", accepts)
    left = (ends_at - datetime.now(UTC)).total_seconds()
    detail = f"{accepts}, but its secret ends at {shown(ends_at)} ({duration(left)})"
    if left > WARNED_BEFORE.total_seconds():
        return Check("credentials", "ok", detail)
    return Check("credentials", "warning", detail, "ask your representative for the new secret, then: ecross login")


def check_token(token: AccessToken) -> Check:
    """What the token says of itself."""
    claims = read_claims(token.value)
    merchant, scope = claims.get("merchant_id"), claims.get("scope")
    speaks_for = f"for {merchant}, " if isinstance(merchant, str) else ""
    is_limited = isinstance(scope, str) and scope != ALL_SCOPES
    allows = f", and allows only {scope}; what else you call is refused as insufficient_scope" if is_limited else ""
    left = duration((token.expires_at - datetime.now(UTC)).total_seconds())
    return Check("token", "ok", f"{speaks_for}good for {left}{allows}")


def check_cache() -> list[Check]:
    """Where tokens are kept, and whom that keeps out."""
    try:
        found = describe_cache(told_directory(os.environ))
    except CacheError as error:
        return [Check("cache", "failed", str(error), "mend it as the message says", exit_code(error))]
    protection = f"keeps out: {found.protects_against} Does not: {found.does_not_protect_against}"
    if found.place is KeyPlace.MEMORY:
        fix = "set ECROSS_CACHE_DIR to a folder that only this user can read"
        cache = Check("cache", "warning", f"in memory only: {found.why_not_better}", fix)
    else:
        modes = f"folder {found.modes['.']}, files {_modes_of_files(found.modes)}; " if found.modes else ""
        why = f" {found.why_not_better}" if found.why_not_better else ""
        cache = Check("cache", "ok", f"{found.directory}; {modes}key in the {found.place}.{why}")
    return [cache, Check("protection", cache.status, protection)]


def list_settings(configuration: Configuration, credentials: Credentials) -> list[dict[str, str]]:
    """Every setting that was told, with its source; the secret masked."""
    sources = configuration.sources
    values = [(f"{service} URL", url, sources["endpoints"]) for service, url in _urls(configuration.endpoints).items()]
    values.append(("client id", credentials.client_id, sources["client_id"]))
    values.append(("client secret", HIDDEN, sources["client_secret"]))
    if configuration.cache_directory is not None:
        values.append(("cache directory", str(configuration.cache_directory), sources["cache_directory"]))
    if configuration.profile is not None:
        values.append(("profile", configuration.profile, sources["profile"]))
    return [{"name": name, "value": value, "source": source} for name, value, source in values]


def _check_certificate(name: str, tls: ssl.SSLSocket) -> Check:
    ends = ssl.cert_time_to_seconds(str((tls.getpeercert() or {})["notAfter"]))
    left = ends - time.time()
    detail = f"{tls.version()}, certificate good until {shown(datetime.fromtimestamp(ends, UTC))} ({duration(left)})"
    if left < SOON_SECONDS:
        return Check(name, "warning", detail, "tell the server's operator that its certificate ends soon")
    return Check(name, "ok", detail)


def _advice(error: EcrossError) -> str:
    if exit_code(error) == CREDENTIALS:
        return (
            "check the client id and secret, or run: ecross login; if they are right, ask your representative: "
            "they may have ended, or be good from other addresses only"
        )
    if isinstance(error, RateLimitedError):
        return "wait, and let all programs of this machine share one cache"
    return "check that the base URL leads to an e-CROSS server, and try again later"


def _modes_of_files(modes: dict[str, str]) -> str:
    return ", ".join(sorted({mode for name, mode in modes.items() if name != "."})) or "none"


def _urls(endpoints: Endpoints) -> dict[str, str]:
    urls = {service: getattr(endpoints, service) for service in SERVICES}
    return {service: url for service, url in urls.items() if url is not None}


def _wire(check: Check) -> dict[str, Any]:
    return {name: value for name, value in asdict(check).items() if name != "exit_code"}

"""Where requests go: under the configured base URLs and nowhere else."""

import re
from urllib.parse import quote, unquote

import httpx2

from ecross._configuration import SERVICES, Endpoints
from ecross.errors import ConfigurationError

_PATH_CHARACTERS = "/%:@!$&'()*+,;=-._~"
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\?#]")
# Libraries that send do not agree on where a host ends when an address holds these.
_READ_DIFFERENTLY = re.compile(r"[\x00-\x20\x7f\\]")
_SEPARATORS = re.compile(r"[/\\]")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MOST_ENCODINGS = 4


class Addresses:
    """The base URLs of the services."""

    __slots__ = ("_endpoints", "_roots")

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        told = {endpoints.auth, endpoints.product, endpoints.order, endpoints.hermes}
        self._roots = tuple(_root(httpx2.URL(base)) for base in told if base is not None)

    @property
    def token_url(self) -> str:
        """Where tokens are asked for."""
        return self._endpoints.auth + "/token"

    @property
    def product_url(self) -> str | None:
        """Where the catalog is; `None` if that was not told."""
        return self._endpoints.product

    def join(self, service: str, path: str) -> str:
        """The address of a path of a service. Raises `ConfigurationError` for all that could lead elsewhere."""
        if service not in SERVICES:
            raise ConfigurationError(f"service must be one of {', '.join(SERVICES)}")
        if not path.startswith("/") or path.startswith("//") or _FORBIDDEN.search(path) or _climbs(path):
            raise ConfigurationError(
                "path must begin with one slash, without '..', backslash, '?', '#', space or control character; "
                "a query goes into params"
            )
        base = self._endpoints.url_of(service)
        try:
            return base + quote(path, safe=_PATH_CHARACTERS)
        except UnicodeEncodeError:
            pass
        raise ConfigurationError("path must be text that UTF-8 can encode")

    def check(self, url: str) -> None:
        """Raises `ConfigurationError` unless this address is under one of the base URLs."""
        if not self._is_ours(url):
            raise ConfigurationError(
                "The access token is for the configured base URLs alone; this request goes elsewhere."
            )

    def _is_ours(self, url: str) -> bool:
        if _READ_DIFFERENTLY.search(url):
            return False
        try:
            parsed = httpx2.URL(url)
        except (httpx2.InvalidURL, UnicodeEncodeError):
            return False
        origin, path = _root(parsed)
        if parsed.userinfo or _climbs(path):
            return False
        return any(origin == ours and (path == root or path.startswith(root + "/")) for ours, root in self._roots)


def _root(url: httpx2.URL) -> tuple[tuple[str, str, int | None], str]:
    port = url.port if url.port is not None else _DEFAULT_PORTS.get(url.scheme)
    # The path as it is sent: one whose slash is encoded may be another to a proxy on the way.
    path = url.raw_path.decode("ascii").partition("?")[0]
    return (url.scheme, url.host, port), path.rstrip("/")


def _climbs(path: str) -> bool:
    # A proxy on the way may decode what was encoded, also more than once.
    for _ in range(_MOST_ENCODINGS):
        # Some servers cut what follows a semicolon off each segment, before they resolve the dots.
        if any(segment.partition(";")[0] in {".", ".."} for segment in _SEPARATORS.split(path)):
            return True
        decoded = unquote(path)
        if decoded == path:
            return False
        path = decoded
    return True

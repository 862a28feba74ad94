"""The addresses of the services. None is a default, so that no secret goes to a stranger by accident."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from ecross.errors import ConfigurationError

SERVICES: Final = ("auth", "product", "order", "hermes")

_UNFIT = re.compile(r"[^!-~]|[\\?#@]")
"""What no base URL holds: spaces, control characters, what is not ASCII; a query, a fragment, user information."""

_PORTS: Final = range(1, 65536)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The base URL of each service, without a slash at its end; `None` for one that was not told."""

    auth: str
    product: str | None
    order: str | None
    hermes: str | None

    def url_of(self, service: str) -> str:
        """The base URL of the service.

        Raises:
            ConfigurationError: if it was not told.
        """
        url: str | None = getattr(self, service) if service in SERVICES else None
        if url is None:
            raise ConfigurationError(
                f"No address of the service {service} was told. Set ECROSS_{service.upper()}_URL or base_urls."
            )
        return url


ENVIRONMENTS: Final = {
    "production": Endpoints(
        auth="https://auth.api.e-cross.tech",
        product="https://product.api.e-cross.tech",
        order="https://order.api.e-cross.tech",
        hermes="https://hermes.api.e-cross.tech",
    )
}
"""The published hosts, used only when they are asked for by name."""


def endpoints_of_base_url(base_url: object, setting: str) -> Endpoints:
    """One server for all services.

    Raises:
        ConfigurationError: if it is no fit URL; names the setting, never shows its value.
    """
    url = _checked(base_url, setting)
    return Endpoints(auth=url, product=url, order=url, hermes=url)


def endpoints_of_base_urls(base_urls: Mapping[str, object], settings: Mapping[str, str]) -> Endpoints:
    """A server for each service; `auth` must be told, the others where they are used.

    `settings` names the setting behind each service.

    Raises:
        ConfigurationError: if `auth` or a fit URL is missing, or a name is no service.
    """
    unknown = sorted(set(base_urls) - set(SERVICES))
    if unknown:
        raise ConfigurationError(f"{unknown[0]!r} is none of the services {', '.join(SERVICES)}.")
    if "auth" not in base_urls:
        raise ConfigurationError(f"{settings['auth']} is missing: without it there is no access token.")
    urls = {service: _checked(url, settings[service]) for service, url in base_urls.items()}
    return Endpoints(urls["auth"], urls.get("product"), urls.get("order"), urls.get("hermes"))


def endpoints_of_environment(environment: object, setting: str) -> Endpoints:
    """The published hosts of that name.

    Raises:
        ConfigurationError: if there are none.
    """
    if not isinstance(environment, str) or environment not in ENVIRONMENTS:
        raise ConfigurationError(f"{setting} must be one of: {', '.join(ENVIRONMENTS)}.")
    return ENVIRONMENTS[environment]


def _checked(url: object, setting: str) -> str:
    if not isinstance(url, str):
        raise ConfigurationError(f"{setting} must be text.")
    fault = _fault(url)
    if fault is not None:
        raise ConfigurationError(f"{setting} {fault}.")  # without its value, which might hold a password
    return url.rstrip("/")


def _fault(url: str) -> str | None:
    if _UNFIT.search(url):
        return "must be a plain URL, without user name, query, fragment or spaces"
    try:
        parts = urlsplit(url)
        port_is_fit = parts.port is None or parts.port in _PORTS
    except ValueError:
        return "is not a URL"
    if not parts.hostname or not port_is_fit or parts.netloc.endswith(":"):
        return "must be a URL with a host, as https://api.example.com"
    if parts.scheme == "https":
        return None
    if parts.scheme != "http":
        return "must begin with https://"
    return None if _is_loopback(parts.hostname) else "must begin with https:// (http:// is for this machine only)"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""Where a request comes from: the peer of its connection, or what a trusted proxy says in `X-Forwarded-For`."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ecross_server.kit.networks import Network, parse_address

if TYPE_CHECKING:
    from starlette.types import Scope

UNKNOWN: Final = "unknown"
NEIGHBORS: Final = 64
"""A line or a host gets at least so long an IPv6 prefix to itself, and may change its address within it at will."""


class CallerAddresses:
    """Tells the caller's address. Nobody but a trusted proxy may name another than that of the connection."""

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        self.trust(trusted_proxies)

    def trust(self, trusted_proxies: Iterable[str]) -> None:
        """Believe these addresses and networks from now on, and no others."""
        self._trusted: list[Network] = [ipaddress.ip_network(text, strict=False) for text in trusted_proxies]
        self._is_trusted = functools.lru_cache(maxsize=1024)(self._lies_in_a_trusted_network)

    def of(self, scope: Scope) -> str:
        """The address, as text.

        From the right, the first one in `X-Forwarded-For` that is no trusted proxy itself: what stands further left
        may be made up. Where an entry is no address, the proxy that wrote it counts.
        """
        client = scope.get("client")
        if not client:
            return UNKNOWN
        host: str = client[0]
        if not self._trusted or not self._is_trusted(host):
            return host
        for entry in _forwarded_for(scope):
            address = parse_address(entry)
            if address is None:
                break
            host = str(address)
            if not self._is_trusted(host):
                break
        return host

    def _lies_in_a_trusted_network(self, host: str) -> bool:
        address = parse_address(host)
        return address is not None and any(address in network for network in self._trusted)


@functools.lru_cache(maxsize=16384)
def neighborhood(host: str) -> str:
    """What counts as one address: an IPv4 address, or the first half of an IPv6 one."""
    address = parse_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address), NEIGHBORS), strict=False))
    return host if address is None else str(address)


def _forwarded_for(scope: Scope) -> Iterable[str]:
    values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return reversed(b",".join(values).decode("latin-1").split(",")) if values else ()

"""Addresses and networks: how they are read, and lists of those that are let in."""

from __future__ import annotations

import functools
import ipaddress
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAPPED_PREFIX: Final = 96
"""An IPv4 address in an IPv6 one stands behind so many bits (RFC 4291 section 2.5.5.2)."""

_NETWORK: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:/[0-9]{1,3})?")
_IPV4_ADDRESSES: Final = 1 << 32


def parse_address(text: str) -> Address | None:
    """The address that a connection or a proxy tells; an IPv4 address in an IPv6 one is the IPv4 address."""
    text = text.strip()
    if text.startswith("["):  # some proxies write the port, too
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        # A zone means something on its own host only.
        address = address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return address


def parse_network(text: str) -> Network:
    """A network such as `198.51.100.0/24` or `2001:db8::/48`, or one address; IPv4 in IPv6 is read as the IPv4 one.

    Raises:
        ValueError: for anything else, with what is to be done about it. The text is not repeated.
    """
    if _NETWORK.fullmatch(text) is None:
        raise ValueError("must be an address or a network, such as 198.51.100.7, 198.51.100.0/24 or 2001:db8::/48")
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is no address and no network: 198.51.100.0/24 is one, and 2001:db8::/48") from None
    if ipaddress.ip_interface(text).ip != network.network_address:
        raise ValueError("has bits set behind its prefix: write the network's first address, such as 198.51.100.0/24")
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= MAPPED_PREFIX:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            network = ipaddress.IPv4Network((int(mapped), network.prefixlen - MAPPED_PREFIX))
    if network.prefixlen == 0:
        raise ValueError("holds every address, so it limits nothing")
    return network


def network_of(text: str) -> Network | None:
    """The network that a text stands for which tells where a caller was: of an address, that alone."""
    if "/" in text:
        return ipaddress.ip_network(text)
    address = parse_address(text)
    return None if address is None else ipaddress.ip_network(address)


def in_order(networks: Iterable[Network]) -> list[Network]:
    """Each network once: IPv4 before IPv6, then by their first addresses, the wider ones first."""
    return sorted(set(networks), key=lambda each: (each.version, int(each.network_address), each.prefixlen))


@dataclass(frozen=True, slots=True)
class AllowedNetworks:
    """Who is let in, as spans of numbers that neither touch nor overlap: one comparison more for twice the list."""

    firsts: tuple[int, ...]
    lasts: tuple[int, ...]

    @classmethod
    def of(cls, networks: Sequence[Network]) -> AllowedNetworks:
        """Those of the networks."""
        firsts: list[int] = []
        lasts: list[int] = []
        for first, last in sorted(map(_span, networks)):
            if lasts and first <= lasts[-1] + 1:
                lasts[-1] = max(lasts[-1], last)
            else:
                firsts.append(first)
                lasts.append(last)
        return cls(tuple(firsts), tuple(lasts))

    def allow(self, address: str) -> bool:
        """Whether the address, as a connection or a proxy tells it, lies in one of them; no address does not."""
        number = _number(address)
        if number is None:
            return False
        place = bisect_right(self.firsts, number) - 1
        return place >= 0 and number <= self.lasts[place]

    def touch(self, network: Network) -> bool:
        """Whether any address of the network is let in."""
        first, last = _span(network)
        place = bisect_right(self.firsts, last) - 1
        return place >= 0 and first <= self.lasts[place]


def _span(network: Network) -> tuple[int, int]:
    return _place(network.network_address), _place(network.broadcast_address)


def _place(address: Address) -> int:
    # IPv4 stands before all IPv6, by numbers below zero: no network of the one holds an address of the other.
    return int(address) - _IPV4_ADDRESSES if isinstance(address, ipaddress.IPv4Address) else int(address)


@functools.lru_cache(maxsize=16384)
def _number(text: str) -> int | None:
    address = parse_address(text)
    return None if address is None else _place(address)

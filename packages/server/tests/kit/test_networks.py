from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecross_server.kit.networks import AllowedNetworks, in_order, network_of, parse_address, parse_network

NETWORKS = ["10.0.0.0/8", "198.51.100.7/32", "203.0.113.128/25", "2001:db8::/48", "2001:db8:1::7/128"]
FAULTS = {
    "must be an address or a network, such as 198.51.100.7, 198.51.100.0/24 or 2001:db8::/48",
    "is no address and no network: 198.51.100.0/24 is one, and 2001:db8::/48",
    "has bits set behind its prefix: write the network's first address, such as 198.51.100.0/24",
    "holds every address, so it limits nothing",
}
"""Whatever is sent, none of it is repeated."""


def allowed(*texts: str) -> AllowedNetworks:
    return AllowedNetworks.of([parse_network(text) for text in texts])


class TestReading:
    @pytest.mark.parametrize(
        ("text", "network"),
        [
            ("198.51.100.7", "198.51.100.7/32"),
            ("198.51.100.0/24", "198.51.100.0/24"),
            ("2001:DB8:0:0::/48", "2001:db8::/48"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::ffff:198.51.100.7", "198.51.100.7/32"),
            ("::ffff:c633:6400/120", "198.51.100.0/24"),
            ("128.0.0.0/1", "128.0.0.0/1"),
            ("::/8", "::/8"),
        ],
    )
    def test_every_spelling_of_a_network_is_one(self, text: str, network: str) -> None:
        assert str(parse_network(text)) == network

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("198.51.100.7/24", "bits set"),
            ("2001:db8::1/48", "bits set"),
            ("::ffff:198.51.100.7/100", "bits set"),
            ("0.0.0.0/0", "every address"),
            ("::/0", "every address"),
            ("::ffff:0:0/96", "every address"),
            ("198.51.100.0/33", "no address"),
            ("2001:db8::/129", "no address"),
            ("256.0.0.1", "no address"),
            ("010.0.0.1", "no address"),
            ("1.2.3", "no address"),
            ("2001:db8:::1", "no address"),
            ("198.51.100.0/255.255.255.0", "must be"),
            ("198.51.100.0/-1", "must be"),
            ("198.51.100.0/", "must be"),
            ("fe80::1%eth0", "must be"),
            ("fe80::%1/64", "must be"),
            ("[2001:db8::1]:443", "must be"),
            (" 198.51.100.7", "must be"),
            ("198.51.100.7\n", "must be"),
            ("198.51.100.0/24 10.0.0.0/8", "must be"),
            ("\uff11\uff19\uff18.51.100.7", "must be"),
            ("198.51.100.0/\uff124", "must be"),
            ("any", "must be"),
            ("", "must be"),
            ("1" * 10_000, "must be"),
        ],
    )
    def test_anything_else_is_refused_with_what_is_to_be_done(self, text: str, fault: str) -> None:
        with pytest.raises(ValueError, match=fault) as caught:
            parse_network(text)
        assert str(caught.value) in FAULTS

    def test_each_stands_once_and_ipv4_first(self) -> None:
        networks = [parse_network(text) for text in (*NETWORKS[::-1], "10.0.0.0/16", "::ffff:10.0.0.0/104")]
        assert list(map(str, in_order(networks))) == ["10.0.0.0/8", "10.0.0.0/16", *NETWORKS[1:]]

    @pytest.mark.parametrize(
        ("text", "network"),
        [("198.51.100.7", "198.51.100.7/32"), ("2001:db8::/64", "2001:db8::/64"), ("unknown", "None"), ("", "None")],
    )
    def test_where_a_caller_was_is_a_network_too(self, text: str, network: str) -> None:
        assert str(network_of(text)) == network


class TestAllowing:
    @pytest.mark.parametrize(
        ("address", "is_in"),
        [
            ("10.0.0.0", True),
            ("10.255.255.255", True),
            ("9.255.255.255", False),
            ("11.0.0.0", False),
            ("198.51.100.7", True),
            ("198.51.100.6", False),
            ("203.0.113.127", False),
            ("203.0.113.128", True),
            ("::ffff:10.1.2.3", True),
            ("::FFFF:0a01:0203", True),
            ("[::ffff:10.1.2.3]:80", True),
            ("10.1.2.3:80", True),
            ("::10.1.2.3", False),
            ("64:ff9b::10.1.2.3", False),
            ("2002:0a01:0203::", False),
            ("2001:db8:0:ffff::1", True),
            ("2001:db8::1%eth0", True),
            ("2001:db8:1::7", True),
            ("2001:db8:1::8", False),
            ("", False),
            ("unknown", False),
            ("10.1.2.3, 4.5.6.7", False),
            ("010.1.2.3", False),
        ],
    )
    def test_who_is_let_in(self, address: str, *, is_in: bool) -> None:
        assert allowed(*NETWORKS).allow(address) is is_in

    def test_an_ipv6_network_holds_no_ipv4_address(self) -> None:
        for address in ("0.0.0.1", "10.0.0.1", "::ffff:10.0.0.1", "255.255.255.255"):
            assert not allowed("::/1", "8000::/1").allow(address)
            assert allowed("0.0.0.0/1", "128.0.0.0/1").allow(address)
        assert not allowed("0.0.0.0/1", "128.0.0.0/1").allow("::1")

    def test_neighbors_and_overlaps_become_one_span(self) -> None:
        assert allowed("10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "10.0.0.0/8") == allowed("10.0.0.0/8")
        assert len(allowed("10.0.0.0/9", "11.0.0.0/8").firsts) == 2

    def test_a_network_is_touched_if_any_of_it_is_let_in(self) -> None:
        within = allowed("2001:db8::7", "10.0.0.0/8")
        for text, touched in (
            ("2001:db8::/64", True), ("2001:db8:0:1::/64", False), ("10.1.0.0/16", True), ("8.0.0.0/5", True),
            ("9.0.0.0/8", False),
        ):  # fmt: skip
            assert within.touch(parse_network(text)) is touched

    @given(st.lists(st.ip_addresses(), min_size=1, max_size=5), st.ip_addresses(), st.integers(1, 128))
    def test_it_is_as_the_standard_library_has_it(self, around: list[object], address: object, prefix: int) -> None:
        networks = [
            ipaddress.ip_network(f"{each}/{min(prefix, 32 if '.' in str(each) else 128)}", strict=False)
            for each in around
        ]
        parsed = parse_address(str(address))
        assert parsed is not None
        expected = any(parsed in network for network in networks)
        assert AllowedNetworks.of(networks).allow(str(address)) is expected

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecross_server.web.addresses import UNKNOWN, CallerAddresses, neighborhood


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    return {"client": None if peer is None else (peer, 4711), "headers": headers}


class TestWithoutTrustedProxies:
    def test_the_peer_is_the_caller_whatever_it_claims(self) -> None:
        addresses = CallerAddresses()
        assert addresses.of(scope("203.0.113.9", "198.51.100.1")) == "203.0.113.9"

    def test_a_connection_without_an_address_is_unknown(self) -> None:
        assert CallerAddresses().of(scope(None, "198.51.100.1")) == UNKNOWN


class TestBehindTrustedProxies:
    addresses = CallerAddresses(["10.0.0.0/8", "2001:db8::5"])

    def test_a_proxy_names_the_caller(self) -> None:
        assert self.addresses.of(scope("10.0.0.1", "198.51.100.1")) == "198.51.100.1"
        assert self.addresses.of(scope("2001:db8::5", "198.51.100.1")) == "198.51.100.1"
        assert self.addresses.of(scope("::ffff:10.0.0.1", "198.51.100.1")) == "198.51.100.1"

    def test_nobody_else_does(self) -> None:
        assert self.addresses.of(scope("203.0.113.9", "198.51.100.1")) == "203.0.113.9"
        assert self.addresses.of(scope("testclient", "198.51.100.1")) == "testclient"

    def test_what_a_caller_wrote_before_the_proxy_is_ignored(self) -> None:
        assert self.addresses.of(scope("10.0.0.1", "192.0.2.1, 198.51.100.1")) == "198.51.100.1"
        assert self.addresses.of(scope("10.0.0.1", "192.0.2.1", "198.51.100.1")) == "198.51.100.1"

    def test_a_chain_of_proxies_is_followed(self) -> None:
        assert self.addresses.of(scope("10.0.0.1", "192.0.2.1, 198.51.100.1, 10.1.1.1, 10.2.2.2")) == "198.51.100.1"

    def test_a_caller_inside_the_trusted_network_is_the_last_one_named(self) -> None:
        assert self.addresses.of(scope("10.0.0.1", "10.3.3.3, 10.2.2.2")) == "10.3.3.3"

    def test_without_the_header_the_proxy_itself_calls(self) -> None:
        assert self.addresses.of(scope("10.0.0.1")) == "10.0.0.1"

    @pytest.mark.parametrize("entry", ["", "unknown", "_hidden", "1.2.3", "999.1.1.1", "<script>", "\xe9", "a\tb"])
    def test_where_an_entry_is_no_address_the_proxy_that_wrote_it_counts(self, entry: str) -> None:
        assert self.addresses.of(scope("10.0.0.1", f"198.51.100.1, {entry}")) == "10.0.0.1"

    @pytest.mark.parametrize(
        ("entry", "address"),
        [
            ("198.51.100.1:4711", "198.51.100.1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("::ffff:198.51.100.1", "198.51.100.1"),
        ],
    )
    def test_ports_and_spellings_make_no_difference(self, entry: str, address: str) -> None:
        assert self.addresses.of(scope("10.0.0.1", entry)) == address

    @given(st.lists(st.text(st.characters(max_codepoint=255), max_size=40), max_size=5))
    def test_nothing_in_the_header_breaks_it_nor_gets_through_unparsed(self, values: list[str]) -> None:
        address = self.addresses.of(scope("10.0.0.1", *values))
        assert neighborhood(address) != ""
        assert set(address) <= set("0123456789abcdef.:")


class TestNeighborhoods:
    def test_an_ipv6_line_is_one_neighborhood(self) -> None:
        assert neighborhood("2001:db8:1:2::1") == neighborhood("2001:db8:1:2:ffff::2") == "2001:db8:1:2::/64"
        assert neighborhood("2001:db8:1:3::1") != neighborhood("2001:db8:1:2::1")

    def test_an_ipv4_address_is_one_also_where_it_is_mapped(self) -> None:
        assert neighborhood("198.51.100.1") == neighborhood("::ffff:198.51.100.1") == "198.51.100.1"

    def test_what_is_no_address_stands_for_itself(self) -> None:
        assert neighborhood(UNKNOWN) == UNKNOWN

"""What a client is limited to, what that would refuse, and what is suggested."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from ecross.verifier import Claims
from ecross_server.app.assembly import make_api
from ecross_server.app.documentation import openapi_document
from ecross_server.audit import service as audit
from ecross_server.audit.rules import Actor, Draft, derive_keys
from ecross_server.audit.service import RecordFilter, list_records, microseconds
from ecross_server.kit.database import Database
from ecross_server.kit.errors import InvalidInputError
from ecross_server.merchants import grants, restrictions, rules, service
from ecross_server.merchants.errors import ClientNotFoundError, ClientRevokedError
from ecross_server.merchants.models import Client, ClientCall
from ecross_server.merchants.rules import (
    MERCHANT_SCOPE,
    SCOPES,
    Allowance,
    Peppers,
    Restrictions,
    allowance_of,
    allows,
    common_scopes,
    read_networks,
    read_scope,
)
from ecross_server.merchants.uses import KEPT_DAYS, CallKind, note_calls
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from conftest import Register

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))
NOW = datetime(2026, 1, 20, 3, 4, 5, 678_000, tzinfo=UTC)
DAY = timedelta(days=1)


class TestScopes:
    @pytest.mark.parametrize(
        ("text", "scope"),
        [
            ("merchant", "merchant"),
            ("merchant:read", "merchant:read"),
            (" inventory:write  catalog:read ", "catalog:read inventory:write"),
            ("catalog:write catalog:read catalog:write", "catalog:read catalog:write"),
            ("catalog:write", "catalog:write"),
            ("catalog:read merchant:read inventory:write", "merchant:read inventory:write"),
        ],
    )
    def test_a_scope_is_kept_in_one_order(self, text: str, scope: str) -> None:
        assert read_scope(text) == scope
        assert read_scope(scope) == scope

    @pytest.mark.parametrize(
        "text",
        [
            "", " ", "Merchant", "catalog", "catalog:", ":read", "catalog:Read", "catalog:delete", "merchant:write",
            "orders:read", "catalog:read,inventory:read", "catalog:read\tinventory:read", "catalog:read\n",
            "catalog:read\u00a0inventory:read", "c\u0430talog:read", "catalog\uff1aread", "catalog:read\x00", "*",
            "catalog:read " * 1000, "\ud800",
        ],
    )  # fmt: skip
    def test_anything_else_is_refused_and_not_repeated(self, text: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            read_scope(text)
        assert [fault.path for fault in caught.value.faults] == ["scope"]
        assert caught.value.message == (
            "scope must be merchant, or some of merchant:read, catalog:read, catalog:write, inventory:read, "
            "inventory:write"
        )

    def test_all_beside_a_part_is_no_limit_and_refused(self) -> None:
        with pytest.raises(InvalidInputError, match="beside others"):
            read_scope("merchant catalog:read")

    def test_to_write_is_not_to_read(self) -> None:
        assert not allows({"catalog:write"}, "catalog:read")
        assert allows({"merchant:read"}, "inventory:read")
        assert not allows({"merchant:read"}, "inventory:write")
        assert not allows({"catalog:read", "inventory:write"}, "inventory:read")

    def test_who_verifies_tokens_elsewhere_judges_alike(self) -> None:
        for size in range(3):
            for words in itertools.combinations([*SCOPES, "orders:read", "orders:write"], size):
                claims = Claims("i", "c", "a", 0, 0, 1, "t", "c", "ACME", " ".join(words), 1)
                for asked in (*SCOPES, "orders:read", "orders:write", "read", ""):
                    assert claims.may(asked) is allows(frozenset(words), asked)

    def test_what_two_scopes_have_in_common_is_what_both_allow(self) -> None:
        several = [" ".join(words) for size in range(4) for words in itertools.combinations(SCOPES, size)]
        for one, other in itertools.product(several, several):
            both = common_scopes(one, other)
            for asked in SCOPES:
                expected = allows(set(one.split()), asked) and allows(set(other.split()), asked)
                assert allows(both, asked) is expected, (one, other, asked)

    def test_scopes_name_just_the_groups_that_endpoints_ask_for(self, settings: Settings) -> None:
        document = openapi_document(make_api(settings))
        asked = {
            word
            for methods in document["paths"].values()
            for operation in methods.values()
            for requirement in operation.get("security", ())
            for word in requirement.get("bearer", ())
        }
        assert asked == set(SCOPES) - {"merchant", "merchant:read"}


class TestNetworks:
    def test_a_list_is_kept_in_one_order(self) -> None:
        texts = ["2001:db8::/48", "198.51.100.7", "10.0.0.0/8", "::ffff:198.51.100.7"]
        assert read_networks(texts) == "10.0.0.0/8 198.51.100.7/32 2001:db8::/48"

    def test_every_fault_is_told_with_its_place(self) -> None:
        with pytest.raises(InvalidInputError) as caught:
            read_networks(["10.0.0.0/8", "10.0.0.1/8", "x"])
        assert [fault.path for fault in caught.value.faults] == ["allow.1", "allow.2"]
        assert caught.value.message.startswith("allow.1 has bits set")

    @pytest.mark.parametrize("count", [0, 65, 100_000])
    def test_none_and_too_many_are_refused(self, count: int) -> None:
        with pytest.raises(InvalidInputError, match="must be 1 to 64 networks"):
            read_networks(["10.0.0.0/8"] * count)

    def test_clients_that_may_do_the_same_share_what_is_known_of_it(self) -> None:
        assert allowance_of("merchant", None) is allowance_of("merchant", None)
        assert allowance_of("merchant", None) == Allowance("merchant", None)


class Acme:
    """A merchant's client, and all that is done with it."""

    def __init__(self, database: Database, peppers: Peppers) -> None:
        self.database = database
        self.peppers = peppers
        with database.write() as session:
            service.register_merchant(session, "ACME", "Acme", now=NOW, by=BY)
        self.client_id = self.issue().client.id

    def issue(self, **options: Any) -> service.IssuedCredential:
        with self.database.write() as session:
            return service.issue_credential(session, "ACME", peppers=self.peppers, now=NOW, by=BY, **options)

    def limit(self, **options: Any) -> Client:
        with self.database.write() as session:
            return restrictions.restrict_client(session, self.client_id, now=NOW, by=BY, **options)

    def plan(self, **options: Any) -> list[tuple[str, str | None, int]]:
        with self.database.read() as session:
            planned = restrictions.plan_restriction(session, self.client_id, now=NOW, **options)
        return [(each.address, each.scope, each.tokens + each.calls) for each in planned.refused]

    def suggest(self) -> restrictions.Suggestion:
        with self.database.read() as session:
            return restrictions.suggest_restrictions(session, self.client_id, now=NOW)

    def client(self) -> Client:
        with self.database.read() as session:
            return session.get_one(Client, self.client_id)

    def known(self) -> service.RegistryClient:
        with self.database.read() as session:
            _, clients = service.read_registry_changes(session, 0)
        return next(client for client in clients if client.client_id == self.client_id)

    def tokens(self, *addresses: str | None, ago: timedelta = DAY, outcome: str = "issued") -> None:
        at = microseconds(NOW - ago)
        drafts = [
            Draft(at, self.client_id, "token.issue", "ACME", self.client_id, outcome, address, "r", "t", "s", None)
            for address in addresses
        ]
        with self.database.write() as session:
            audit.append(session, drafts, BY.keys, now=at)

    def calls(self, *addresses: str, scope: str = "catalog:read", ago: timedelta = DAY) -> None:
        counts = Counter(CallKind(self.client_id, scope, address) for address in addresses)
        with self.database.write() as session:
            note_calls(session, counts, at=(NOW - ago).timestamp())

    def records(self) -> list[tuple[str, str, Any]]:
        with self.database.read() as session:
            found = list(list_records(session, RecordFilter(action="credentials.limit")))
        return [(each.draft.action, each.draft.outcome, json.loads(each.draft.details or "{}")) for each in found]


@pytest.fixture
def acme(database: Database, peppers: Peppers) -> Acme:
    return Acme(database, peppers)


class TestLimiting:
    def test_a_client_may_do_all_from_anywhere_unless_it_is_limited(self, acme: Acme) -> None:
        assert (acme.client().scope, acme.client().allowed_networks) == ("merchant", None)
        assert acme.known().allowance is allowance_of("merchant", None)

    def test_a_registry_learns_of_it(self, acme: Acme) -> None:
        acme.limit(scope="inventory:read catalog:read", networks=["198.51.100.0/24", "10.0.0.0/8"])
        known = acme.known().allowance
        assert known.scope == "catalog:read inventory:read"
        assert known.networks is not None
        assert known.networks.allow("198.51.100.7")
        assert not known.networks.allow("198.51.101.7")

    def test_what_is_not_named_stays(self, acme: Acme) -> None:
        acme.limit(scope="merchant:read")
        acme.limit(networks=["10.0.0.0/8"])
        assert (acme.client().scope, acme.client().allowed_networks) == ("merchant:read", "10.0.0.0/8")
        acme.limit(any_address=True)
        assert (acme.client().scope, acme.client().allowed_networks) == ("merchant:read", None)
        acme.limit(scope="merchant")
        assert acme.known().allowance == Allowance("merchant", None)

    @pytest.mark.parametrize(
        ("before", "after", "ends"),
        [
            ("merchant", "merchant:read", 0),
            ("merchant", "catalog:write", 0),
            ("merchant:read", "catalog:read", 0),
            ("catalog:read catalog:write", "catalog:write", 0),
            ("merchant:read", "merchant", 1),
            ("catalog:read", "merchant:read", 1),
            ("catalog:read", "catalog:write", 1),
            ("merchant:read", "catalog:read catalog:write", 1),
        ],
    )
    def test_tokens_end_only_where_more_is_allowed(self, acme: Acme, before: str, after: str, ends: int) -> None:
        acme.limit(scope=before)
        epoch = acme.client().epoch
        acme.limit(scope=after)
        assert acme.client().epoch == epoch + ends

    def test_networks_end_no_token(self, acme: Acme) -> None:
        for options in ({"networks": ["10.0.0.0/8"]}, {"networks": ["11.0.0.0/8"]}, {"any_address": True}):
            acme.limit(**options)
        assert acme.client().epoch == 1

    def test_it_is_recorded_with_what_was_before(self, acme: Acme) -> None:
        acme.limit(scope="merchant:read", networks=["10.0.0.0/8"])
        acme.limit(scope="merchant:read", networks=["10.0.0.0/8"])
        acme.limit(any_address=True)
        before = {"scope": "merchant:read", "scopeBefore": "merchant:read", "networks": "10.0.0.0/8"}
        assert acme.records() == [
            ("credentials.limit", "done", {
                "scope": "merchant:read", "scopeBefore": "merchant", "networks": "10.0.0.0/8", "networksBefore": "any",
            }),
            ("credentials.limit", "unchanged", before | {"networksBefore": "10.0.0.0/8"}),
            ("credentials.limit", "done", before | {"networks": "any", "networksBefore": "10.0.0.0/8"}),
        ]  # fmt: skip

    def test_the_longest_list_is_recorded_whole(self, acme: Acme) -> None:
        networks = [f"2001:db8:{number:x}:ffff:ffff:ffff:ffff:ffff/128" for number in range(0x1000, 0x1040)]
        acme.limit(networks=networks)
        [(_, _, details)] = acme.records()
        told = [value for name, value in details.items() if name.startswith("networks") and value != "any"]
        assert sorted(" ".join(told).split(" ")) == sorted(networks)

    def test_what_changes_nothing_wakes_no_registry(self, acme: Acme) -> None:
        acme.limit(scope="merchant:read")
        revision = acme.client().revision
        acme.limit(scope="merchant:read")
        assert acme.client().revision == revision

    @pytest.mark.parametrize(
        ("options", "path"),
        [
            ({}, "scope"),
            ({"scope": "all"}, "scope"),
            ({"networks": []}, "allow"),
            ({"networks": ["10.0.0.1/8"]}, "allow.0"),
            ({"networks": ["10.0.0.0/8"], "any_address": True}, "allow-any"),
        ],
    )
    def test_faults_are_named_and_change_nothing(self, acme: Acme, options: dict[str, Any], path: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            acme.limit(**options)
        assert caught.value.faults[0].path == path
        assert (acme.client().scope, acme.records()) == ("merchant", [])

    def test_a_client_that_is_not_there_or_ended_is_refused(self, acme: Acme, database: Database) -> None:
        with database.write() as session:
            service.revoke_client(session, acme.client_id, by=BY)
        with pytest.raises(ClientRevokedError):
            acme.limit(scope="merchant:read")
        acme.client_id = "acme-aaaaaaaaaaaaa"
        with pytest.raises(ClientNotFoundError):
            acme.limit(scope="merchant:read")
        with pytest.raises(ClientNotFoundError):
            acme.suggest()


class TestIssuing:
    def test_a_new_client_is_limited_from_its_first_moment(self, acme: Acme, database: Database) -> None:
        limits = Restrictions("inventory:write", ["10.0.0.0/8"])
        issued = acme.issue(restrictions=limits)
        with database.write() as session:
            waiting = grants.add_client(session, "ACME", now=NOW, by=BY, restrictions=limits)
        for client in (issued.client, waiting):
            assert (client.scope, client.allowed_networks) == ("inventory:write", "10.0.0.0/8")
        with database.read() as session:
            records = list(list_records(session, RecordFilter(client_id=waiting.id)))
        assert json.loads(records[0].draft.details or "") == {"scope": "inventory:write", "networks": "10.0.0.0/8"}

    @pytest.mark.parametrize("limits", [Restrictions("all"), Restrictions(MERCHANT_SCOPE, []), Restrictions("")])
    def test_a_fault_leaves_no_client(self, acme: Acme, database: Database, limits: Restrictions) -> None:
        with pytest.raises(InvalidInputError):
            acme.issue(restrictions=limits)
        with database.read() as session:
            assert len(service.list_credentials(session)) == 1


class TestCalls:
    def test_they_are_added_up_by_day_and_forgotten_after_two_weeks(self, acme: Acme, database: Database) -> None:
        acme.calls("198.51.100.7", "198.51.100.7", "2001:db8::/64", ago=KEPT_DAYS * DAY)
        acme.calls("198.51.100.7", ago=KEPT_DAYS * DAY)

        def rows() -> list[tuple[int, str, int]]:
            with database.read() as session:
                found = session.scalars(select(ClientCall).order_by(ClientCall.day, ClientCall.address))
                return [(each.day, each.address, each.calls) for each in found]

        first = rules.day_of(NOW.timestamp()) - KEPT_DAYS
        assert rows() == [(first, "198.51.100.7", 3), (first, "2001:db8::/64", 1)]
        acme.calls("198.51.100.7", ago=timedelta(0))
        assert len(rows()) == 3
        acme.calls("198.51.100.7", ago=-DAY)
        assert [day for day, _, _ in rows()] == [first + KEPT_DAYS, first + KEPT_DAYS + 1]

    def test_nothing_is_no_call(self, database: Database) -> None:
        with database.write() as session:
            note_calls(session, {}, at=0.0)


class TestPlans:
    def test_it_is_told_what_would_be_refused(self, acme: Acme) -> None:
        acme.tokens("198.51.100.7", "198.51.100.7", "203.0.113.9")
        acme.calls("198.51.100.7", scope="catalog:read")
        acme.calls("198.51.100.7", scope="catalog:write")
        acme.calls("2001:db8::/64", "unknown", scope="catalog:read")
        assert acme.plan(scope="merchant") == []
        assert acme.plan(scope="merchant:read") == [("198.51.100.7", "catalog:write", 1)]
        assert acme.plan(networks=["198.51.100.0/24", "2001:db8::7"]) == [
            ("203.0.113.9", None, 1), ("unknown", "catalog:read", 1),
        ]  # fmt: skip
        assert acme.plan(networks=["203.0.113.9"], scope="inventory:read") == [
            ("198.51.100.7", None, 2), ("198.51.100.7", "catalog:read", 1), ("2001:db8::/64", "catalog:read", 1),
            ("unknown", "catalog:read", 1), ("198.51.100.7", "catalog:write", 1),
        ]  # fmt: skip
        assert acme.client().scope == "merchant"
        assert acme.limit(networks=["203.0.113.9"]).allowed_networks == "203.0.113.9/32"

    def test_others_failures_and_what_is_old_are_left_out(self, acme: Acme, register: Register) -> None:
        acme.tokens("198.51.100.1", ago=15 * DAY)
        acme.tokens("198.51.100.2", outcome="invalid_client")
        acme.calls("198.51.100.3", ago=15 * DAY)
        other = register("OTHER").client.id
        mine, acme.client_id = acme.client_id, other
        acme.tokens("198.51.100.4")
        acme.calls("198.51.100.5")
        acme.client_id = mine
        assert acme.plan(networks=["10.0.0.0/8"]) == []


class TestSuggestions:
    def test_without_traffic_there_is_none(self, acme: Acme) -> None:
        found = acme.suggest()
        assert (found.scope, found.networks, found.first_seen_at, found.tokens, found.calls) == (None, None, None, 0, 0)

    def test_it_would_have_been_enough(self, acme: Acme) -> None:
        acme.tokens("198.51.100.7", ago=3 * DAY)
        acme.tokens("198.51.100.7", "2001:db8:0:1::7")
        acme.calls("198.51.100.7", "198.51.100.7", scope="inventory:write")
        acme.calls("2001:db8:0:1::/64", scope="catalog:read")
        found = acme.suggest()
        assert found.scope == "catalog:read inventory:write"
        assert found.networks == ("198.51.100.7/32", "2001:db8:0:1::/64")
        assert [(each.addresses, each.tokens, each.calls) for each in found.sources] == [(1, 2, 2), (2, 1, 1)]
        assert (found.tokens, found.calls) == (3, 3)
        assert found.first_seen_at == NOW - 3 * DAY
        assert found.last_seen_at == NOW - DAY
        assert found.since == NOW - 14 * DAY
        assert not found.hides_callers
        assert acme.plan(scope=found.scope, networks=found.networks) == []

    @pytest.mark.parametrize(
        ("hosts", "networks"),
        [
            ([1, 2, 3], ("198.51.100.1/32", "198.51.100.2/32", "198.51.100.3/32")),
            ([1, 2, 3, 200], ("198.51.100.0/24",)),
            (range(256), ("198.51.100.0/24",)),
        ],
    )
    def test_many_neighbors_become_one_network(self, acme: Acme, hosts: list[int], networks: tuple[str, ...]) -> None:
        acme.tokens(*(f"198.51.100.{number}" for number in hosts))
        assert acme.suggest().networks == networks

    def test_never_a_larger_one(self, acme: Acme) -> None:
        acme.tokens(*(f"198.51.{net}.{host}" for net in range(64) for host in range(4)))
        networks = acme.suggest().networks
        assert networks == tuple(f"198.51.{net}.0/24" for net in range(64))
        acme.tokens("198.51.64.1")
        found = acme.suggest()
        assert (found.networks, len(found.sources)) == (None, 65)

    def test_where_some_came_from_nowhere_no_list_is_suggested(self, acme: Acme) -> None:
        acme.tokens("198.51.100.7", "unknown", None)
        found = acme.suggest()
        assert (found.networks, [each.network for each in found.sources]) == (None, ["198.51.100.7/32"])

    @pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "172.20.0.1", "192.168.1.1", "fd00::1", "::1"])
    def test_addresses_that_a_proxy_may_stand_at_are_pointed_out(self, acme: Acme, address: str) -> None:
        acme.tokens(address)
        assert acme.suggest().hides_callers

"""Channels and who sells on them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.audit.service import RecordFilter, list_records
from ecross_server.channels import service
from ecross_server.channels.errors import ChannelExistsError, ChannelNotFoundError
from ecross_server.channels.rules import Connection
from ecross_server.kit.database import Database
from ecross_server.kit.errors import ConflictError, InvalidInputError, NotFoundError
from ecross_server.merchants import service as merchants
from ecross_server.merchants.errors import MerchantNotFoundError

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))
NOW = datetime(2026, 11, 25, tzinfo=UTC)
ECOM = Connection("ECOM", "BR", needs_review=False)


@pytest.fixture(autouse=True)
def _merchants(database: Database) -> None:
    with database.write() as session:
        for merchant_id in ("ACME", "OTHER", "SB_ACME"):
            merchants.register_merchant(session, merchant_id, merchant_id, now=NOW, by=BY)


def add(database: Database, channel_id: str = "LOJA", **changes: str) -> None:
    values = {"name": "Loja", "country": "MX", "currency": "MXN"} | changes
    with database.write() as session:
        service.add_channel(session, channel_id, now=NOW, by=BY, **values)


def connect(database: Database, channel_id: str, merchant_id: str = "ACME", *, needs_review: bool = False) -> None:
    with database.write() as session:
        service.connect_merchant(session, merchant_id, channel_id, needs_review=needs_review, now=NOW, by=BY)


def disconnect(database: Database, channel_id: str, merchant_id: str = "ACME") -> None:
    with database.write() as session:
        service.disconnect_merchant(session, merchant_id, channel_id, now=NOW, by=BY)


def connections(database: Database, merchant_id: str = "ACME") -> list[Connection]:
    with database.read() as session:
        return service.list_connections(session, merchant_id)


def uses(database: Database) -> dict[str, tuple[bool, int, int]]:
    with database.read() as session:
        return {
            it.channel.id: (it.channel.is_open, it.connected, it.disconnected) for it in service.list_channels(session)
        }


def test_ecom_for_brazil_is_there_from_the_start_and_open_to_all(database: Database) -> None:
    assert uses(database) == {"ECOM": (True, 0, 0)}
    with database.read() as session:
        channel = service.get_channel(session, "ECOM")
    assert (channel.name, channel.country, channel.currency) == ("E-commerce", "BR", "BRL")
    assert connections(database) == connections(database, "OTHER") == [ECOM]


def test_nobody_sells_on_a_new_channel_before_being_connected(database: Database) -> None:
    add(database)
    assert connections(database) == [ECOM]
    connect(database, "LOJA")
    assert connections(database) == [ECOM, Connection("LOJA", "MX", needs_review=False)]
    assert connections(database, "OTHER") == [ECOM]
    assert uses(database) == {"ECOM": (True, 0, 0), "LOJA": (False, 1, 0)}


def test_who_is_disconnected_sells_there_no_more_until_connected_again(database: Database) -> None:
    for _ in range(2):
        disconnect(database, "ECOM")
        assert (connections(database), connections(database, "OTHER")) == ([], [ECOM])
        assert uses(database) == {"ECOM": (True, 0, 1)}
    connect(database, "ECOM")
    assert connections(database) == [ECOM]


def test_reviews_are_asked_for_by_merchant_and_never_of_the_sandbox(database: Database) -> None:
    for merchant_id in ("ACME", "SB_ACME"):
        connect(database, "ECOM", merchant_id, needs_review=True)
    assert connections(database) == [Connection("ECOM", "BR", needs_review=True)]
    assert connections(database, "OTHER") == connections(database, "SB_ACME") == [ECOM]
    connect(database, "ECOM")
    assert connections(database) == [ECOM]


def test_a_channel_is_added_once(database: Database) -> None:
    add(database)
    with pytest.raises(ChannelExistsError) as caught:
        add(database, country="BR")
    assert isinstance(caught.value, ConflictError)
    with database.read() as session:
        assert service.get_channel(session, "LOJA").country == "MX"


@pytest.mark.parametrize(
    ("channel_id", "changes", "fields"),
    [
        ("loja", {}, ["id"]),
        ("L", {}, ["id"]),
        ("../X", {}, ["id"]),
        ("L" * 17, {}, ["id"]),
        ("1A", {}, ["id"]),
        ("LOJA", {"name": ""}, ["name"]),
        ("LOJA", {"name": "a\nb"}, ["name"]),
        ("LOJA", {"name": "x" * 201}, ["name"]),
        ("LOJA", {"country": "br", "currency": "R$"}, ["country", "currency"]),
    ],
)
def test_what_cannot_be_a_channel_is_refused_with_all_faults(
    database: Database, channel_id: str, changes: dict[str, str], fields: list[str]
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        add(database, channel_id, **changes)
    assert [fault.path for fault in caught.value.faults] == fields
    assert list(uses(database)) == ["ECOM"]


def test_unknown_ones_are_not_found(database: Database) -> None:
    for act in (connect, disconnect):
        with pytest.raises(ChannelNotFoundError) as caught:
            act(database, "LOJA")
        assert isinstance(caught.value, NotFoundError)
        with pytest.raises(MerchantNotFoundError):
            act(database, "ECOM", "NOBODY")


def test_all_of_it_is_audited(database: Database) -> None:
    add(database)
    connect(database, "LOJA", needs_review=True)
    disconnect(database, "LOJA")
    with database.read() as session:
        records = [it.draft for it in list_records(session, RecordFilter()) if it.draft.action.startswith("channels.")]
    assert [(it.action, it.merchant_id, it.details) for it in records] == [
        ("channels.add", None, '{"channel":"LOJA"}'),
        ("channels.connect", "ACME", '{"channel":"LOJA","review":true}'),
        ("channels.disconnect", "ACME", '{"channel":"LOJA","review":false}'),
    ]

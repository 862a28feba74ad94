"""Reading of the API's JSON: exact where it is right, a place and no value where it is wrong."""

import copy
import json
import pickle
from dataclasses import FrozenInstanceError, asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from ecross._operations import Operation, list_skus
from ecross.errors import ServerError
from ecross.types import ChannelStatus, Page, SaleChannelData, Sku, SkuAttribute
from ecross.types.mappings import FrozenDict

SENT = {
    "skuId": "1234567890",
    "productId": "1234567",
    "main": True,
    "name": "USB charger type C",
    "description": "First line\nSecond line",
    "weight": 0.1,
    "height": 4,
    "width": 4,
    "length": 19,
    "ean": "0799439112766",
    "hscode": "850440",
    "localizedListPriceWithTaxes": 9.99,
    "localizedSalePriceWithTaxes": 8.00,
    "globalSaleChannelData": {
        "active": True,
        "brand": "ChargerW",
        "size": "2 meters",
        "color": "silver",
        "category": "Telefones e Celulares/Acessórios/Carregadores",
        "attributes": [{"name": "Connection Type", "value": "USB-C"}],
    },
    "images": ["https://img.test/1.jpeg", "https://img.test/2.jpeg"],
}
ADDED = {
    "id": "ACME-1234567890",
    "merchantId": "ACME",
    "merchantProductId": "ACME-1234567",
    "localizationStatus": "PENDING_LOCALIZATION",
    "lastUpdateDate": "2023-10-27T19:18:54.301Z",
    "salesChannelStatus": {
        "ECOM": {
            "status": "SALES_CHANNEL_APPROVED",
            "statusMessage": "Integration successful",
            "statusDate": "2024-09-06T11:13:30.533Z",
        }
    },
}
SHOWN = SENT | ADDED
MUG = {
    "id": "ACME-S1", "skuId": "S1", "productId": "P1", "main": True, "name": "Mug", "weight": 0.3, "height": 9,
    "width": 8, "length": 8, "ean": "0799439112766", "hscode": "691110",
    "globalSaleChannelData": {
        "active": True, "brand": "B", "size": "M", "color": "blue", "category": "A/B",
        "attributes": [{"name": "n", "value": "v"}],
    },
    "images": ["https://img.test/1.jpeg"],
}  # fmt: skip


class Answer:
    """An answer with this body."""

    status_code = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody writes to it

    def __init__(self, content: bytes) -> None:
        self.content = content


def read(body: object) -> Page[Sku]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    operation: Operation[Page[Sku]] = list_skus(None)(None)
    return operation.result(Answer(content), "id-1")


def read_one(wire: dict[str, Any]) -> Sku:
    (sku,) = read({"skus": [wire]}).items
    return sku


def test_all_fields_are_read() -> None:
    sku = read_one(SHOWN)

    assert sku == Sku(
        id="ACME-1234567890", merchant_id="ACME", sku_id="1234567890", product_id="1234567",
        merchant_product_id="ACME-1234567", is_main=True, name="USB charger type C",
        description="First line\nSecond line", weight_kg=Decimal("0.1"), height_cm=Decimal(4), width_cm=Decimal(4),
        length_cm=Decimal(19), ean="0799439112766", hs_code="850440", origin_list_price=Decimal("9.99"),
        origin_sale_price=Decimal(8),
        sale_channel_data=SaleChannelData(
            is_active=True, brand="ChargerW", size="2 meters", color="silver",
            category="Telefones e Celulares/Acessórios/Carregadores",
            attributes=(SkuAttribute("Connection Type", "USB-C"),),
        ),
        images=("https://img.test/1.jpeg", "https://img.test/2.jpeg"),
        localization_status="PENDING_LOCALIZATION",
        sales_channel_status={
            "ECOM": ChannelStatus(
                "SALES_CHANNEL_APPROVED", "Integration successful", datetime(2024, 9, 6, 11, 13, 30, 533000, UTC)
            )
        },
        last_update_date=datetime(2023, 10, 27, 19, 18, 54, 301000, UTC),
        raw={},
    )  # fmt: skip


def without(names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in SHOWN.items() if name not in names}


@pytest.mark.parametrize(
    "wire",
    [
        SHOWN,
        MUG,
        SENT | {"id": "ACME-1234567890", "merchantId": "ACME"},
        without({"localizedListPriceWithTaxes", "localizedSalePriceWithTaxes"}),
        without({"localizedListPriceWithTaxes", "hscode"}),
        without({"localizationStatus", "merchantProductId", "lastUpdateDate", "salesChannelStatus"}),
        SHOWN | {"localizationStatus": "READY_FOR_SALES_CHANNEL", "salesChannelStatus": {}},
        SHOWN | {"lastUpdateDate": "2023-10-27T19:10:00Z", "images": []},
        SHOWN | {"salesChannelStatus": {"ECOM": {"status": "X"}, "OTHER": None}},
        {"id": "ACME-1", "skuId": "1"},
        dict.fromkeys(SHOWN, None) | {"id": "ACME-1", "skuId": "1"},
    ],
)
def test_each_form_that_the_api_shows_is_read(wire: dict[str, Any]) -> None:
    sku = read_one(wire)

    assert (sku.id, sku.sku_id) == (wire["id"], wire["skuId"])
    assert sku.raw == json.loads(json.dumps(wire), parse_float=Decimal)


def test_what_is_missing_is_none_or_empty() -> None:
    sku = read_one({"id": "ACME-1", "skuId": "1"})

    assert (sku.name, sku.weight_kg, sku.is_main, sku.sale_channel_data, sku.last_update_date) == (None,) * 5
    assert (sku.images, sku.sales_channel_status) == ((), {})
    assert read_one({"id": "a", "skuId": "1", "globalSaleChannelData": {}}).sale_channel_data == SaleChannelData(
        None, None, None, None, None, ()
    )


@pytest.mark.parametrize("text", ["759.27", "0.1", "1E-7", "12345678901234567890.123456789", "0", "-5", "1e2"])
def test_numbers_are_exact(text: str) -> None:
    sku = read(b'{"skus": [{"id": "a", "skuId": "1", "weight": %s}]}' % text.encode()).items[0]
    assert sku.weight_kg == Decimal(text)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2023-10-27T19:10:00Z", datetime(2023, 10, 27, 19, 10, tzinfo=UTC)),
        ("2023-10-27T19:10:00", datetime(2023, 10, 27, 19, 10, tzinfo=UTC)),
        ("2023-08-07T19:48:04+02:00", datetime(2023, 8, 7, 17, 48, 4, tzinfo=UTC)),
    ],
)
def test_times_are_aware_and_utc_where_no_zone_is_told(text: str, instant: datetime) -> None:
    sku = read_one(SHOWN | {"lastUpdateDate": text})
    assert sku.last_update_date == instant
    assert sku.last_update_date.utcoffset() is not None


def test_a_field_that_is_not_known_is_kept_as_it_came() -> None:
    sku = read_one(SHOWN | {"newField": {"a": [1, 2.5]}})
    assert sku.raw["newField"] == {"a": [1, Decimal("2.5")]}
    assert "newField" not in repr(sku)


HUSH = "hush"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("id", 7), ("id", None), ("skuId", ["x"]), ("name", {"a": HUSH}), ("main", "true"), ("main", 1),
        ("weight", HUSH), ("weight", True), ("weight", [1]), ("images", HUSH), ("images", [HUSH, 1]),
        ("globalSaleChannelData", HUSH), ("globalSaleChannelData", [HUSH]), ("salesChannelStatus", [HUSH]),
        ("salesChannelStatus", HUSH), ("lastUpdateDate", HUSH), ("lastUpdateDate", 1698433734),
        ("lastUpdateDate", "2023-13-45T00:00:00Z"), ("localizationStatus", False),
    ],
)  # fmt: skip
def test_a_field_of_a_wrong_form_is_named_and_its_value_is_not_told(place: str, value: object) -> None:
    with pytest.raises(ServerError) as caught:
        read({"skus": [MUG, SHOWN | {place: value}]})

    assert f": skus[1].{place} " in caught.value.message
    assert HUSH not in repr(caught.value)
    assert (caught.value.status, caught.value.request_id) == (200, "id-1")
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("wire", "fault"),
    [
        ({"globalSaleChannelData": {"attributes": [{"name": HUSH}]}},
         "skus[0].globalSaleChannelData.attributes[0].value is missing"),
        ({"globalSaleChannelData": {"attributes": [{"name": "a", "value": 1}]}},
         "skus[0].globalSaleChannelData.attributes[0].value is not a string"),
        ({"globalSaleChannelData": {"attributes": [HUSH]}},
         "skus[0].globalSaleChannelData.attributes[0] is not an object"),
        ({"globalSaleChannelData": {"active": HUSH}}, "skus[0].globalSaleChannelData.active is not true or false"),
        ({"salesChannelStatus": {"ECOM": {"status": "S"}, HUSH: {}}},
         "skus[0].salesChannelStatus[1].status is missing"),
        ({"salesChannelStatus": {HUSH: HUSH}}, "skus[0].salesChannelStatus[0] is not an object"),
        ({"salesChannelStatus": {"ECOM": {"status": "S", "statusDate": HUSH}}},
         "skus[0].salesChannelStatus[0].statusDate is not a date and time"),
        ({"images": HUSH}, "skus[0].images is not a list"),
        ({"images": [1]}, "skus[0].images is not a list of strings"),
    ],
)  # fmt: skip
def test_a_fault_deep_inside_is_found_by_its_place(wire: dict[str, Any], fault: str) -> None:
    with pytest.raises(ServerError) as caught:
        read_one(SHOWN | wire)
    assert caught.value.message == f"The answer is not what the API promises: {fault}."


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "it is not JSON"),
        (b"hush", "it is not JSON"),
        (b"<html>hush</html>", "it is not JSON"),
        (b"\xff\xfe\xfd", "it is not JSON"),
        (b'{"skus": [{"id": "a", "skuId": "1", "weight": NaN}]}', "it is not JSON"),
        (b'{"skus": [], "x": 1e99999999999999999999}', "it is not JSON"),
        (b'{"skus": [], "x": ' + b"1" * 5000 + b"}", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        ([], "the answer is not an object"),
        ("hush", "the answer is not an object"),
        ({}, "skus is missing"),
        ({"skus": None}, "skus is missing"),
        ({"skus": {}}, "skus is not a list"),
        ({"skus": [HUSH]}, "skus[0] is not an object"),
        ({"skus": [], "nextPageToken": 7}, "nextPageToken is not a string"),
    ],
)
def test_an_answer_of_a_wrong_form_is_the_servers_fault(body: object, fault: str) -> None:
    with pytest.raises(ServerError) as caught:
        read(body)
    assert caught.value.message == f"The answer is not what the API promises: {fault}."
    assert caught.value.__context__ is None


@pytest.mark.parametrize(("told", "token"), [({}, None), ({"nextPageToken": ""}, None), ({"nextPageToken": "n"}, "n")])
def test_a_page_tells_the_next_if_there_is_one(told: dict[str, str], token: str | None) -> None:
    assert read({"skus": [], **told}) == Page((), token)


def test_a_sku_does_not_change() -> None:
    sku = read_one(SHOWN)
    with pytest.raises(FrozenInstanceError):
        sku.name = "other"  # type: ignore[misc]
    for mapping in (sku.raw, sku.sales_channel_status):
        assert isinstance(mapping, FrozenDict)
        before = dict(mapping)
        for name, arguments in (
            ("update", [{"a": 1}]), ("clear", []), ("pop", ["id"]), ("popitem", []), ("setdefault", ["a", 1]),
            ("__setitem__", ["a", 1]), ("__delitem__", ["id"]), ("__ior__", [{"a": 1}]),
        ):  # fmt: skip
            change = getattr(mapping, name)
            with pytest.raises(TypeError, match="cannot be changed"):
                change(*arguments)
        assert mapping == before


def test_a_sku_is_equal_by_what_it_means_and_can_be_hashed() -> None:
    first, second = read_one(SHOWN), read_one(SHOWN | {"newField": 1})

    assert first == second
    assert len({first, second}) == 1
    assert first != replace(first, name="other")
    assert first != replace(first, sales_channel_status={})
    assert len({read({"skus": [SHOWN]}), read({"skus": [SHOWN]})}) == 1


def test_a_sku_can_be_copied_pickled_and_taken_apart() -> None:
    sku = read_one(SHOWN)

    for twin in (pickle.loads(pickle.dumps(sku)), copy.deepcopy(sku), copy.copy(sku)):  # noqa: S301 - our own
        assert twin == sku
        assert twin.raw == sku.raw
        assert isinstance(twin.raw, FrozenDict)
    parts = asdict(sku)
    assert parts["sales_channel_status"]["ECOM"]["status"] == "SALES_CHANNEL_APPROVED"
    assert json.loads(json.dumps(sku.raw, default=float)) == SHOWN


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (datetime(2023, 10, 27, 19, 10, tzinfo=UTC), "2023-10-27T19:10:00Z"),
        (datetime(2023, 10, 27, 19, 10, 0, 5000, UTC), "2023-10-27T19:10:00.005000Z"),
        (datetime(2023, 10, 27, 19, 10, tzinfo=timezone(timedelta(hours=2))), "2023-10-27T17:10:00Z"),
        ("2023-08-07T19:48:04+00:00", "2023-08-07T19:48:04+00:00"),
        ("2023-10-27T19:18:54.301Z", "2023-10-27T19:18:54.301Z"),
    ],
)
def test_a_moment_is_told_as_the_api_writes_it(value: datetime | str, told: str) -> None:
    assert list_skus(value)(None).params == {"lastUpdateDateFrom": told}
    assert list_skus(value)("next").params == {"lastUpdateDateFrom": told, "nextPageToken": "next"}

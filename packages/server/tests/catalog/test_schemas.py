from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ecross_server.catalog.rules import SkuDraft
from ecross_server.catalog.schemas import SkuOut, SkuPageOut, read_sku
from ecross_server.catalog.service import Sku, SkuPage
from ecross_server.kit.errors import Fault, InvalidInputError

LEAST = {"skuId": "1", "productId": "p", "name": "n"}


def read(**fields: Any) -> SkuDraft:
    return read_sku(json.dumps(LEAST | fields).encode())


def faults_of(line: bytes) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        read_sku(line)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return {fault.path: fault.message for fault in caught.value.faults}


def faults(**fields: Any) -> dict[str, str]:
    return faults_of(json.dumps(LEAST | fields).encode())


def test_the_published_example_is_read(example: dict[str, Any]) -> None:
    assert read_sku(json.dumps(example).encode()) == SkuDraft(
        sku_id="1234567890",
        product_id="1234567",
        is_main=True,
        name="USB charger type C",
        description="Charges fast.\nHas two ports.",
        weight_kg=Decimal("0.1"),
        height_cm=Decimal(4),
        width_cm=Decimal(4),
        length_cm=Decimal(19),
        ean="0799439112766",
        hs_code="850440",
        origin_list_price=Decimal("9.99"),
        origin_sale_price=Decimal(8),
        sale_channel_data=example["globalSaleChannelData"],
        images=("https://img.test/1.jpeg", "https://img.test/2.jpeg"),
    )


def test_a_sku_may_have_its_ids_and_name_alone() -> None:
    draft = read()
    assert (draft.sku_id, draft.product_id, draft.name, draft.is_main, draft.images) == ("1", "p", "n", False, ())
    optional = {
        "description", "weight_kg", "height_cm", "width_cm", "length_cm", "ean", "hs_code", "origin_list_price",
        "origin_sale_price", "sale_channel_data",
    }  # fmt: skip
    assert {name for name in optional if getattr(draft, name) is None} == optional


def test_null_counts_as_absent_where_absence_is_allowed() -> None:
    nothing = dict.fromkeys(
        ["description", "weight", "height", "width", "length", "ean", "hscode", "localizedListPriceWithTaxes",
         "localizedSalePriceWithTaxes", "globalSaleChannelData"]
    )  # fmt: skip
    assert read(**nothing) == read()
    assert set(faults(main=None, images=None, name=None, skuId=None)) == {"main", "images", "name", "skuId"}


def test_unknown_fields_are_ignored() -> None:
    known = {"active": False}
    assert read(unknown={"deep": [1]}, merchantId="OTHER", id="x", lastUpdateDate=1) == read()
    assert read(globalSaleChannelData=known | {"unknown": 1}) == read(globalSaleChannelData=known)


@pytest.mark.parametrize("name", ["sku_id", "product_id", "is_main", "global_sale_channel_data", "SKUID"])
def test_only_the_apis_spelling_is_known(name: str) -> None:
    assert read(**{name: ["wrong type"]}) == read()
    line = json.dumps({"sku_id": "1", "product_id": "p", "name": "n"}).encode()
    assert set(faults_of(line)) == {"skuId", "productId"}


def test_what_was_not_sent_to_the_channels_is_not_added() -> None:
    assert read(globalSaleChannelData={}).sale_channel_data == {}
    assert read(globalSaleChannelData={"brand": "B", "color": None}).sale_channel_data == {"brand": "B"}
    assert read(globalSaleChannelData={"active": False, "attributes": []}).sale_channel_data == {
        "active": False,
        "attributes": [],
    }


@examples(max_examples=100, deadline=None)
@given(st.decimals(min_value=0, max_value=999_999_999, places=6))
def test_numbers_are_kept_digit_for_digit(number: Decimal) -> None:
    line = json.dumps(LEAST).encode()[:-1] + f', "weight": {number:f}}}'.encode()
    assert read_sku(line).weight_kg == number


@pytest.mark.parametrize("number", [0, 4, 0.1, 19, 9.99, 123456789.123456, 999999999, 0.000001, 1e8])
def test_numbers_come_out_as_they_went_in(number: float) -> None:
    sku = made(read(weight=number))
    shown = json.loads(SkuPageOut.of(SkuPage([sku], None)).to_json())["skus"][0]["weight"]
    assert shown == number
    if isinstance(number, int):
        assert isinstance(shown, int)


@pytest.mark.parametrize(
    "name", ["weight", "height", "width", "length", "localizedListPriceWithTaxes", "localizedSalePriceWithTaxes"]
)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "Input should be a number"),
        ("31337.5", "Input should be a number"),
        ([31337], "Input should be a number"),
        ({"31337": 1}, "Input should be a number"),
        (-31337, "Input should be greater than or equal to 0"),
        (1e300, "Decimal input should have no more than 15 digits in total"),
        (3133731337313373, "Decimal input should have no more than 15 digits in total"),
        (3133731337, "Decimal input should have no more than 9 digits before the decimal point"),
        (31337.1234567, "Decimal input should have no more than 6 decimal places"),
    ],
)
def test_other_numbers_are_refused_with_their_path_and_not_shown(name: str, value: Any, message: str) -> None:
    assert faults(**{name: value}) == {name: message}


def test_numbers_beyond_all_bounds_are_refused() -> None:
    for text in ("1e999", "-1e999", "NaN", "Infinity", "-Infinity", "1" * 400, "1" * 9_999):
        assert faults_of(json.dumps(LEAST).encode()[:-1] + f', "weight": {text}}}'.encode())


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"skuId": 31337}, "skuId"),
        ({"skuId": ""}, "skuId"),
        ({"skuId": "31337 x"}, "skuId"),
        ({"skuId": "31337\n"}, "skuId"),
        ({"skuId": "31337/x"}, "skuId"),
        ({"skuId": "31337\u00a0x"}, "skuId"),
        ({"skuId": "31337" * 26}, "skuId"),
        ({"productId": ["31337"]}, "productId"),
        ({"productId": ""}, "productId"),
        ({"main": "true"}, "main"),
        ({"main": 1}, "main"),
        ({"name": ""}, "name"),
        ({"name": "x" * 501}, "name"),
        ({"name": {"31337": 1}}, "name"),
        ({"description": 31337}, "description"),
        ({"description": "x" * 50_001}, "description"),
        ({"ean": 799439112766}, "ean"),
        ({"ean": "9" * 33}, "ean"),
        ({"hscode": 850440}, "hscode"),
        ({"hscode": "8" * 33}, "hscode"),
        ({"images": "https://31337"}, "images"),
        ({"images": {"31337": 1}}, "images"),
        ({"images": ["https://a", "ftp://31337"]}, "images.1"),
        ({"images": [" https://31337"]}, "images.0"),
        ({"images": [31337]}, "images.0"),
        ({"images": ["https://" + "x" * 2_048]}, "images.0"),
        ({"images": ["https://31337"] * 101}, "images"),
        ({"globalSaleChannelData": ["31337"]}, "globalSaleChannelData"),
        ({"globalSaleChannelData": "31337"}, "globalSaleChannelData"),
        ({"globalSaleChannelData": {"active": "31337"}}, "globalSaleChannelData.active"),
        ({"globalSaleChannelData": {"brand": ""}}, "globalSaleChannelData.brand"),
        ({"globalSaleChannelData": {"size": 31337}}, "globalSaleChannelData.size"),
        ({"globalSaleChannelData": {"color": ["31337"]}}, "globalSaleChannelData.color"),
        ({"globalSaleChannelData": {"category": "31337" * 101}}, "globalSaleChannelData.category"),
        ({"globalSaleChannelData": {"attributes": {"31337": 1}}}, "globalSaleChannelData.attributes"),
        ({"globalSaleChannelData": {"attributes": ["31337"]}}, "globalSaleChannelData.attributes.0"),
        ({"globalSaleChannelData": {"attributes": [{"name": "31337"}]}}, "globalSaleChannelData.attributes.0.value"),
        (
            {"globalSaleChannelData": {"attributes": [{"name": "a", "value": "b"}] * 201}},
            "globalSaleChannelData.attributes",
        ),
    ],
)
def test_a_value_of_the_wrong_form_is_refused_with_its_path_and_not_shown(fields: dict[str, Any], path: str) -> None:
    found = faults(**fields)
    assert list(found) == [path]
    assert "31337" not in found[path]
    assert "SkuIn" not in found[path]
    assert "Attribute" not in found[path]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"skuId": "a\0"}, "skuId"),
        ({"productId": "a\0"}, "productId"),
        ({"name": "a\0"}, "name"),
        ({"description": "a\0"}, "description"),
        ({"ean": "\0"}, "ean"),
        ({"hscode": "\0"}, "hscode"),
        ({"images": ["https://a\0"]}, "images.0"),
        ({"globalSaleChannelData": {"brand": "a\0"}}, "globalSaleChannelData.brand"),
        (
            {"globalSaleChannelData": {"attributes": [{"name": "a\0", "value": "b"}]}},
            "globalSaleChannelData.attributes.0.name",
        ),
        (
            {"globalSaleChannelData": {"attributes": [{"name": "a", "value": "b\0"}]}},
            "globalSaleChannelData.attributes.0.value",
        ),
    ],
)
def test_the_nul_character_is_refused_everywhere(fields: dict[str, Any], path: str) -> None:
    assert faults(**fields) == {path: "must not contain the NUL character"}


def test_every_fault_of_a_line_is_listed() -> None:
    found = faults(skuId=1, weight="x", images=[1, 2], globalSaleChannelData={"active": 1})
    assert list(found) == ["skuId", "weight", "globalSaleChannelData.active", "images.0", "images.1"]
    assert faults_of(b"{}") == dict.fromkeys(["skuId", "productId", "name"], "Field required")


@pytest.mark.parametrize("line", [b"[]", b"1", b'"x"', b"null", b"true"])
def test_a_line_that_is_no_object_is_refused(line: bytes) -> None:
    assert faults_of(line) == {"": "Input should be an object"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "not JSON at line 1, column 1"),
        (b'{"skuId": "31337"', "not JSON at line 1, column 18"),
        (b'{"skuId": "\xff"}', "not UTF-8"),
        (b'{"skuId": "\\ud800"}', "an unpaired surrogate in a string"),
        (b'{"skuId": "1", "skuId": "2"}', "a member is named twice in an object"),
        (b'{"weight": NaN}', "NaN or an infinity"),
        (b'{"weight": 1e999}', "a number too large"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_strict_json_is_refused_and_not_shown(line: bytes, message: str) -> None:
    assert faults_of(line) == {"": message}


@examples(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["skuId", "productId", "name", "main", "weight", "images", "active",
                                           "globalSaleChannelData", "attributes", "value"]), inner, max_size=6),
        max_leaves=12,
    )
)  # fmt: skip
def test_any_json_gives_a_sku_or_the_one_error(content: Any) -> None:
    found: tuple[Fault, ...] = ()
    try:
        read_sku(json.dumps(content).encode())
    except InvalidInputError as error:
        found = error.faults
    # Only a whole SKU has none.
    assert found or {"skuId", "productId", "name"} <= content.keys()


@examples(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_a_sku_or_the_one_error(line: bytes) -> None:
    assert faults_of(line)


def made(draft: SkuDraft, **others: Any) -> Sku:
    """The row that a draft becomes."""
    values = {name: getattr(draft, name) for name in SkuDraft.__dataclass_fields__}
    return Sku(
        **values
        | {
            "merchant_id": "ACME", "images": list(draft.images), "localization_status": "PENDING_LOCALIZATION",
            "sales_channel_status": {}, "last_updated_at": datetime(2024, 9, 6, 11, 13, 30, 533_000, tzinfo=UTC),
        }
        | others
    )  # fmt: skip


def shown(sku: Sku) -> Any:
    return json.loads(SkuPageOut.of(SkuPage([sku], None)).to_json())["skus"][0]


def test_a_sku_is_shown_in_the_documented_form(example: dict[str, Any]) -> None:
    sku = made(
        read_sku(json.dumps(example).encode()),
        sales_channel_status={
            "ECOM": {
                "status": "SALES_CHANNEL_APPROVED", "statusMessage": "Integration successful",
                "statusDate": "2024-09-06T11:13:30.533Z",
            }
        },
    )  # fmt: skip
    echoed = {name: value for name, value in example.items() if not name.startswith("localized")}
    assert shown(sku) == echoed | {
        "id": "ACME-1234567890",
        "merchantId": "ACME",
        "merchantProductId": "ACME-1234567",
        "localizationStatus": "PENDING_LOCALIZATION",
        "salesChannelStatus": {
            "ECOM": {
                "status": "SALES_CHANNEL_APPROVED",
                "statusMessage": "Integration successful",
                "statusDate": "2024-09-06T11:13:30.533Z",
            }
        },
        "lastUpdateDate": "2024-09-06T11:13:30.533Z",
    }


def test_what_a_merchant_did_not_send_is_left_out() -> None:
    assert shown(made(read())) == {
        "id": "ACME-1", "merchantId": "ACME", "skuId": "1", "productId": "p", "merchantProductId": "ACME-p",
        "main": False, "name": "n", "images": [], "localizationStatus": "PENDING_LOCALIZATION",
        "salesChannelStatus": {}, "lastUpdateDate": "2024-09-06T11:13:30.533Z",
    }  # fmt: skip
    assert shown(made(read(globalSaleChannelData={"brand": "B"})))["globalSaleChannelData"] == {"brand": "B"}
    assert shown(made(read(description="", globalSaleChannelData={})))["description"] == ""


@pytest.mark.parametrize(
    ("weight", "text"), [(4, b'"weight":4,'), (0.1, b'"weight":0.1,'), (4.0, b'"weight":4,'), (-0.0, b'"weight":0,')]
)
def test_a_whole_number_has_no_fraction_and_no_other_one_has_more_digits(weight: float, text: bytes) -> None:
    assert text in SkuPageOut.of(SkuPage([made(read(weight=weight))], None)).to_json()


def test_the_last_page_has_no_token() -> None:
    assert json.loads(SkuPageOut.of(SkuPage([], None)).to_json()) == {"skus": []}
    assert json.loads(SkuPageOut.of(SkuPage([], "abc")).to_json()) == {"skus": [], "nextPageToken": "abc"}


def test_the_document_tells_numbers_as_numbers() -> None:
    schema = SkuOut.model_json_schema(mode="serialization")["properties"]
    assert {"type": "number", "minimum": 0} in schema["weight"]["anyOf"]

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
from ecross_server.catalog.schemas import SkuOut, SkuPageOut, read_product, read_sku
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
@given(st.decimals(min_value="0.000001", max_value=999_999_999, places=6))
def test_numbers_are_kept_digit_for_digit(number: Decimal) -> None:
    line = json.dumps(LEAST).encode()[:-1] + f', "weight": {number:f}}}'.encode()
    assert read_sku(line).weight_kg == number


@pytest.mark.parametrize("number", [4, 0.1, 19, 9.99, 123456789.123456, 999999999, 0.000001, 1e8])
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
        (1e300, "Decimal input should have no more than 15 digits in total"),
        (3133731337313373, "Decimal input should have no more than 15 digits in total"),
        (3133731337, "Decimal input should have no more than 9 digits before the decimal point"),
        (31337.1234567, "Decimal input should have no more than 6 decimal places"),
    ],
)
def test_other_numbers_are_refused_with_their_path_and_not_shown(name: str, value: Any, message: str) -> None:
    assert faults(**{name: value}) == {name: message}


def test_sizes_are_positive_and_prices_may_be_nothing() -> None:
    for name in ("weight", "height", "width", "length"):
        for value in (0, -1, -0.0, -31337):
            assert faults(**{name: value}) == {name: "Input should be greater than 0"}
    for name in ("localizedListPriceWithTaxes", "localizedSalePriceWithTaxes"):
        assert faults(**{name: -0.5}) == {name: "Input should be greater than or equal to 0"}
        read(**{name: 0})


def test_digits_beyond_a_float_are_refused_not_lost() -> None:
    for text in ("0.10000000000000000001", "123456789.12345600001", "0.31337313373133731337"):
        line = json.dumps(LEAST).encode()[:-1] + f', "weight": {text}}}'.encode()
        assert faults_of(line) == {"weight": faults_of(line)["weight"]}
        assert "31337" not in str(faults_of(line))


@pytest.mark.parametrize(
    "number",
    ["0799439112766", "4006381333931", "96385074", "036000291452", "9780471117094", "0471117099", "080442957X",
     "978-0-471-11709-4", "0-8044-2957-X"],
)  # fmt: skip
def test_every_standard_article_number_is_taken_as_it_is_sent(number: str) -> None:
    assert read(ean=number).ean == number


@pytest.mark.parametrize(
    "number",
    ["", "0799439112765", "4006381333930", "96385075", "036000291453", "9780471117095", "0471117094", "0804429570",
     "10012345678902", "99439112766", "4006-3813-3393-1", "\uff14006381333931", "4006381333931\n",
     " 4006381333931", "080442957x", "X", "-0471117094", "0--471117094", "\0", "9" * 33],
)  # fmt: skip
def test_no_other_article_number_is(number: str) -> None:
    assert set(faults(ean=number)) == {"ean"}


@examples(max_examples=100, deadline=None)
@given(st.integers(0, 10**12 - 1), st.integers(0, 9))
def test_of_the_last_digits_one_alone_is_right(stem: int, digit: int) -> None:
    total = sum(int(each) * (3 if place % 2 else 1) for place, each in enumerate(f"{stem:012}"))
    number = f"{stem:012}{digit}"
    if digit == -total % 10:
        assert read(ean=number).ean == number
    else:
        assert set(faults(ean=number)) == {"ean"}


def test_an_hs_code_has_6_to_10_digits_of_a_chapter() -> None:
    for code in ("850440", "8504409550", "01012100"):
        assert read(hscode=code).hs_code == code
    for code in ("", "85044", "85044095501", "000440", "8504.40", "85044O", "\uff1850440", "850440\n", "\0"):
        assert faults(hscode=code) == {"hscode": "must be an HS code of 6 to 10 digits"}


@pytest.mark.parametrize(
    "address",
    ["https://img.test/1.jpeg", "https://img.test", "https://a.b.example/x?y=1&z=%20#f", "https://img.test:8443/1",
     "https://xn--bcher-kva.example/", "https://IMG.Example/1"],
)  # fmt: skip
def test_an_image_stands_at_a_public_https_address(address: str) -> None:
    assert read(images=[address]).images == (address,)


@pytest.mark.parametrize(
    "address",
    [
        "http://img.test/1", "HTTPS://img.test", "ftp://img.test", "//img.test", "https:img.test", "https://", "https:///1",
        "https://localhost/", "https://localhost./", "https://x.localhost/", "https://db.internal/", "https://n.local/",
        "https://a.home.arpa/", "https://x.lan", "https://intranet/", "https://127.0.0.1/", "https://10.0.0.1/",
        "https://192.168.1.1/", "https://169.254.169.254/latest", "https://8.8.8.8/", "https://[::1]/", "https://[fe80::1]/",
        "https://[::ffff:10.0.0.1]/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://127.1/",
        "https://1.0x7f/", "https://user@img.test/", "https://img.test@10.0.0.1/", "https://img.test\\@10.0.0.1/",
        "https://img.test\\.evil.test/", "https://img.test:x/", "https://img.test:99999/", "https://[img.test/",
        "https://img.test/ü", "https://bücher.example/", "https://img.test/a b", "https://img.test/\n",
        "https://img..test/",
        "https://-img.test/", "https://" + "a" * 64 + ".test/", "https://" + "a." * 130 + "test/", "https://img.test/\0",
        "",
    ],
)  # fmt: skip
def test_no_other_address_is_taken_for_an_image(address: str) -> None:
    assert set(faults(images=[address])) == {"images.0"}


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
        ({"ean": "31337" * 7}, "ean"),
        ({"hscode": 850440}, "hscode"),
        ({"hscode": "31337" * 7}, "hscode"),
        ({"images": "https://31337"}, "images"),
        ({"images": {"31337": 1}}, "images"),
        ({"images": ["https://a.test", "ftp://31337"]}, "images.1"),
        ({"images": [" https://31337"]}, "images.0"),
        ({"images": [31337]}, "images.0"),
        ({"images": ["https://" + "x" * 2_048]}, "images.0"),
        ({"images": ["https://31337.test"] * 101}, "images"),
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
        ({"name": "a\0"}, "name"),
        ({"description": "a\0"}, "description"),
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
def test_the_nul_character_is_refused_in_texts(fields: dict[str, Any], path: str) -> None:
    assert faults(**fields) == {path: "must not contain the NUL character"}


@pytest.mark.parametrize("name", ["skuId", "productId"])
@pytest.mark.parametrize("text", ["a\0", "\x1b[2J", "a\x7f", "a\x9b", "a b", "a\u2003b", "a\n", "a/b", "/", ""])
def test_an_id_holds_nothing_that_would_disturb_a_path_a_log_or_a_table(name: str, text: str) -> None:
    assert list(faults(**{name: text})) == [name]


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
    ("weight", "text"), [(4, b'"weight":4,'), (0.1, b'"weight":0.1,'), (4.0, b'"weight":4,'), (1e2, b'"weight":100,')]
)
def test_a_whole_number_has_no_fraction_and_no_other_one_has_more_digits(weight: float, text: bytes) -> None:
    assert text in SkuPageOut.of(SkuPage([made(read(weight=weight))], None)).to_json()


def test_the_last_page_has_no_token() -> None:
    assert json.loads(SkuPageOut.of(SkuPage([], None)).to_json()) == {"skus": []}
    assert json.loads(SkuPageOut.of(SkuPage([], "abc")).to_json()) == {"skus": [], "nextPageToken": "abc"}


def test_the_document_tells_numbers_as_numbers() -> None:
    schema = SkuOut.model_json_schema(mode="serialization")["properties"]
    assert {"type": "number", "minimum": 0} in schema["weight"]["anyOf"]


class TestReadProduct:
    def test_a_product_is_an_array_of_its_skus(self, example: dict[str, Any]) -> None:
        second = example | {"skuId": "2", "main": False}
        drafts = read_product(json.dumps([example, second]).encode())
        assert drafts == [read_sku(json.dumps(sku).encode()) for sku in (example, second)]

    @pytest.mark.parametrize("body", [b"{}", b"1", b'"x"', b"null", json.dumps(LEAST).encode()])
    def test_what_is_no_array_is_refused(self, body: bytes) -> None:
        assert product_faults(body) == [("", "Input should be an array of SKUs")]

    def test_a_product_has_some_skus_and_not_too_many(self) -> None:
        for count in (0, 2001):
            assert product_faults([LEAST] * count) == [("", "must hold 1 to 2000 SKUs")]
        assert len(read_product(json.dumps([LEAST | {"skuId": str(place)} for place in range(2000)]).encode())) == 2000

    def test_every_fault_of_every_sku_is_listed_with_its_path(self) -> None:
        assert product_faults([
            {"skuId": 1, "productId": "p", "weight": 0}, [], LEAST | {"globalSaleChannelData": {"attributes": [{}]}},
        ]) == [
            ("0.skuId", "Input should be a valid string"), ("0.name", "Field required"),
            ("0.weight", "Input should be greater than 0"), ("1", "Input should be an object"),
            ("2.globalSaleChannelData.attributes.0.name", "Field required"),
            ("2.globalSaleChannelData.attributes.0.value", "Field required"),
        ]  # fmt: skip

    def test_what_one_sku_makes_a_fault_of_another_is_listed_beside_the_rest(self) -> None:
        found = product_faults([
            {"productId": 5}, LEAST | {"main": True}, LEAST | {"productId": "q", "main": True, "name": ""},
            LEAST | {"skuId": "2", "main": "yes"},
        ])  # fmt: skip
        assert found[:3] == [
            ("2.productId", "must be that of the first SKU"), ("2.skuId", "is that of a SKU before it"),
            ("2.main", "must be true for one SKU of a product alone"),
        ]  # fmt: skip
        assert [path for path, _ in found[3:]] == ["0.skuId", "0.productId", "0.name", "2.name", "3.main"]

    def test_ids_that_are_no_text_are_compared_with_nothing(self) -> None:
        found = product_faults([{"skuId": [1], "productId": {}}, {"skuId": [1], "productId": []}])
        assert {path for path, _ in found} == {
            f"{place}.{name}" for place in (0, 1) for name in ("skuId", "productId", "name")
        }

    def test_faults_beyond_a_thousand_are_not_listed_so_an_answer_stays_small(self) -> None:
        body = json.dumps([{"images": [0] * 100} for _ in range(2000)]).encode()
        with pytest.raises(InvalidInputError, match="the first 1000 are listed") as caught:
            read_product(body)
        assert len(caught.value.faults) == 1000

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"", "not JSON at line 1, column 1"),
            (b'[{"skuId": "1", "skuId": "2"}]', "a member is named twice in an object"),
            (b'[{"weight": NaN}]', "NaN or an infinity"),
            (b'["\\ud800"]', "an unpaired surrogate in a string"),
            (b"[" * 100_000, "nested too deeply"),
        ],
    )
    def test_what_is_no_strict_json_is_refused(self, body: bytes, message: str) -> None:
        assert product_faults(body) == [("", message)]


def product_faults(body: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInputError) as caught:
        read_product(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return [(fault.path, fault.message) for fault in caught.value.faults]


@pytest.mark.parametrize("text", ["0", "-0", "-0.0", "0e999999", "0e-999999", "0.000000000000000000000000000000"])
def test_a_zero_is_one_digit_however_it_is_written(text: str) -> None:
    line = f'{{"skuId":"1","productId":"p","name":"n","localizedListPriceWithTaxes":{text}}}'
    assert str(read_sku(line.encode()).origin_list_price) == "0"

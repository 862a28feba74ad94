"""`skus.upsert` and `products.get`: what goes out, and what comes back."""

from __future__ import annotations

import json
import uuid
from decimal import Decimal
from typing import Any

import pytest

from ecross._operations import upsert_skus
from ecross.errors import ConfigurationError, FieldError, ServerError, TransportError, ValidationError
from ecross.types import SaleChannelData, SkuAttribute, SkuDraft

PATH = "/ext/merchant/skus"
PRODUCTS = "/ext/merchant/products"
EXAMPLE: dict[str, Any] = {
    "skuId": "1234567890", "productId": "1234567", "main": True, "name": "USB charger type C",
    "description": "Charges fast.\nHas two ports.", "weight": 0.1, "height": 4, "width": 4, "length": 19,
    "ean": "0799439112766", "hscode": "850440", "localizedListPriceWithTaxes": 9.99,
    "localizedSalePriceWithTaxes": 8,
    "globalSaleChannelData": {
        "active": True, "brand": "ChargerW", "size": "2 meters", "color": "silver",
        "category": "Telefones e Celulares/Acessórios/Carregadores",
        "attributes": [{"name": "Connection Type", "value": "USB-C"}],
    },
    "images": ["https://img.test/1.jpeg"],
}  # fmt: skip
DRAFT = SkuDraft(
    sku_id="1234567890", product_id="1234567", name="USB charger type C", is_main=True,
    description="Charges fast.\nHas two ports.", weight_kg=Decimal("0.10"), height_cm=4, width_cm=Decimal("4E0"),
    length_cm=19, ean="0799439112766", hs_code="850440", origin_list_price=9.99, origin_sale_price=Decimal("8.00"),
    sale_channel_data=SaleChannelData(
        is_active=True, brand="ChargerW", size="2 meters", color="silver",
        category="Telefones e Celulares/Acessórios/Carregadores",
        attributes=(SkuAttribute("Connection Type", "USB-C"),),
    ),
    images=("https://img.test/1.jpeg",),
)  # fmt: skip
ANSWER = [{"id": "ACME-1", "skuId": "1", "localizationStatus": "PENDING_LOCALIZATION"}]


def upsert(caller: Any, *skus: Any, **options: Any) -> Any:
    return caller.do(lambda client: client.skus.upsert(list(skus), **options))


def sent(server: Any) -> Any:
    (request,) = server.requests_to(PATH)
    assert (request.method, request.headers["Content-Type"]) == ("POST", "application/json")
    return json.loads(request.body)


@pytest.mark.parametrize("sku", [DRAFT, EXAMPLE], ids=["a draft", "a mapping"])
def test_the_published_example_goes_out_as_it_is_written(sku: Any, server: Any, caller: Any, answer: Any) -> None:
    server.script(PATH, answer(body=ANSWER))
    (saved,) = upsert(caller, sku)

    assert sent(server) == [EXAMPLE]
    assert (saved.sku_id, saved.localization_status) == ("1", "PENDING_LOCALIZATION")


def test_what_a_draft_does_not_tell_is_left_out(server: Any, caller: Any, answer: Any) -> None:
    server.script(PATH, answer(body=ANSWER))
    upsert(caller, SkuDraft("1", "P", "n", sale_channel_data=SaleChannelData()))

    assert sent(server) == [
        {
            "skuId": "1", "productId": "P", "main": False, "name": "n", "globalSaleChannelData": {"attributes": []},
            "images": [],
        }
    ]  # fmt: skip


def test_decimals_go_out_digit_by_digit(server: Any, caller: Any, answer: Any) -> None:
    server.script(PATH, answer(body=ANSWER))
    prices = [Decimal("0.1"), Decimal("1234567890123.45"), Decimal("19.90"), Decimal("0.000001")]
    upsert(caller, *({"skuId": str(price), "localizedListPriceWithTaxes": price} for price in prices))

    (request,) = server.requests_to(PATH)
    told = json.loads(request.body, parse_float=Decimal)
    assert [sku["localizedListPriceWithTaxes"] for sku in told] == prices


@pytest.mark.parametrize(
    "value", [Decimal("0.12345678901234567890"), Decimal("NaN"), Decimal("-Infinity"), Decimal("1E+400")]
)
def test_a_number_that_would_lose_digits_is_refused_by_its_field(value: Decimal, server: Any, caller: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"skus\[1\] cannot be sent: width_cm is not a number") as caught:
        upsert(caller, DRAFT, SkuDraft("1", "P", "n", width_cm=value))

    assert str(value) not in str(caught.value)
    assert caught.value.__context__ is None
    assert server.requests == []


@pytest.mark.parametrize(
    ("skus", "fault"),
    [
        (EXAMPLE, "skus must be a list of all SKUs"),
        (DRAFT, "skus must be a list of all SKUs"),
        ("text", "skus must be a list of all SKUs"),
        (["text"], r"skus\[0\] cannot be sent: it is neither a SkuDraft nor a mapping"),
        ([{"skuId": object()}], "json must be made of what JSON has"),
    ],
)
def test_what_is_no_list_of_skus_is_refused_at_once(skus: Any, fault: str, server: Any, caller: Any) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        caller.do(lambda client: client.skus.upsert(skus))

    assert server.requests == []


def test_every_fault_that_the_server_tells_is_in_the_error(server: Any, caller: Any, answer: Any) -> None:
    faults = [{"path": f"{number}.weight", "message": "Input should be greater than 0"} for number in range(1000)]
    server.script(PATH, answer(400, {"message": "The request has faults.", "code": "invalid_input", "errors": faults}))
    with pytest.raises(ValidationError, match=r"The request has faults\.") as caught:
        upsert(caller, EXAMPLE)

    assert caught.value.errors == tuple(FieldError(fault["path"], fault["message"]) for fault in faults)


class TestRetries:
    def test_an_upsert_is_sent_again_with_the_same_key(self, server: Any, caller: Any, answer: Any) -> None:
        server.script(PATH, answer(503), answer(breaks_off=True), answer(body=ANSWER))
        upsert(caller, EXAMPLE)

        requests = server.requests_to(PATH)
        assert len({request.body for request in requests}) == 1
        (key,) = {request.headers["Idempotency-Key"] for request in requests}
        assert (len(requests), uuid.UUID(key).version) == (3, 4)

    def test_each_call_has_a_key_of_its_own(self, server: Any, caller: Any, answer: Any) -> None:
        server.script(PATH, answer(body=ANSWER), answer(body=ANSWER))
        upsert(caller, EXAMPLE)
        upsert(caller, EXAMPLE)

        assert len({request.headers["Idempotency-Key"] for request in server.requests_to(PATH)}) == 2

    def test_a_key_of_the_callers_own_is_sent_as_it_is(self, server: Any, caller: Any, answer: Any) -> None:
        server.script(PATH, answer(body=ANSWER))
        upsert(caller, EXAMPLE, idempotency_key="mine/1")

        assert server.requests_to(PATH)[0].headers["Idempotency-Key"] == "mine/1"

    def test_an_operation_has_a_key_only_if_it_is_told_one(self) -> None:
        keyed, bare = upsert_skus([DRAFT], "mine"), upsert_skus([DRAFT], None)

        assert (keyed.headers, bare.headers) == ({"Idempotency-Key": "mine"}, {})
        assert keyed.sets_state
        assert bare.sets_state
        assert "USB charger" not in repr(bare)

    @pytest.mark.parametrize("key", ["", " ", "a b", "é", "a\n", "a" * 256, 7])
    def test_a_key_that_no_header_can_hold_is_refused(self, key: Any, server: Any, caller: Any) -> None:
        with pytest.raises(ConfigurationError, match="idempotency_key must be 1 to 255 characters"):
            upsert(caller, EXAMPLE, idempotency_key=key)

        assert server.requests == []

    def test_another_post_is_not_sent_again_whatever_its_headers(self, server: Any, caller: Any, answer: Any) -> None:
        server.script(PATH, answer(breaks_off=True))
        with pytest.raises(TransportError):
            caller.request("POST", PATH, json=[EXAMPLE], headers={"Idempotency-Key": "mine"})

        assert len(server.requests_to(PATH)) == 1


class TestGet:
    def test_a_product_is_a_list_of_its_skus(self, server: Any, caller: Any, answer: Any) -> None:
        server.script(f"{PRODUCTS}/1234567", answer(body=[*ANSWER, {"id": "ACME-2", "skuId": "2"}]))
        skus = caller.do(lambda client: client.products.get("1234567"))

        assert [sku.sku_id for sku in skus] == ["1", "2"]

    @pytest.mark.parametrize(
        ("product_id", "segment"),
        [
            ("a?b#c%20", "a%3Fb%23c%2520"), ("a/b", "a%2Fb"), ("ação", "a%C3%A7%C3%A3o"), ("a b", "a%20b"),
            ("a;b=c&d+e", "a%3Bb%3Dc%26d%2Be"), ("...", "..."), ("a\\b", "a%5Cb"),
        ],
    )  # fmt: skip
    def test_an_id_is_one_segment_of_the_path(
        self, product_id: str, segment: str, server: Any, caller: Any, answer: Any
    ) -> None:
        server.script(f"{PRODUCTS}/{segment}", answer(body=ANSWER))

        assert len(caller.do(lambda client: client.products.get(product_id))) == 1

    @pytest.mark.parametrize("product_id", ["", ".", "..", "\ud800", 7, None])
    def test_an_id_that_no_path_can_hold_is_refused(self, product_id: Any, server: Any, caller: Any) -> None:
        with pytest.raises(ConfigurationError, match="product_id must be a text that can stand in a path"):
            caller.do(lambda client: client.products.get(product_id))

        assert server.requests == []

    @pytest.mark.parametrize("product_id", ["%2e%2e", "..\\x", "..%2fx"])
    def test_an_id_that_may_lead_elsewhere_is_refused(self, product_id: str, server: Any, caller: Any) -> None:
        with pytest.raises(ConfigurationError, match="path must begin with one slash"):
            caller.do(lambda client: client.products.get(product_id))

        assert server.requests == []

    @pytest.mark.parametrize(
        ("body", "fault"),
        [
            ({"skus": []}, "the answer is not a list"),
            ([{"id": "1", "skuId": "1"}, 7], r"\[1\] is not an object"),
            ([{"id": "1"}], r"\[0\]\.skuId is missing"),
        ],
    )
    def test_an_answer_of_a_wrong_form_is_the_servers_fault(
        self, body: Any, fault: str, server: Any, caller: Any, answer: Any
    ) -> None:
        server.script(f"{PRODUCTS}/P", answer(body=body))
        with pytest.raises(ServerError, match=fault):
            caller.do(lambda client: client.products.get("P"))

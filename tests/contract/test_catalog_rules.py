"""The client says of a product what the server says of it: the same faults, at the same paths, in the same order."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ecross._catalog_rules import check_product
from ecross.jws import loads_strict
from ecross_server.catalog.schemas import read_product
from ecross_server.kit.errors import InvalidInputError

pytestmark = pytest.mark.measured

LEAST: dict[str, Any] = {"skuId": "1", "productId": "p", "name": "n"}

TEXTS = [
    "x", "", "a\0", "x" * 128, "x" * 129, "x" * 500, "x" * 501, "x" * 2049, "x" * 50_001, "a b", "a/b", "a\u00a0",
    "\x1c", "\x85", "a\n", "\u200b", "\u2028", "\u3000", "\ufeff", "\U0001f600" * 128, 1, True, None, [], {},
]  # fmt: skip
NUMBERS = [
    "0", "-0", "-0.0", "0E-100", "0e500", "1", "-1", "0.1", "-0.5", "0.000001", "0.0000001", "1e-400", "1e300", "1e9",
    "999999999", "999999999.999999", "1234567890", "1234567890.1", "1234567890123456", "123456789.1234567",
    "1.000000000000000000000", "1.10000000000000000000000000000", "0.1" + "0" * 24 + "1", "0.1" + "0" * 26 + "1",
    "0.1" + "0" * 27 + "1", "0.1" + "0" * 40 + "1", "1" + "0" * 30, "1" + "0" * 4000, f"{2**1024 - 2**970}",
    f"{2**1024 - 2**970 - 1}", "9" * 28, "9" * 29 + ".5", "4.0",
    "true", '"1"', "null", "[]", "{}",
]  # fmt: skip
ARTICLE_NUMBERS = [
    "0799439112766", "4006381333931", "96385074", "036000291452", "9780471117094", "0471117099", "080442957X",
    "978-0-471-11709-4", "0-8044-2957-X", "471117099", "47111709-9", "", "0799439112765", "96385075", "9780471117095",
    "0804429570", "10012345678902", "99439112766", "4006-3813-3393-1", "\uff14006381333931", "080442957x", "X", "-1",
    "0--471117094", "97804711170X4", "978047111709X", "1234567-X", "9" * 33, "00000000", "0", "979-0-471-11709-4",
    "123456789X1", "4006381333931\n",
]  # fmt: skip
HS_CODES = ["850440", "8504409550", "85044", "85044095501", "000440", "8504.40", "\uff1850440", "850440\n", "", "\0"]
ADDRESSES = [
    "https://img.test/1.jpeg", "https://img.test", "https://img.test:8443/1", "https://IMG.Example/1", "http://img.test/",
    "HTTPS://img.test", "https://", "https:///1", "https://localhost/", "https://x.localhost/", "https://db.internal/",
    "https://intranet/", "https://127.0.0.1/", "https://[::1]/", "https://127.1/", "https://1.0x7f/", "https://u@img.test/",
    "https://img.test\\@10.0.0.1/", "https://img.test/\\", "https://img.test:x/", "https://img.test:99999/", "https://[x/",
    "https://img.test/ü", "https://img.test/a b", "https://img..test/", "https://-a.test/", "https://a." + "b" * 2040,
    "https://" + "a." * 130 + "test/", "https://img.test./", "https://img.test?@x", "https://img.test/@", 1, None,
]  # fmt: skip
MEASURES = ("weight", "height", "width", "length")
PRICES = ("localizedListPriceWithTaxes", "localizedSalePriceWithTaxes")
KNOWN = [
    "skuId", "productId", "main", "name", "description", *MEASURES, "ean", "hscode", *PRICES, "globalSaleChannelData",
    "images", "sku_id",
]  # fmt: skip
WITHIN = ["active", "brand", "size", "color", "category", "attributes"]


def told_by_the_server(body: bytes) -> list[tuple[str, str]]:
    try:
        read_product(body)
    except InvalidInputError as error:
        return [(fault.path, fault.message) for fault in error.faults]
    return []


def compare(body: bytes) -> list[tuple[str, str]]:
    """Both say the same of the body; what they say."""
    told = told_by_the_server(body)
    assert [tuple(fault) for fault in check_product(loads_strict(body, exact=True))] == told
    return told


def of(**fields: Any) -> bytes:
    return json.dumps([LEAST | fields]).encode()


def with_text(name: str, text: str) -> bytes:
    others = {field: value for field, value in LEAST.items() if field != name}
    return f'[{json.dumps(others)[:-1]}, "{name}": {text}}}]'.encode()


@pytest.mark.parametrize("name", KNOWN)
def test_every_value_has_the_same_fault_in_every_field(name: str) -> None:
    found = [compare(of(**{name: value})) for value in [*TEXTS, *ARTICLE_NUMBERS, *HS_CODES, *ADDRESSES]]
    found += [compare(with_text(name, text)) for text in NUMBERS]

    assert [] in found
    assert any(found) or name == "sku_id"


@pytest.mark.parametrize("name", WITHIN)
def test_every_value_has_the_same_fault_in_what_is_mapped_to_the_channels(name: str) -> None:
    found = [compare(of(globalSaleChannelData={name: value})) for value in TEXTS]

    assert [] in found
    assert any(found)


def test_lists_have_the_same_faults() -> None:
    for value in ADDRESSES:
        compare(of(images=["https://a.test", value]))
    for value in TEXTS:
        compare(
            of(globalSaleChannelData={"attributes": [{"name": value, "value": "v"}, {"name": "n", "value": value}]})
        )
        compare(of(globalSaleChannelData={"attributes": [{"name": "n"}, value]}))
    assert compare(of(images=["ftp://x"] * 101))
    assert compare(of(globalSaleChannelData={"attributes": [1] * 201}))


@pytest.mark.parametrize(
    "body",
    [
        [], {}, None, 1, "x", [1], [None, []], [LEAST] * 2001, [LEAST, LEAST], [{}], [LEAST | {"main": True}] * 3,
        [LEAST, LEAST | {"skuId": "2", "productId": "q"}], [LEAST | {"productId": 1}, LEAST | {"skuId": "2"}],
        [{"skuId": number} for number in range(600)], [{"skuId": "1"}] * 400, [{"skuId": "1"}] * 2000,
        [LEAST, 1, LEAST | {"skuId": "2", "main": 1}], [LEAST | {"skuId": str(number)} for number in range(2000)],
    ],
)  # fmt: skip
def test_whole_bodies_have_the_same_faults(body: Any) -> None:
    compare(json.dumps(body).encode())


@examples(max_examples=150, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(KNOWN),
            st.sampled_from([*TEXTS[:6], True, "850440", "0799439112766", ["https://a.test"], ["x"], 1, -1, 1.5, 1e12])
            | st.fixed_dictionaries({}, optional=dict.fromkeys(WITHIN, st.sampled_from(["x", "", True, [], [{}]]))),
            max_size=15,
        )
        | st.sampled_from([LEAST, LEAST | {"main": True}, 1]),
        max_size=4,
    )
)
def test_any_faults_together_are_told_in_the_same_order(body: Any) -> None:
    compare(json.dumps(body).encode())


@examples(max_examples=150, deadline=None)
@given(st.text(alphabet="0123456789X-", max_size=18) | st.from_regex(r"[0-9]{12,13}", fullmatch=True))
def test_article_numbers_are_judged_alike(number: str) -> None:
    compare(of(ean=number))


@examples(max_examples=150, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_numbers_are_judged_alike(number: Decimal) -> None:
    compare(with_text("weight", str(number)))
    compare(with_text("localizedListPriceWithTaxes", str(number)))


@examples(max_examples=200, deadline=None)
@given(st.text(alphabet="ab.-:/@\\[]?#%ü 1", max_size=24))
def test_addresses_are_judged_alike(rest: str) -> None:
    compare(of(images=[f"https://{rest}", f"https://a.test/{rest}", f"https://{rest}.test"]))


@pytest.mark.parametrize(("number", "fault"), [(0.1, None), (float("nan"), "finite"), (float("inf"), "finite")])
def test_floats_are_judged_as_they_are_written(number: float, fault: str | None) -> None:
    told = check_product([LEAST | {"weight": number}])

    assert [each.path for each in told] == (["0.weight"] if fault else [])
    assert fault is None or fault in told[0].message

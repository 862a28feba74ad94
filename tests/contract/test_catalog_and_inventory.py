"""Products and stock: the fake server takes, refuses, keeps and shows them as the real one does."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.contract.conftest import Side

pytestmark = pytest.mark.measured

JSON = ("Content-Type", "application/json")
BEARER = ("Authorization", "Bearer <good>")
PROBLEM = ("Accept", "application/problem+json")
SKUS = "/ext/merchant/skus"
PRODUCTS = "/ext/merchant/products"
STOCK = "/ext/inventories"

LEAST: dict[str, Any] = {"skuId": "1", "productId": "p", "name": "n"}
COUNT: dict[str, Any] = {"skuId": "1", "quantity": 3, "warehouseId": 1, "inventoryType": "AVAILABLE"}

Case = tuple[str, str, list[tuple[str, str]], str | bytes]


def post(target: str, content: Any, *headers: tuple[str, str]) -> Case:
    body = content if isinstance(content, (str, bytes)) else json.dumps(content)
    return "POST", target, [BEARER, JSON, *headers], body


def get(target: str, *headers: tuple[str, str]) -> Case:
    return "GET", target, [BEARER, *headers], ""


REFUSED_BODIES: dict[str, str | bytes] = {
    "nothing": "", "no JSON": "skuId=1", "half": "[{", "Latin-1": b'[{"name": "\xe9"}]',
    "a byte order mark": b"\xef\xbb\xbf[]", "NaN": '[{"weight": NaN}]', "a number too large": '[{"weight": 1e999}]',
    "an exponent": '[{"weight": 1e-99999999999999999999}]', "a surrogate": '[{"name": "\\ud800"}]',
    "a member named twice": '[{"skuId": "1", "skuId": "1"}]', "nested too deeply": "[" * 5000,
    "too many digits": f'[{{"weight": {"9" * 5000}}}]', "null": "null", "an object": "{}", "a text": '"x"',
    "no SKU": "[]", "no objects": "[1, null, []]", "empty objects": "[{}, {}]",
    "too many SKUs": json.dumps([LEAST] * 2001), "a thousand faults": json.dumps([{}] * 400),
    "two products": json.dumps([LEAST, LEAST | {"skuId": "2", "productId": "q"}]),
    "one SKU twice": json.dumps([LEAST, LEAST]),
    "two main SKUs": json.dumps([LEAST | {"main": True}, LEAST | {"main": True, "skuId": "2"}]),
}  # fmt: skip

REFUSED_FIELDS: dict[str, list[Any]] = {
    "skuId": [None, 1, "", "a b", "a/b", "x" * 129, "a\0"],
    "productId": [None, "", "a\u2003b"],
    "main": [None, 1, "true"],
    "name": [None, "", "x" * 501, "a\0"],
    "description": [1, "x" * 50_001, "a\0"],
    "weight": [0, -1, "1", True, 1e10, 1.1234567],
    "height": [[], 1e15],
    "width": [{}],
    "length": [-0.5],
    "localizedListPriceWithTaxes": [-1, "9.99"],
    "localizedSalePriceWithTaxes": [-0.01],
    "ean": [1, "", "0799439112765", "9" * 33, "X"],
    "hscode": [850440, "8504.40", "000440"],
    "images": [None, "https://a.test", ["http://a.test"], ["https://10.0.0.1/"], [1], ["https://a.test"] * 101],
    "globalSaleChannelData": [
        1, [], {"active": 1}, {"brand": ""}, {"size": 1}, {"color": []}, {"category": "x" * 501}, {"attributes": {}},
        {"attributes": [1, {}, {"name": "", "value": None}]}, {"attributes": [1] * 201},
    ],
}  # fmt: skip

ALL_AT_ONCE = [
    {"skuId": "", "productId": "p", "main": True, "weight": 0, "ean": "1", "images": ["x"],
     "globalSaleChannelData": {"active": 0}},
    {"skuId": "1", "productId": "q", "main": True, "name": 1},
    7,
    {"skuId": "1", "productId": 1},
]  # fmt: skip

UPSERTS: dict[str, Case] = {
    **{name: post(SKUS, body) for name, body in REFUSED_BODIES.items()},
    **{f"{name} {place}": post(SKUS, [LEAST | {name: value}])
       for name, values in REFUSED_FIELDS.items() for place, value in enumerate(values)},
    "all at once": post(SKUS, ALL_AT_ONCE),
    "as a problem": post(SKUS, [{}], PROBLEM),
    "another type": ("POST", SKUS, [BEARER, ("Content-Type", "text/plain")], "[]"),
    "no type": ("POST", SKUS, [BEARER], "[]"),
    "a charset": ("POST", SKUS, [BEARER, ("Content-Type", "application/json; charset=utf-8")], "[]"),
    "without the scope": ("POST", SKUS, [("Authorization", "Bearer <of two scopes>"), JSON], json.dumps([LEAST])),
    "an empty key": post(SKUS, [LEAST], ("Idempotency-Key", "")),
    "a key with a space": post(SKUS, [LEAST], ("Idempotency-Key", "a b")),
    "a long key": post(SKUS, [LEAST], ("Idempotency-Key", "k" * 256)),
    "a key that is not ASCII": post(SKUS, [LEAST], ("Idempotency-Key", "\xe9")),
    "two keys": post(SKUS, [LEAST], ("Idempotency-Key", "a"), ("Idempotency-Key", "b")),
    "two keys, the first faulty": post(SKUS, [LEAST], ("Idempotency-Key", ""), ("Idempotency-Key", "b")),
    "two keys and another type": ("POST", SKUS, [BEARER, *[("Idempotency-Key", "a")] * 2], "[]"),
    "a faulty key and another type": ("POST", SKUS, [BEARER, ("Idempotency-Key", "")], "[]"),
    "a faulty key and a faulty body": post(SKUS, "[", ("Idempotency-Key", "")),
}  # fmt: skip

REFUSED_COUNTS: dict[str, list[Any]] = {
    "skuId": [None, 1, "", "a b", "a/b", "a\0", "x" * 129],
    "quantity": [None, "1", True, -1, 1.5, 10**9 + 1, 10**30],
    "warehouseId": [None, 0, "1", 2**31, 7, 1000, 1.5],
    "inventoryType": [None, 1, "available", "", []],
}  # fmt: skip

COUNTS: dict[str, Case] = {
    **{f"at {target}: {body}": post(target, body)
       for target in (STOCK, f"{STOCK}/") for body in ("{}", "[]", "{", '{"skuId": "1"}')},
    **{f"{name} {place}": post(f"{STOCK}/", COUNT | {name: value})
       for name, values in REFUSED_COUNTS.items() for place, value in enumerate(values)},
    "1E+20 pieces": post(STOCK, json.dumps(COUNT).replace("3", "1E+20")),
    "-3.0 pieces": post(STOCK, json.dumps(COUNT).replace("3", "-3.0")),
    "a returns warehouse, as a problem": post(STOCK, COUNT | {"warehouseId": 1000}, PROBLEM),
    "another type": ("POST", STOCK, [BEARER], "{}"),
    "without the scope": ("POST", STOCK, [("Authorization", "Bearer <of two scopes>"), JSON], json.dumps(COUNT)),
    "a faulty key": post(STOCK, COUNT, ("Idempotency-Key", "")),
    "a large body": post(STOCK, " " * 5_000_000),
}  # fmt: skip

PATHS = [
    *(f"{PRODUCTS}{rest}" for rest in (
        "/P2", "/p1", "/x", "/", "", "/P1/", "/P1/x", "/P%31", "/P1%00", "/P1%0A", "/P1%0B", "/a%2Fb",
        "/%FF", "/..", "/x" * 999,
    )),
    *(f"{STOCK}{rest}" for rest in (
        "%0A", "/%0A",
        "/x", "/sku", "/sku/1", "/sku/1/country", "/sku/1/country/", "/sku/1/country/MX", "/sku/1/country/US",
        "/sku/2/country/BR", "/sku/3/country/BR", "/sku/stock/country/BR", "/sku/broken/country/BR",
        "/sku/nothing/country/BR", "/sku/1%00/country/BR", "/sku/s%C3%B3%252F%3F%23/country/BR",
        "/sku/a%2Fb/country/BR", "/sku/1/country/br",
        "/sku/1/country/BRA", "/sku/1/country/B%0A", "/sku/1/country/BR%0A", "/sku/1/country/%C3%89E",
        "/sku//country/BR",
    )),
    *(f"{STOCK}?{query}" for query in (
        "lastUpdateDateFrom=2024-02-02T00:00:00Z", "lastUpdateDateFrom=2024-02-06T00:00:00Z", "lastUpdateDateFrom=x",
        "lastUpdateDateFrom=2030-01-01T00:00:00Z", "nextPageToken=x", "lastUpdateDateFrom=&nextPageToken=", "x=1",
    )),
]  # fmt: skip

READS: dict[str, Case] = {
    **{f"{method} {target}": (method, target, [BEARER], "") for method in ("GET", "HEAD", "POST", "PUT", "DELETE")
       for target in (f"{STOCK}/", STOCK, f"{PRODUCTS}/P1", f"{STOCK}/sku/1/country/BR")},
    **{f"GET {target} for {token}": ("GET", target, [("Authorization", f"Bearer <{token}>")], "")
       for target in (f"{PRODUCTS}/P1", STOCK, f"{STOCK}/sku/1/country/BR")
       for token in ("OTHER token", "of two scopes")},
    **{f"GET {target}": get(target) for target in PATHS},
    **{f"{method} {SKUS}%0A": (method, f"{SKUS}%0A", [BEARER], "") for method in ("GET", "HEAD", "POST")},
    **{f"a stranger's GET {target}": ("GET", target, [], "")
       for target in (f"{SKUS}%0A", "/health/live%0A", "/token%0A")},
    "a country as a problem": get(f"{STOCK}/sku/1/country/x", PROBLEM),
    "a product as a problem": get(f"{PRODUCTS}/x", PROBLEM),
}  # fmt: skip

GROUPS = {"upserts": UPSERTS, "counts": COUNTS, "reads": READS}


@pytest.mark.parametrize("group", GROUPS)
def test_the_fake_answers_as_the_real_server_does(group: str, real: Side, at_socket: Side, in_process: Side) -> None:
    answers = [
        {name: side.seen(*case) for name, case in GROUPS[group].items()} for side in (real, at_socket, in_process)
    ]

    assert answers[1] == answers[0]
    assert answers[2] == answers[0]
    # What is refused changes nothing, so both ways to the fake found it as it was.
    assert group == "reads" or {answer["status"] for answer in answers[0].values()} <= {400, 403, 413, 415}


def test_both_lead_through_all_pages_of_stock_the_same_way(real: Side, side: Side) -> None:
    def pages(server: Side) -> list[Any]:
        found, target = [], STOCK
        while target:
            answer = server.send("GET", target, [BEARER])
            found.append(server.shown(answer))
            token = answer.json().get("nextPageToken")
            target = f"{STOCK}?nextPageToken={token}" if token else ""
        return found

    assert pages(side) == pages(real)
    assert len(pages(side)) == 3


@pytest.mark.parametrize(("given_by", "used_at"), [(SKUS, STOCK), (STOCK, SKUS)])
def test_a_page_token_is_good_for_its_own_list_alone(given_by: str, used_at: str, real: Side, side: Side) -> None:
    def answer(server: Side) -> Any:
        page_token = server.send("GET", given_by, [BEARER]).json()["nextPageToken"]
        return server.seen("GET", f"{used_at}?nextPageToken={page_token}", [BEARER])

    assert answer(side) == answer(real)
    assert answer(side)["status"] == 400


class Story:
    """What one merchant sends to one server, and what it gets; dates as their places in the order of all dates."""

    def __init__(self, server: Side, merchant: str, prefix: str) -> None:
        self._server = server
        self._bearer = ("Authorization", f"Bearer <{merchant} token>")
        self._prefix = prefix
        self.answers: list[Any] = []

    def send(self, method: str, target: str, content: Any = None, *headers: tuple[str, str]) -> Any:
        """The body of the answer. Ids begin with a text of the story's own, in all that is sent: it stands for `~`."""
        body = "" if content is None else json.dumps(content).replace("~", self._prefix)
        answer = self._server.send(method, target.replace("~", self._prefix), [self._bearer, JSON, *headers], body)
        content = answer.json()
        self.answers.append((answer.status_code, content))
        return content

    def upsert(self, *skus: dict[str, Any], key: str | None = None) -> Any:
        headers = [] if key is None else [("Idempotency-Key", key)]
        return self.send("POST", SKUS, [{"productId": "~P", "name": "n"} | sku for sku in skus], *headers)

    def product(self, product_id: str) -> Any:
        return self.send("GET", f"{PRODUCTS}/{product_id}")

    def told(self) -> list[Any]:
        """All answers, as they must be equal."""
        dated = list(find_dated(self.answers))
        for is_stock in (True, False):
            things = [thing for thing in dated if ("warehouseId" in thing) is is_stock]
            dates = sorted({thing["lastUpdateDate"] for thing in things})
            for thing in things:
                thing["lastUpdateDate"] = dates.index(thing["lastUpdateDate"])
        return self.answers


def find_dated(content: Any) -> Iterator[dict[str, Any]]:
    """All SKUs and stock records in it."""
    if isinstance(content, dict) and "lastUpdateDate" in content:
        yield content
    elif isinstance(content, (dict, list, tuple)):
        for member in content.values() if isinstance(content, dict) else content:
            yield from find_dated(member)


def taken_token(page: dict[str, Any]) -> str | None:
    """The page's token, taken out of it: each server has its own."""
    token: str | None = page.pop("nextPageToken", None)
    return token


EXAMPLE: dict[str, Any] = {
    "skuId": "~1", "productId": "~P", "main": True, "name": "USB charger type C", "description": "Fast.\nTwo ports.",
    "weight": 0.1, "height": 4.0, "width": 4, "length": 19, "ean": "0799439112766", "hscode": "850440",
    "localizedListPriceWithTaxes": 9.99, "localizedSalePriceWithTaxes": 8.00, "unknown": 1,
    "globalSaleChannelData": {
        "attributes": [{"value": "USB-C", "name": "Connection Type", "x": 1}], "active": True, "brand": None, "y": 2,
        "category": "Telefones e Celulares/Acessórios/Carregadores", "color": "silver",
    },
    "images": ["https://img.test/1.jpeg"],
}  # fmt: skip


def tell_of_a_product(story: Story) -> None:
    """Sent again, changed bit by bit, shrunk, grown, deleted from, and read back after each step."""
    last = story.upsert(EXAMPLE)[0]["lastUpdateDate"]
    changes: list[dict[str, Any]] = [
        {}, {"height": 4}, {"localizedSalePriceWithTaxes": 7.99}, {"weight": None}, {"images": []}, {"name": "Other"},
        {"globalSaleChannelData": {}}, {"globalSaleChannelData": None}, {"main": False},
    ]  # fmt: skip
    sku = EXAMPLE
    for change in changes:
        sku = sku | change
        story.upsert(sku)
        story.product("~P")
    story.upsert(sku, {"skuId": "~2"}, {"skuId": "~3", "main": True})
    story.upsert({"skuId": "~3"}, {"skuId": "~2"})
    story.upsert({"skuId": "~2"})
    story.product("~P")
    story.send("GET", f"{SKUS}?lastUpdateDateFrom={last}")
    story.upsert({"skuId": "~1"}, {"skuId": "~2"})
    story.product("~P")
    story.send("GET", f"{SKUS}?lastUpdateDateFrom={last}")


def tell_of_moves(story: Story) -> None:
    """SKUs that go from one product to another, main ones and last ones."""
    for step in (
        [("~1", "~P"), ("~2", "~P"), ("~3", "~P")], [("~2", "~Q")], [("~1", "~Q"), ("~2", "~Q")], [("~3", "~Q")],
        [("~1", "~P"), ("~3", "~P")], [("~2", "~P")],
    ):  # fmt: skip
        story.upsert(*({"skuId": sku_id, "productId": product_id} for sku_id, product_id in step))
        story.product("~P")
        story.product("~Q")


def tell_of_keys(story: Story) -> None:
    """A key that comes again: with the same, with another body, path or product, and after a refusal."""
    first, other = {"skuId": "~1"}, {"skuId": "~1", "name": "m"}
    for skus in ([first], [other], [first], [{"skuId": ""}]):
        story.upsert(*skus, key="~k")
    story.upsert({"skuId": ""}, key="~l")
    story.upsert(other, key="~l")
    story.upsert(first)
    story.upsert(other, key="~l")
    story.product("~P")
    count = {"skuId": "~1", "quantity": 1, "warehouseId": 1, "inventoryType": "AVAILABLE"}
    for target, change, key in (
        (STOCK, {}, "~k"), (STOCK, {}, "~m"), (f"{STOCK}/", {}, "~m"), (STOCK, {"quantity": 2}, "~m"),
        (STOCK, {"warehouseId": 1000}, "~n"), (STOCK, {"quantity": 5}, "~n"), (f"{STOCK}?x=1", {"quantity": 5}, "~n"),
    ):  # fmt: skip
        story.send("POST", target, count | change, ("Idempotency-Key", key.replace("~", story._prefix)))


def tell_of_stock(story: Story) -> None:
    """Quantities that are set, before and after their SKU is registered, and read back for two countries."""
    for quantity, warehouse, type_ in (
        (5, 1, "AVAILABLE"), (5, 1, "AVAILABLE"), (0, 1, "AVAILABLE"), (4, 2, "AVAILABLE"), (3, 1, "DAMAGED"),
        (3.0, 1, "AVAILABLE"), (3, 1000, "AVAILABLE"), (3, 8, "AVAILABLE"),
    ):  # fmt: skip
        count = {"skuId": "~1", "quantity": quantity, "warehouseId": warehouse, "inventoryType": type_}
        story.send("POST", f"{STOCK}/", count)
        story.send("GET", f"{STOCK}/sku/~1/country/BR")
    story.upsert({"skuId": "~1"}, {"skuId": "~2"})
    for sku_id in ("~1", "~2", "~3"):
        story.send("GET", f"{STOCK}/sku/{sku_id}/country/MX")
    story.upsert({"skuId": "~2"})
    story.send("GET", f"{STOCK}/sku/~1/country/MX")


def tell_of_pages(story: Story) -> None:
    """A list whose SKUs change, go and come while its pages are turned."""
    last = story.upsert(*({"skuId": f"~{number}"} for number in range(4)))[0]["lastUpdateDate"]
    last = story.upsert(*({"skuId": f"~{number}", "name": "m"} for number in range(8)))[0]["lastUpdateDate"]
    story.upsert(*({"skuId": f"~{number}", "name": "o"} for number in range(8)))
    target = f"{SKUS}?lastUpdateDateFrom={last}"
    token: str | None = ""
    for change in ([0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 8, 9], [0]):
        token = taken_token(story.send("GET", target))
        story.upsert(*({"skuId": f"~{number}", "name": "p"} for number in change))
        target = f"{SKUS}?nextPageToken={token}"
    while token:
        token = taken_token(story.send("GET", f"{SKUS}?nextPageToken={token}"))
    taken_token(story.send("GET", f"{SKUS}?lastUpdateDateFrom={last}"))


STORIES: list[Callable[[Story], None]] = [
    tell_of_a_product, tell_of_moves, tell_of_keys, tell_of_stock, tell_of_pages,
]  # fmt: skip
NUMBERS = itertools.count()


@pytest.mark.parametrize("tell", STORIES)
def test_the_same_story_has_the_same_answers(tell: Callable[[Story], None], real: Side, side: Side) -> None:
    prefix = f"s{next(NUMBERS):04}-"
    stories = [Story(server, side.name.upper(), prefix) for server in (real, side)]
    for story in stories:
        tell(story)

    assert stories[1].told() == stories[0].told()


SKU_IDS = st.sampled_from(["~1", "~2", "~3"])
PRODUCT_IDS = st.sampled_from(["~P", "~Q"])
UPSERT = st.tuples(
    PRODUCT_IDS, st.lists(SKU_IDS, min_size=1, max_size=3, unique=True), st.none() | SKU_IDS, st.sampled_from("nm")
)


@examples(max_examples=30, deadline=None)
@given(steps=st.lists(UPSERT, min_size=2, max_size=6))
def test_any_upserts_one_after_the_other_leave_the_same(steps: Any, real: Side, in_process: Side) -> None:
    prefix = f"h{next(NUMBERS):04}-"
    stories = [Story(server, "TRANSPORT", prefix) for server in (real, in_process)]
    for story in stories:
        for product_id, sku_ids, main, name in steps:
            story.upsert(
                *({"skuId": each, "productId": product_id, "name": name, "main": each == main} for each in sku_ids)
            )
            story.product("~P")
            story.product("~Q")

    assert stories[1].told() == stories[0].told()

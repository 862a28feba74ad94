from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.catalog import service
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.database import Database
from ecross_server.web.idempotency import IdempotentAnswer

PATH = "/ext/merchant/skus"
NOW = datetime(2024, 9, 6, 11, 13, 30, 533_000, tzinfo=UTC)

Save = Callable[..., None]


@pytest.fixture
def get(client: TestClient, bearer: dict[str, str]) -> Callable[..., Any]:
    """Ask for ACME's SKUs; the query is sent as written."""

    def ask(query: str = "", status: int = 200, headers: dict[str, str] | None = None) -> Any:
        answer = client.get(f"{PATH}?{query}" if query else PATH, headers=headers or bearer)
        assert answer.status_code == status, answer.text
        return answer.json()

    return ask


def ids(body: Any) -> list[str]:
    return [sku["skuId"] for sku in body["skus"]]


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"skuId": str(number)} for number in range(count)]


def test_the_published_example_is_answered_in_the_documented_form(
    get: Callable[..., Any], save: Save, example: dict[str, Any]
) -> None:
    save("ACME", example, now=NOW)
    body = get()
    echoed = {name: value for name, value in example.items() if not name.startswith("localized")}
    assert body == {
        "skus": [
            echoed
            | {
                "id": "ACME-1234567890", "merchantId": "ACME", "merchantProductId": "ACME-1234567",
                "localizationStatus": "PENDING_LOCALIZATION", "salesChannelStatus": {},
                "lastUpdateDate": "2024-09-06T11:13:30.533Z",
            }
        ]
    }  # fmt: skip
    assert isinstance(body["skus"][0]["height"], int)


def test_the_answer_is_json_with_numbers_as_they_went_in(
    client: TestClient, bearer: dict[str, str], save: Save
) -> None:
    save("ACME", {"weight": 0.1, "height": 4, "name": "Ärmel"})
    answer = client.get(PATH, headers=bearer)
    assert answer.headers["content-type"] == "application/json"
    assert b'"weight":0.1,"height":4,' in answer.content
    assert "Ärmel".encode() in answer.content
    assert b"null" not in answer.content


def test_a_merchant_without_skus_gets_an_empty_list_without_a_token(get: Callable[..., Any]) -> None:
    assert get() == {"skus": []}


@pytest.mark.parametrize("total", [2, 3, 4, 6])
def test_pages_follow_their_tokens_to_a_last_page_without_one(get: Callable[..., Any], save: Save, total: int) -> None:
    save("ACME", *numbered(total))
    body = get("nextPageToken=")
    shown = ids(body)
    for _ in range((total - 1) // 3):
        body = get(f"nextPageToken={body['nextPageToken']}")
        shown += ids(body)
    assert "nextPageToken" not in body
    assert shown == [str(number) for number in range(total)]


def test_an_empty_token_and_an_empty_instant_mean_page_one_of_all(get: Callable[..., Any], save: Save) -> None:
    save("ACME", *numbered(2))
    assert get("nextPageToken=&lastUpdateDateFrom=") == get()
    assert ids(get("nextPageToken=")) == ["0", "1"]


@pytest.mark.parametrize(
    "text",
    [
        "2024-09-06T11:13:30.533Z",
        "2024-09-06T13:13:30.533%2B02:00",
        "2024-09-06T13:13:30.533+02:00",
        "2024-09-06T08:13:30.533-03:00",
        "2024-09-06T13:13:30.533+0200",
    ],
)
def test_only_skus_updated_after_the_instant_are_answered(get: Callable[..., Any], save: Save, text: str) -> None:
    save("ACME", {"skuId": "at"}, now=NOW)
    save("ACME", {"skuId": "after"}, now=NOW + timedelta(milliseconds=1))
    assert ids(get(f"lastUpdateDateFrom={text}")) == ["after"]


def test_a_shown_date_sent_back_leaves_its_sku_out(get: Callable[..., Any], save: Save) -> None:
    save("ACME", {"skuId": "1"})
    (sku,) = get()["skus"]
    assert get(f"lastUpdateDateFrom={sku['lastUpdateDate']}") == {"skus": []}


@pytest.mark.parametrize("text", ["yesterday", "2024-09-06", "2024-09-06T11:13:30", "%20", "%00", "31337", "%FF"])
def test_a_bad_instant_is_a_400_that_names_the_field(get: Callable[..., Any], text: str) -> None:
    body = get(f"lastUpdateDateFrom={text}", 400)
    reason = "must be an ISO 8601 date and time with a time zone, such as 2023-10-27T19:10:00Z"
    assert body == {
        "message": f"lastUpdateDateFrom {reason}",
        "code": "invalid_input",
        "errors": [{"path": "lastUpdateDateFrom", "message": reason}],
    }


def refused(get: Callable[..., Any], query: str, **options: Any) -> None:
    reason = "is not one that this list gave. Begin again without it."
    assert get(query, 400, **options) == {
        "message": f"nextPageToken {reason}",
        "code": "invalid_page_token",
        "errors": [{"path": "nextPageToken", "message": reason}],
    }


@pytest.mark.parametrize("given", ["nonsense", "%00", "%FF", "ä", "MSA", "=", "%20", "x" * 5_000, "..%2F..%2Fetc"])
def test_a_token_that_was_not_given_is_refused(get: Callable[..., Any], given: str) -> None:
    refused(get, f"nextPageToken={given}")


def test_a_changed_token_is_refused(get: Callable[..., Any], save: Save) -> None:
    save("ACME", *numbered(4))
    token = get()["nextPageToken"]
    assert ids(get(f"nextPageToken={token}")) == ["3"]
    for changed in (token[:-1], token + "A", token + "%3D", token[1:], token[::-1], token.swapcase()):
        refused(get, f"nextPageToken={changed}")


def test_another_merchants_token_is_refused(get: Callable[..., Any], save: Save, other_bearer: dict[str, str]) -> None:
    for merchant_id in ("ACME", "OTHER"):
        save(merchant_id, *numbered(4))
    token = get(headers=other_bearer)["nextPageToken"]
    refused(get, f"nextPageToken={token}")
    assert ids(get(f"nextPageToken={token}", headers=other_bearer)) == ["3"]


def test_a_merchant_sees_its_own_skus_alone(get: Callable[..., Any], save: Save, other_bearer: dict[str, str]) -> None:
    save("ACME", {"skuId": "1", "name": "acme's"})
    save("OTHER", {"skuId": "1", "name": "other's"})
    assert [(sku["id"], sku["name"]) for sku in get()["skus"]] == [("ACME-1", "acme's")]
    assert [(sku["id"], sku["name"]) for sku in get(headers=other_bearer)["skus"]] == [("OTHER-1", "other's")]
    assert get("merchantId=OTHER&merchant_id=OTHER") == get()


def test_a_token_with_another_instant_is_refused_and_with_its_own_goes_on(get: Callable[..., Any], save: Save) -> None:
    save("ACME", *numbered(4), now=NOW)
    before = rfc3339(NOW - timedelta(days=1))
    token = get(f"lastUpdateDateFrom={before}")["nextPageToken"]
    assert ids(get(f"nextPageToken={token}&lastUpdateDateFrom={before}")) == ["3"]
    assert ids(get(f"nextPageToken={token}")) == ["3"]
    refused(get, f"nextPageToken={token}&lastUpdateDateFrom={rfc3339(NOW - timedelta(days=2))}")


def test_tokens_need_no_encoding_in_a_query(get: Callable[..., Any], save: Save) -> None:
    save("ACME", *numbered(4))
    token = get()["nextPageToken"]
    assert token.replace("-", "").replace("_", "").isalnum()
    assert token.isascii()


def test_without_a_token_of_the_merchant_nothing_is_answered(
    client: TestClient, save: Save, bearer: dict[str, str]
) -> None:
    save("ACME", *numbered(1))
    assert client.get(PATH).status_code == 401
    assert client.get(PATH, headers={"Authorization": "Bearer x"}).status_code == 401
    assert client.get(PATH, headers=bearer).status_code == 200


Post = Callable[..., Any]


@pytest.fixture
def post(client: TestClient, bearer: dict[str, str]) -> Post:
    """Send SKUs of ACME's; the headers are beside the token's."""

    def send(*skus: dict[str, Any], status: int = 200, **headers: str) -> Any:
        given = bearer | {name.replace("_", "-"): value for name, value in headers.items()}
        answer = client.post(PATH, json=list(skus), headers=given)
        assert answer.status_code == status, answer.text
        return answer.json()

    return send


def sku(sku_id: str, **others: Any) -> dict[str, Any]:
    return {"skuId": sku_id, "productId": "p", "name": "n"} | others


class TestUpsert:
    def test_the_published_example_is_answered_with_what_was_sent_and_the_documented_fields(
        self, client: TestClient, bearer: dict[str, str], application: Application, example: dict[str, Any]
    ) -> None:
        application.api.state.clock = lambda: NOW
        answer = client.post(PATH, json=[example], headers=bearer).json()
        echoed = {name: value for name, value in example.items() if not name.startswith("localized")}
        assert answer == [
            echoed
            | {
                "id": "ACME-1234567890", "merchantId": "ACME", "merchantProductId": "ACME-1234567",
                "localizationStatus": "PENDING_LOCALIZATION", "salesChannelStatus": {},
                "lastUpdateDate": "2024-09-06T11:13:30.533Z",
            }
        ]  # fmt: skip
        assert client.get(PATH, headers=bearer).json() == {"skus": answer}
        assert client.get("/ext/merchant/products/1234567", headers=bearer).json() == answer

    def test_the_body_is_bound_to_be_json_and_strictly_so(self, client: TestClient, bearer: dict[str, str]) -> None:
        body = b'[{"skuId":"1","productId":"p","name":"n","name":"m"}]'
        json_type = bearer | {"Content-Type": "application/json; charset=utf-8"}
        twice = client.post(PATH, content=body, headers=json_type)
        assert (twice.status_code, twice.json()) == (
            400,
            {
                "message": "The body is not acceptable JSON.",
                "code": "invalid_input",
                "errors": [{"path": "", "message": "a member is named twice in an object"}],
            },
        )
        for media_type in ("text/plain", "application/jsonx", "application/x-www-form-urlencoded", ""):
            answer = client.post(PATH, content=body, headers=bearer | {"Content-Type": media_type})
            assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
        assert client.post(PATH, content=b" " * (4 * 1024 * 1024 + 1), headers=json_type).status_code == 413
        assert client.post(PATH, content=b"", headers=json_type).status_code == 400

    def test_all_faults_of_a_body_are_in_one_answer_and_nothing_is_kept(
        self, post: Post, get: Callable[..., Any]
    ) -> None:
        post(sku("1"))
        body = post(
            sku("1", ean="0799439112765", name="changed"), sku("2", weight=0, images=["http://31337.test"]), status=400
        )
        assert body["code"] == "invalid_input"
        assert [fault["path"] for fault in body["errors"]] == ["0.ean", "1.weight", "1.images.0"]
        assert "31337" not in str(body)
        assert [(each["skuId"], each["name"]) for each in get()["skus"]] == [("1", "n")]

    def test_digits_are_kept_beyond_what_a_float_keeps(
        self, client: TestClient, bearer: dict[str, str], database: Database
    ) -> None:
        body = b'[{"skuId":"1","productId":"p","name":"n","weight":123456789.123456}]'
        headers = bearer | {"Content-Type": "application/json"}
        assert b'"weight":123456789.123456,' in client.post(PATH, content=body, headers=headers).content
        with database.read() as session:
            (kept,) = service.list_product_skus(session, "ACME", "p")
        assert str(kept.weight_kg) == "123456789.123456"

    def test_a_caller_that_goes_away_meanwhile_is_no_bug_of_ours(
        self, client: TestClient, application: Application, bearer: dict[str, str]
    ) -> None:
        del client  # started
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"authorization", bearer["Authorization"].encode()), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "query_string": b"",
                 "headers": headers, "client": ("127.0.0.1", 1), "scheme": "http", "http_version": "1.1"}  # fmt: skip
        anyio.run(application, scope, receive, send)
        assert sent[0]["status"] == 400


class TestIdempotencyKey:
    def test_a_request_sent_again_with_its_key_is_answered_as_the_first_time(
        self, post: Post, get: Callable[..., Any], application: Application
    ) -> None:
        application.api.state.clock = lambda: NOW
        first = post(sku("1"), Idempotency_Key="k")
        post(sku("1", name="another's"), sku("2"))
        assert post(sku("1"), Idempotency_Key="k") == first
        assert ids(get()) == ["1", "2"]  # it was not done again
        assert post(sku("1"))[0]["lastUpdateDate"] != first[0]["lastUpdateDate"]

    def test_the_key_with_another_body_is_a_conflict(self, post: Post, get: Callable[..., Any]) -> None:
        post(sku("1"), Idempotency_Key="k")
        body = post(sku("2"), Idempotency_Key="k", status=409)
        assert body["code"] == "idempotency_key_reused"
        assert ids(get()) == ["1"]

    def test_a_key_is_forgotten_after_a_day(self, post: Post, application: Application, database: Database) -> None:
        for hours, status in ((0, 200), (23, 409), (24, 200)):
            application.api.state.clock = lambda hours=hours: NOW + timedelta(hours=hours)
            post(sku(str(hours)), Idempotency_Key="k", status=status)
        with database.read() as session:
            assert len(session.scalars(select(IdempotentAnswer)).all()) == 1

    def test_a_refused_request_leaves_its_key_free(self, post: Post) -> None:
        post(sku("1", weight=0), Idempotency_Key="k", status=400)
        post(sku("1"), Idempotency_Key="k")

    def test_merchants_have_keys_of_their_own(
        self, client: TestClient, post: Post, other_bearer: dict[str, str]
    ) -> None:
        post(sku("1"), Idempotency_Key="k")
        answer = client.post(PATH, json=[sku("2")], headers=other_bearer | {"Idempotency-Key": "k"})
        assert [each["id"] for each in answer.json()] == ["OTHER-2"]

    @pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\t"])
    def test_a_key_of_another_form_is_refused_with_the_headers_name(self, post: Post, key: str) -> None:
        body = post(sku("1"), Idempotency_Key=key, status=400)
        assert [fault["path"] for fault in body["errors"]] == ["Idempotency-Key"]

    def test_two_keys_are_refused(self, client: TestClient, bearer: dict[str, str]) -> None:
        headers = [*bearer.items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
        answer = client.post(PATH, json=[sku("1")], headers=headers)
        assert (answer.status_code, answer.json()["errors"]) == (
            400, [{"path": "Idempotency-Key", "message": "must not be sent twice"}],
        )  # fmt: skip

    def test_of_requests_at_once_with_one_key_one_is_done(self, client: TestClient, bearer: dict[str, str]) -> None:
        def send(_: int) -> Any:
            headers = bearer | {"Idempotency-Key": "k"}
            return client.post(PATH, json=[sku("1")], headers=headers)

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(send, range(8)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1


class TestProduct:
    def test_a_product_is_a_bare_array_in_the_order_of_registration(
        self, post: Post, client: TestClient, bearer: dict[str, str]
    ) -> None:
        answer = post(sku("b"), sku("a", main=True))
        got = client.get("/ext/merchant/products/p", headers=bearer)
        assert got.json() == answer
        assert got.headers["content-type"] == "application/json"

    @pytest.mark.parametrize("product_id", ["q", "%00", "%FF", "p%20", "x" * 5_000, "OTHER-p"])
    def test_a_product_of_nobody_and_of_another_merchant_are_not_found_alike(
        self, client: TestClient, bearer: dict[str, str], other_bearer: dict[str, str], product_id: str
    ) -> None:
        client.post(PATH, json=[sku("1", productId="q")], headers=other_bearer)
        client.post(PATH, json=[sku("1")], headers=bearer)
        answer = client.get(f"/ext/merchant/products/{product_id}", headers=bearer)
        assert (answer.status_code, answer.json()) == (
            404, {"message": "There is no product of this id.", "code": "product_not_found"},
        )  # fmt: skip

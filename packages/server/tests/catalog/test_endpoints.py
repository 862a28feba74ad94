from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from ecross_server.kit.clock import rfc3339

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

"""`skus.list`: pages are read when they are needed, and each once."""

import json
from datetime import date, datetime, timedelta, timezone
from typing import Any

import httpx2
import pytest

from ecross.errors import ConfigurationError, NotFoundError, ServerError

PATH = "/ext/merchant/skus"


def page(*numbers: int, following: str | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {"skus": [{"id": f"ACME-{number}", "skuId": str(number)} for number in numbers]}
    return told if following is None else told | {"nextPageToken": following}


def queries(server: Any) -> list[dict[str, str]]:
    return [dict(httpx2.QueryParams(request.path.partition("?")[2])) for request in server.requests_to(PATH)]


@pytest.fixture
def three_pages(server: Any, answer: Any) -> None:
    server.script(
        PATH, answer(body=page(1, 2, following="a+/=")), answer(body=page(following="b")), answer(body=page(3))
    )


@pytest.mark.usefixtures("three_pages")
def test_all_pages_are_read_in_turn(server: Any, caller: Any) -> None:
    assert [sku.sku_id for sku in caller.skus()] == ["1", "2", "3"]
    assert queries(server) == [{}, {"nextPageToken": "a+/="}, {"nextPageToken": "b"}]
    assert {request.method for request in server.requests_to(PATH)} == {"GET"}


@pytest.mark.usefixtures("three_pages")
def test_pages_are_given_whole(caller: Any) -> None:
    pages = caller.pages()

    assert [[sku.sku_id for sku in one.items] for one in pages] == [["1", "2"], [], ["3"]]
    assert [one.next_page_token for one in pages] == ["a+/=", "b", None]


@pytest.mark.usefixtures("three_pages")
def test_a_page_is_read_when_it_is_needed(server: Any, caller: Any) -> None:
    assert caller.first_sku().sku_id == "1"
    assert len(server.requests_to(PATH)) == 1


def test_nothing_is_asked_for_before_the_first_is_read(server: Any, caller: Any) -> None:
    caller.client.skus.list(last_update_date_from="2023-10-27T19:10:00Z").pages()
    assert server.requests == []


def test_a_list_can_be_gone_through_again(server: Any, make_client: Any, answer: Any) -> None:
    server.script(PATH, answer(body=page(1)), answer(body=page(1, 2)))
    skus = make_client().skus.list()

    assert [len(list(skus)) for _ in range(2)] == [1, 2]


def test_reading_goes_on_where_a_page_token_leads(server: Any, caller: Any, answer: Any) -> None:
    server.script(PATH, answer(body=page(3)))

    assert [len(one.items) for one in caller.pages(page_token="b")] == [1]
    assert queries(server) == [{"nextPageToken": "b"}]


@pytest.mark.parametrize("tokens", [["a", "a"], ["a", "b", "a"], ["a", "b", "b"]])
def test_a_circle_is_not_followed(tokens: list[str], server: Any, caller: Any, answer: Any) -> None:
    server.script(PATH, *[answer(body=page(1, following=token)) for token in tokens])
    with pytest.raises(ServerError, match="leads in a circle"):
        caller.skus()

    assert len(server.requests_to(PATH)) == len(tokens)


def test_a_circle_to_where_reading_began_is_not_followed(server: Any, caller: Any, answer: Any) -> None:
    server.script(PATH, answer(body=page(1, following="b")))
    with pytest.raises(ServerError, match="leads in a circle"):
        caller.pages(page_token="b")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (datetime(2023, 10, 27, 19, 10, tzinfo=timezone(timedelta(hours=2))), "2023-10-27T17:10:00Z"),
        ("2023-08-07T19:48:04+00:00", "2023-08-07T19:48:04+00:00"),
    ],
)
def test_the_moment_is_told_for_every_page(value: Any, told: str, server: Any, caller: Any, answer: Any) -> None:
    server.script(PATH, answer(body=page(1, following="a")), answer(body=page(2)))
    caller.skus(last_update_date_from=value)

    assert queries(server) == [
        {"lastUpdateDateFrom": told}, {"lastUpdateDateFrom": told, "nextPageToken": "a"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        datetime(2023, 10, 27),  # noqa: DTZ001 - what is refused
        date(2023, 10, 27),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
        "2023-10-27T19:10:00",
        "2023-10-27",
        "yesterday",
        "",
        1698433734,
    ],
)
def test_a_moment_without_a_zone_is_refused_at_once(value: Any, server: Any, caller: Any) -> None:
    with pytest.raises(ConfigurationError, match="last_update_date_from must be a datetime with a time zone") as caught:
        caller.client.skus.list(last_update_date_from=value)

    assert caught.value.__context__ is None
    assert server.requests == []


def test_an_error_in_the_middle_comes_after_what_was_read(server: Any, make_client: Any, answer: Any) -> None:
    server.script(PATH, answer(body=page(1, following="a")), answer(404, {"message": "Gone."}))
    skus = iter(make_client().skus.list())

    assert next(skus).sku_id == "1"
    with pytest.raises(NotFoundError, match=r"Gone\."):
        next(skus)


def test_an_answer_of_a_wrong_form_names_the_request(server: Any, caller: Any, answer: Any) -> None:
    server.script(PATH, answer(body={"items": []}))
    with pytest.raises(ServerError, match="skus is missing") as caught:
        caller.skus()

    (request,) = server.requests_to(PATH)
    assert caught.value.request_id == request.headers["X-Request-Id"]


def test_a_list_survives_a_token_that_ends_between_two_pages(server: Any, caller: Any, answer: Any) -> None:
    server.script(PATH, answer(body=page(1, following="a")), answer(401), answer(503), answer(body=page(2)))

    assert [sku.sku_id for sku in caller.skus()] == ["1", "2"]
    assert server.tokens_asked == 2


def test_params_of_a_list_are_no_part_of_its_body(server: Any, caller: Any, answer: Any) -> None:
    server.script(PATH, answer(body=page()))
    caller.skus()

    (request,) = server.requests_to(PATH)
    assert (request.body, json.dumps(queries(server))) == (b"", "[{}]")

"""The list of SKUs: whole, as it comes, and only what was asked for."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ecross.cli.output import exact_json
from ecross.testing import Answer, FakeServer, Merchant, server_error

Cli = Callable[..., Any]
SKUS = "/ext/merchant/skus"


class Screen(io.StringIO):
    """A terminal to write on."""

    def isatty(self) -> bool:
        return True


def lines(ended: Any) -> list[dict[str, Any]]:
    assert (ended.code, ended.err) == (0, "")
    return [json.loads(line) for line in ended.out.splitlines()]


def test_all_pages_are_one_list(cli: Cli, told: Merchant, ecross_server: FakeServer) -> None:
    ecross_server.page_size = 2
    told.put_numbered_skus(5)
    assert lines(cli("skus", "list", "--json")) == told.skus
    assert ecross_server.count(SKUS) == 3
    ended = cli("skus", "list")
    assert [line.split()[0] for line in ended.out.splitlines()] == ["SKU", *(f"SKU-{n}" for n in range(1, 6))]
    assert ended.err == ""


@pytest.mark.parametrize(("limit", "requests"), [(1, 1), (2, 1), (3, 2), (9, 3)])
def test_a_limit_asks_for_no_page_that_it_does_not_need(
    cli: Cli, told: Merchant, ecross_server: FakeServer, limit: int, requests: int
) -> None:
    ecross_server.page_size = 2
    told.put_numbered_skus(5)
    assert lines(cli("skus", "list", "--json", "--limit", str(limit))) == told.skus[:limit]
    assert ecross_server.count(SKUS) == requests


def test_only_what_was_updated_since(cli: Cli, told: Merchant) -> None:
    told.put_sku({"skuId": "old", "lastUpdateDate": "2026-01-01T00:00:00Z"})
    told.put_sku({"skuId": "new", "lastUpdateDate": "2026-01-03T00:00:00Z"})
    ended = cli("skus", "list", "--json", "--updated-since", "2026-01-02T00:00:00-03:00")
    assert [sku["skuId"] for sku in lines(ended)] == ["new"]


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("time", ["yesterday", "2026-01-02", "2026-01-02T00:00:00"])
def test_a_time_that_could_be_any_hour_is_refused(cli: Cli, ecross_server: FakeServer, time: str) -> None:
    ended = cli("skus", "list", "--updated-since", time)
    assert (ended.code, ended.out) == (2, "")
    assert "with a time zone" in ended.err
    assert ecross_server.requests == []


@pytest.mark.usefixtures("told")
def test_an_empty_list_is_a_sentence_for_people_and_nothing_for_programs(cli: Cli) -> None:
    assert cli("skus", "list").out == "There are no SKUs.\n"
    assert cli("skus", "list", "--json").out == ""


def test_what_came_before_the_list_broke_off_is_printed(cli: Cli, told: Merchant, ecross_server: FakeServer) -> None:
    ecross_server.page_size = 2
    told.put_numbered_skus(3)
    first = Answer(200, {"skus": told.skus[:2], "nextPageToken": "next"})
    ecross_server.script(SKUS, first, Answer(403, {"message": "No more.", "code": "enough"}))
    ended = cli("skus", "list", "--json")
    assert ended.code == 6
    assert len(ended.out.splitlines()) == 2
    assert json.loads(ended.err)["error"]["code"] == "enough"


def test_numbers_keep_all_their_digits(cli: Cli, told: Merchant, ecross_server: FakeServer) -> None:
    content = b'{"skus": [{"id": "1", "skuId": "x", "weight": 0.10, "x": [12345678901234567.89, 1E+2, true, null]}]}'
    ecross_server.script(SKUS, Answer(200, content=content))
    assert cli("skus", "list", "--json").out == (
        '{"id": "1", "skuId": "x", "weight": 0.10, "x": [12345678901234567.89, 1E+2, true, null]}\n'
    )
    assert told.skus == []


@pytest.mark.usefixtures("told")
def test_a_sku_that_is_nested_too_deeply_is_the_servers_fault(cli: Cli, ecross_server: FakeServer) -> None:
    depth = 480
    content = b'{"skus": [{"id": "1", "skuId": "x", "x": %b1%b}]}' % (b'{"x":' * depth, b"}" * depth)
    ecross_server.script(SKUS, Answer(200, content=content))
    ended = cli("skus", "list", "--json")
    assert ended.code == 6
    assert "nested too deeply" in ended.err


@pytest.mark.usefixtures("told")
def test_a_hostile_name_cannot_move_the_cursor(cli: Cli, ecross_server: FakeServer) -> None:
    ecross_server.script(SKUS, *[Answer(200, {"skus": [{"id": "1", "skuId": "x", "name": "a\x1b[2J\u202e\n"}]})] * 2)
    assert "a\\x1b[2J\\u202e\\n" in cli("skus", "list").out
    assert cli("skus", "list", "--json").out.isascii()


def test_a_person_sees_how_far_it_is_when_the_list_goes_elsewhere(
    cli: Cli, told: Merchant, ecross_server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ecross_server.page_size = 2
    told.put_numbered_skus(3)
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    assert len(cli("skus", "list", "--json").out.splitlines()) == 3
    erase = "\r\x1b[K"
    assert screen.getvalue() == f"{erase}2 SKUs ...{erase}3 SKUs ...{erase}"
    monkeypatch.setattr(sys, "stdout", Screen())
    cli("skus", "list", "--json")
    assert screen.getvalue().count("SKUs") == 2


@pytest.mark.parametrize("no_color", ["", "1"])
def test_on_a_terminal_the_header_is_bold_unless_no_color_is_set(
    cli: Cli, told: Merchant, monkeypatch: pytest.MonkeyPatch, no_color: str
) -> None:
    told.put_numbered_skus(1)
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", no_color)
    cli("skus", "list")
    assert screen.getvalue().startswith("SKU    PRODUCT" if no_color else "\x1b[1mSKU    PRODUCT")


def test_on_a_narrow_terminal_each_sku_is_a_list_of_its_values(
    cli: Cli, told: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    told.put_numbered_skus(2)
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "40")
    cli("skus", "list")
    first, second = screen.getvalue().removesuffix("\n\n").split("\n\n")
    assert first.startswith("  sku           SKU-1\n  product       SKU-1\n")
    assert "SKU-2" in second


@pytest.mark.usefixtures("told")
def test_a_server_that_fails_is_tried_again_and_then_told(cli: Cli, ecross_server: FakeServer) -> None:
    ecross_server.script(SKUS, server_error(500))
    ended = cli("skus", "list", "--json")
    assert (ended.code, ended.error["code"], ended.error["status"]) == (6, "internal_error", 500)


def test_a_tuple_is_a_list() -> None:
    assert exact_json({"a": (1, "ä")}) == '{"a": [1, "\\u00e4"]}'

"""What pages are made of, by itself: files for browsers, forms, charts."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ecross_server.console import assets, charts
from ecross_server.console.assets import asset_path, list_assets
from ecross_server.console.errors import NameNotTypedError, UnreadableFormError
from ecross_server.console.forms import faults_of, read_form, require_typed, terms_of
from ecross_server.kit.errors import ConflictError, InvalidInputError
from ecross_server.merchants.directory import HourlyUse

FORM = "application/x-www-form-urlencoded"
HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
"""The SHA-256 of dist/htmx.min.js of htmx.org 2.0.11, as it was published."""

BASE = "https://api.example.com"
HOUR = 490_000


class TestAssets:
    def test_htmx_is_the_file_that_was_published(self) -> None:
        folder = Path(assets.__file__).parent / "static"
        assert hashlib.sha256((folder / "htmx.js").read_bytes()).hexdigest() == HTMX
        assert "2.0.11" in (folder / "htmx.LICENSE.txt").read_text()
        assert 'version:"2.0.11"' in (folder / "htmx.js").read_text()

    def test_names_change_with_the_content(self) -> None:
        name = asset_path("htmx.js").rpartition("/")[2]
        assert name == f"htmx.{HTMX[:16]}.js"
        assert {each.media_type for each in list_assets().values()} == {"text/css", "text/javascript", "image/svg+xml"}

    def test_the_style_sheet_asks_for_nothing_else(self) -> None:
        text = (Path(assets.__file__).parent / "static" / "console.css").read_text()
        assert "url(" not in text
        assert "@import" not in text
        assert "prefers-color-scheme: dark" in text


class TestForms:
    def test_fields_are_read_once_each(self) -> None:
        assert read_form(FORM, b"id=ACME&name=A+%26+B&label=") == {"id": "ACME", "name": "A & B", "label": ""}

    @pytest.mark.parametrize(
        ("media_type", "body"),
        [
            ("application/json", b"{}"), ("text/plain", b"a=1"), ("multipart/form-data", b"a=1"), (FORM, b"a=1&a=2"),
            (FORM, b"a=%ff"), (FORM, b"a=%00"), (FORM, b"\xff=1"), (FORM, b"&".join(b"a%d=1" % n for n in range(41))),
            (FORM, b"a=" + b"x" * 16_384),
        ],
    )  # fmt: skip
    def test_what_is_no_form_of_ours_is_refused(self, media_type: str, body: bytes) -> None:
        with pytest.raises(UnreadableFormError):
            read_form(media_type, body)

    def test_the_terms_of_a_link_are_read_as_the_command_has_them(self) -> None:
        plain = terms_of({}, BASE)
        assert (plain.lasts, plain.with_code, plain.label, plain.secret_lasts) == (timedelta(days=3), False, None, None)
        full = terms_of({"hand-over-expires-in": "7d", "code": "yes", "label": " ERP ", "expires-in": "90d"}, BASE)
        assert (full.lasts, full.with_code, full.label, full.secret_lasts) == (
            timedelta(days=7), True, "ERP", timedelta(days=90),
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("form", "field"),
        [
            ({"hand-over-expires-in": "31d"}, "hand-over-expires-in"), ({"expires-in": "soon"}, "expires-in"),
            ({"hand-over-expires-in": "x"}, "hand-over-expires-in"),
        ],
    )  # fmt: skip
    def test_a_wrong_field_is_named(self, form: Any, field: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            terms_of(form, BASE)
        assert set(faults_of(caught.value)) == {field}

    def test_the_name_must_be_typed_exactly(self) -> None:
        require_typed({"confirm": " ACME "}, "ACME")
        for typed in ("", "acme", "ACM", "ACMEE"):
            with pytest.raises(NameNotTypedError) as caught:
                require_typed({"confirm": typed}, "ACME")
            assert set(faults_of(caught.value)) == {"confirm"}
        assert faults_of(ConflictError("no")) == {}


class TestCharts:
    def test_a_week_becomes_stacked_columns_and_rows(self) -> None:
        uses = [
            HourlyUse("c", "old", HOUR, 3), HourlyUse("c", "new", HOUR, 1), HourlyUse("c", "new", HOUR + 167, 4),
            HourlyUse("c", "other", HOUR, 9), HourlyUse("c", "old", HOUR + 168, 9),
        ]  # fmt: skip
        chart = charts.draw_uses(uses, [("old", "ERP"), ("new", "ERP 2")], HOUR)
        assert [(row.hour.timestamp() // 3600, row.tokens) for row in chart.rows] == [
            (HOUR, [3, 1]), (HOUR + 167, [0, 4]),
        ]  # fmt: skip
        assert (chart.total, [(each.name, each.color, each.tokens) for each in chart.series]) == (
            8, [("ERP", 0, 3), ("ERP 2", 1, 5)],
        )  # fmt: skip
        below, above, last = chart.bars
        assert below.x == above.x == charts.LEFT
        assert above.y + above.height == pytest.approx(below.y)
        assert below.y + below.height == pytest.approx(charts.HEIGHT - charts.BOTTOM)
        assert last.x + last.width < charts.WIDTH - charts.RIGHT
        assert last.y == charts.TOP, "the highest column reaches the highest level"
        assert [level.text for level in chart.levels] == ["0", "2", "4"]
        assert 7 <= len(chart.days) <= 8
        assert all(re.fullmatch(r"|[A-Z][a-z]{2} \d{1,2}", day.text) for day in chart.days)

    def test_the_last_day_has_no_name_where_there_is_no_room(self) -> None:
        days = [charts.draw_uses([], [], HOUR - HOUR % 24 - ahead).days[-1].text for ahead in (12, 13)]
        assert days[0]
        assert not days[1]

    def test_a_merchants_columns_are_of_its_clients(self) -> None:
        chart = charts.draw_uses([HourlyUse("a", "s1", HOUR, 2), HourlyUse("a", "s2", HOUR, 3)], [("a", "a")], HOUR)
        assert chart.rows[0].tokens == [5]

    def test_without_uses_there_is_nothing_to_draw(self) -> None:
        chart = charts.draw_uses([], [], HOUR)
        assert (chart.total, chart.busiest, chart.bars) == (0, None, [])

    @pytest.mark.parametrize(
        ("highest", "shown"),
        [(0, 2), (2, 2), (3, 4), (5, 10), (10, 10), (11, 20), (99, 100), (1000, 1000), (1001, 2000)],
    )
    def test_levels_are_numbers_that_people_like(self, highest: int, shown: int) -> None:
        assert charts._nice(highest) == shown

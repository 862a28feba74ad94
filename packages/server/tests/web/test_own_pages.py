"""Whose page a form comes from, and what every page of ours has."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from ecross_server.web.own_pages import comes_from_its_own_page, make_pages, page_headers

OURS = "https://api.example.com"


@pytest.mark.parametrize(
    ("site", "origin", "host"),
    [
        ("same-origin", "null", "x"), ("same-origin", None, "x"), ("same-origin", OURS, "x"),
        (None, "HTTPS://API.example.com", "x"), (None, "http://127.0.0.1:8001", "127.0.0.1:8001"),
    ],
)  # fmt: skip
def test_its_own_page_is_heeded(site: str | None, origin: str | None, host: str | None) -> None:
    assert comes_from_its_own_page(site, origin, host, OURS)


@pytest.mark.parametrize(
    ("site", "origin", "host"),
    [
        (None, None, "api.example.com"), (None, "null", "api.example.com"), ("cross-site", OURS, "api.example.com"),
        ("same-site", OURS, "x"), ("none", None, "x"), ("same-origin", "https://evil.example", "x"), ("", OURS, "x"),
        (None, "https://evil.example", "api.example.com"), (None, "ftp://host", "host"), (None, "http://host", None),
    ],
)  # fmt: skip
def test_any_other_is_not(site: str | None, origin: str | None, host: str | None) -> None:
    assert not comes_from_its_own_page(site, origin, host, OURS)


def test_where_no_address_of_ours_is_known_the_host_decides() -> None:
    assert comes_from_its_own_page(None, "http://127.0.0.1:8001", "127.0.0.1:8001")
    assert not comes_from_its_own_page(None, "http://evil.example", "127.0.0.1:8001")
    assert not comes_from_its_own_page(None, "://", "127.0.0.1:8001")


def test_every_page_is_kept_to_itself() -> None:
    headers = page_headers("default-src 'none'")
    assert headers["Content-Security-Policy"] == "default-src 'none'"
    assert {headers["Cache-Control"], headers["Referrer-Policy"]} == {"no-store", "no-referrer"}


def test_what_is_put_into_a_page_is_text_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>{{ name }} {{ at | instant }}</p>")
    page = make_pages(tmp_path).get_template("page.html")
    at = datetime(2026, 11, 26, 3, 4, 5, tzinfo=UTC)
    assert page.render(name="<b>&", at=at) == "<p>&lt;b&gt;&amp; 2026-11-26 03:04:05 UTC</p>"
    with pytest.raises(UndefinedError):
        page.render(at=at)

"""What all pages of ours have in common: their headers, whose forms are heeded, how they are made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from jinja2 import Environment

HTML: Final = "text/html"
FORM: Final = "application/x-www-form-urlencoded"


def page_headers(content_security_policy: str) -> Mapping[str, str]:
    """Headers of a page that is nobody else's business: not kept, not framed, not told of, not found by searching."""
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": content_security_policy,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Robots-Tag": "noindex, nofollow, noarchive",
    }


def comes_from_its_own_page(
    site: str | None, origin: str | None, host: str | None, public_url: str | None = None
) -> bool:
    """Whether a request says that a page of this server has sent it: by `Sec-Fetch-Site`, `Origin` and `Host`.

    A page that tells no referrer has `null` for its origin, as has a stranger's in a sandbox. So `null` counts only
    where the browser itself says that the request has not left its site.
    """
    if site is not None and site != "same-origin":
        return False
    if origin is None or origin == "null":
        return site is not None
    scheme, _, authority = origin.lower().partition("://")
    if public_url is not None:
        ours = urlsplit(public_url)
        if (scheme, authority) == (ours.scheme.lower(), ours.netloc.lower()):
            return True
    return scheme in {"http", "https"} and host is not None and authority == host.lower()


def make_pages(folder: Path) -> Environment:
    """The templates of a folder. Whatever is put into them is text, and what they ask for must be there."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - most processes show no page

    pages = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)
    pages.filters["instant"] = shown_instant
    return pages


def shown_instant(instant: datetime) -> str:
    """An instant for people, to the second, with its zone."""
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"

"""All pages of the console in one router, and the files that they need."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path
from starlette.responses import RedirectResponse, Response

from ecross_server.console.assets import PATH as ASSETS
from ecross_server.console.assets import list_assets
from ecross_server.console.desk import HEADERS, HOME, PATH, SEE_OTHER, CurrentVisit, PageRoute, Viewer
from ecross_server.console.endpoints import (
    approvals,
    clients,
    hand_overs,
    installation,
    limits,
    merchants,
    operators,
    passkeys,
    sign_in,
    trail,
)
from ecross_server.console.errors import PageNotFoundError

KEPT_FOR_GOOD: Final = "public, max-age=31536000, immutable"

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get(ASSETS + "{name}", response_model=None)
def get_asset(*, name: Annotated[str, Path()], visit: CurrentVisit) -> Response:
    """A style sheet or a script, for everybody: its name changes with its content."""
    del visit
    asset = list_assets().get(name)
    if asset is None:
        raise PageNotFoundError
    headers = {
        "Cache-Control": KEPT_FOR_GOOD,
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(asset.content, headers=headers, media_type=asset.media_type)


for subject in (sign_in, passkeys, merchants, clients, limits, approvals, hand_overs, trail, installation, operators):
    router.include_router(subject.router)


@router.get(PATH, response_model=None)
def get_console() -> Response:
    """On to the first page."""
    return RedirectResponse(HOME, SEE_OTHER, HEADERS)


@router.get(PATH + "/{rest:path}", response_model=None)
def get_nothing(*, rest: str, visit: Viewer) -> Response:
    """There is nothing here; who is not signed in does not learn even that."""
    del rest, visit
    raise PageNotFoundError

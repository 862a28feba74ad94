"""Keys, peppers, and whether all is well."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from ecross_server.audit.service import recording_file_change
from ecross_server.auth.tokens import SigningKey, list_signing_keys, rotate_signing_keys
from ecross_server.console.desk import PATH, Owner, PageRoute, Viewer, Visit
from ecross_server.console.forms import require_typed
from ecross_server.kit.checks import Check
from ecross_server.kit.errors import DomainError
from ecross_server.merchants.service import PepperUse, list_peppers
from ecross_server.web.unit_of_work import CurrentDatabase

INSTALLATION: Final = f"{PATH}/installation"
ROTATE: Final = "keys.rotate"
TYPED: Final = "rotate"

router = APIRouter(route_class=PageRoute)


@router.get(INSTALLATION, response_model=None)
def get_installation(*, visit: Viewer, database: CurrentDatabase) -> Response:
    """What was looked at, and the lives of keys and peppers. What cannot be read is told of, and the rest shown."""
    return visit.page("installation", **_installation(visit, database))


@router.post(INSTALLATION + "/rotate-keys", response_model=None)
def post_rotate_keys(*, visit: Owner, database: CurrentDatabase) -> Response:
    """Sign with a new key. Where one has leaked all others are dropped, which ends every access token at once."""
    drop_old = "drop-old" in visit.form
    try:
        require_typed(visit.form, TYPED)
        with recording_file_change(database, visit.actor, ROTATE) as begin:
            rotate_signing_keys(
                visit.desk.signing_keys_file, now=visit.now, drop_old=drop_old,
                before=lambda key_id: begin(keyId=key_id, droppedOld=drop_old),
            )  # fmt: skip
    except DomainError as error:
        return visit.refusal("installation", error, **_installation(visit, database))
    return visit.redirect(INSTALLATION, "keys-dropped" if drop_old else "keys-rotated")


def _installation(visit: Visit, database: CurrentDatabase) -> dict[str, Any]:
    checks = list(visit.desk.check())
    keys: list[SigningKey] = []
    peppers: list[PepperUse] = []
    try:
        keys = list_signing_keys(visit.desk.signing_keys_file, now=visit.now)
        with database.read() as session:
            peppers = list_peppers(session, visit.desk.peppers_file, now=visit.now)
    except DomainError as error:
        checks.append(Check("files of keys", "failed", error.message, None))
    return {"checks": checks, "keys": keys, "peppers": peppers, "typed": TYPED}

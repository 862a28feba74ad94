"""The keys that sign access tokens; administration tokens hang on them."""

from __future__ import annotations

from fastapi import APIRouter

from ecross_server.admin.endpoints.access import CurrentOffice, Owner, Viewer, extra
from ecross_server.admin.schemas import RotateKeysAsked, SigningKeysOut
from ecross_server.audit.service import recording_file_change
from ecross_server.auth.schemas import SigningKeyOut
from ecross_server.auth.tokens import list_signing_keys, rotate_signing_keys
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.merchants.rules import parse_delay
from ecross_server.operators.rules import Role
from ecross_server.web.bodies import JsonBody, checked, parse_json
from ecross_server.web.unit_of_work import CurrentDatabase, CurrentTime

router = APIRouter(prefix="/admin", tags=["keys"])


@router.get("/keys", summary="List signing keys", openapi_extra=extra(Role.VIEWER))
def list_keys(*, acting: Viewer, office: CurrentOffice, now: CurrentTime) -> SigningKeysOut:
    """Their lives, without the keys themselves."""
    del acting
    keys = list_signing_keys(office.signing_keys_file, now=now)
    return SigningKeysOut(keys=[SigningKeyOut.of(key) for key in keys])


@router.post(
    "/keys/rotate", summary="Sign with a new key", openapi_extra=extra(Role.OWNER, RotateKeysAsked, {"after": "10m"})
)
def rotate_keys(
    *, acting: Owner, office: CurrentOffice, database: CurrentDatabase, now: CurrentTime, body: JsonBody
) -> SigningKeyOut:
    """Tokens of the older keys stay good until they expire; with `dropOld` every token ends at once, also the caller's.

    Changes the file of this machine. On another one it has to be brought there.
    """
    asked = checked(RotateKeysAsked, parse_json(body))
    delay = parse_delay("after", asked.after)
    if delay and asked.drop_old:
        reason = "cannot be combined with dropOld: the new key has to sign at once"
        raise InvalidInputError(f"after {reason}", (Fault("after", reason),))
    with recording_file_change(database, acting.by, "keys.rotate") as begin:
        key = rotate_signing_keys(
            office.signing_keys_file, now=now, starts_in=delay, drop_old=asked.drop_old,
            before=lambda key_id: begin(keyId=key_id, droppedOld=asked.drop_old),
        )  # fmt: skip
    return SigningKeyOut.of(key)

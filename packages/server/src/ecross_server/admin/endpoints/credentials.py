"""The clients of merchants and their secrets."""

from __future__ import annotations

from io import BytesIO
from typing import Annotated, Any

from fastapi import APIRouter, Path

from ecross_server.admin.endpoints.access import CurrentOffice, Representative, Viewer, extra
from ecross_server.admin.endpoints.links import terms_of
from ecross_server.admin.endpoints.merchants import MerchantId
from ecross_server.admin.schemas import (
    FindingOut,
    FindingsOut,
    ForceAsked,
    IssueAsked,
    LeakedAsked,
    RetireAsked,
    RotateAsked,
    SearchAsked,
)
from ecross_server.approvals.rules import Act
from ecross_server.approvals.service import for_client, for_merchant
from ecross_server.handover.schemas import OfferedCredentialOut
from ecross_server.handover.service import offer_new_client, offer_second_secret
from ecross_server.kit.clock import parse_instant, utc_now
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.merchants import rotation, service
from ecross_server.merchants.grants import get_client
from ecross_server.merchants.rules import parse_duration, sightings
from ecross_server.merchants.schemas import (
    ClientOut,
    CredentialListOut,
    IssuedCredentialOut,
    LeakReceiptOut,
    MeterOut,
    RetirementOut,
    RotatedCredentialOut,
)
from ecross_server.merchants.uses import read_meter
from ecross_server.operators.rules import Role
from ecross_server.web.bodies import JsonBody, checked, parse_json
from ecross_server.web.unit_of_work import CurrentDatabase, CurrentTime

router = APIRouter(prefix="/admin", tags=["credentials"])

ClientId = Annotated[str, Path(alias="clientId", description="The client's id.", examples=["acme-q7w4k2m5zt3xa"])]
SecretId = Annotated[str, Path(alias="secretId", description="The secret's id.", examples=["sec_q7w4k2m5zt3xa"])]


@router.get(
    "/merchants/{merchantId}/credentials", summary="List a merchant's credentials", openapi_extra=extra(Role.VIEWER)
)
def list_credentials(
    *, acting: Viewer, database: CurrentDatabase, now: CurrentTime, merchant_id: MerchantId
) -> CredentialListOut:
    """Its clients with their secrets' lives; nobody can read the secrets."""
    del acting
    with database.read() as session:
        clients = service.list_credentials(session, merchant_id)
        return CredentialListOut(credentials=[ClientOut.of(client, now) for client in clients])


@router.post(
    "/merchants/{merchantId}/credentials",
    summary="Issue a new client",
    status_code=201,
    openapi_extra=extra(Role.REPRESENTATIVE, IssueAsked, {"label": "ERP", "expiresIn": "90d"}),
    response_model=OfferedCredentialOut | IssuedCredentialOut,
)
def issue_credential(
    *,
    acting: Representative,
    office: CurrentOffice,
    database: CurrentDatabase,
    now: CurrentTime,
    merchant_id: MerchantId,
    body: JsonBody,
) -> Any:  # noqa: ANN401 - one of two forms
    """Its secret is handed over by a link that shows it once; or in clear, if that is asked for."""
    asked = checked(IssueAsked, parse_json(body))
    terms = terms_of(asked, office, label=asked.label, secret_expires_in=asked.expires_in)
    lasts = None if asked.expires_in is None else parse_duration("expiresIn", asked.expires_in)
    limits = asked.restrictions()
    with database.write() as session:
        office.require_approval(session, for_merchant(Act.ISSUE, merchant_id), now=now, by=acting.by)
        if terms is not None:
            offered = offer_new_client(
                session, merchant_id, terms, peppers=office.peppers(), now=now, by=acting.by, restrictions=limits
            )
            return OfferedCredentialOut.of_offer(offered, office.public_url)
        issued = service.issue_credential(
            session, merchant_id, peppers=office.peppers(), now=now, by=acting.by, label=asked.label, expires_in=lasts,
            restrictions=limits,
        )  # fmt: skip
        return IssuedCredentialOut.of(issued)


@router.get("/credentials/{clientId}", summary="Show a client", openapi_extra=extra(Role.VIEWER))
def get_credential(*, acting: Viewer, database: CurrentDatabase, now: CurrentTime, client_id: ClientId) -> ClientOut:
    """The client with its secrets' lives."""
    del acting
    with database.read() as session:
        return ClientOut.of(get_client(session, client_id), now)


@router.get("/credentials/{clientId}/meter", summary="How much is each secret used?", openapi_extra=extra(Role.VIEWER))
def get_meter(*, acting: Viewer, database: CurrentDatabase, now: CurrentTime, client_id: ClientId) -> MeterOut:
    """Tokens that were given for each secret in the last hour, day and week."""
    del acting
    with database.read() as session:
        client, uses = read_meter(session, client_id, now=now)
        return MeterOut.of(client, uses, now)


@router.post(
    "/credentials/{clientId}/rotate",
    summary="Make a second secret",
    status_code=201,
    openapi_extra=extra(Role.REPRESENTATIVE, RotateAsked, {"label": "ERP"}),
    response_model=OfferedCredentialOut | RotatedCredentialOut,
)
def rotate_credential(
    *,
    acting: Representative,
    office: CurrentOffice,
    database: CurrentDatabase,
    now: CurrentTime,
    client_id: ClientId,
    body: JsonBody,
) -> Any:  # noqa: ANN401 - one of two forms
    """Beside the old one, which works until it is retired, or until `overlap` or `retireOldAt` says."""
    asked = checked(RotateAsked, parse_json(body))
    _refuse_together(asked)
    terms = terms_of(asked, office, label=asked.label)
    with database.write() as session:
        office.require_approval(session, for_client(Act.ROTATE, client_id), now=now, by=acting.by)
        if terms is not None:
            offered = offer_second_secret(session, client_id, terms, peppers=office.peppers(), now=now, by=acting.by)
            return OfferedCredentialOut.of_offer(offered, office.public_url)
        rotated = rotation.rotate_credential(
            session, client_id, peppers=office.peppers(), now=now, by=acting.by, label=asked.label,
            overlap=None if asked.overlap is None else parse_duration("overlap", asked.overlap),
            retire_old_at=None if asked.retire_old_at is None else parse_instant(asked.retire_old_at, "retireOldAt"),
        )  # fmt: skip
        return RotatedCredentialOut.of_rotation(rotated)


@router.post(
    "/credentials/{clientId}/cancel-rotation",
    summary="End the newer of two secrets",
    openapi_extra=extra(Role.REPRESENTATIVE, ForceAsked, {"force": False}),
)
def cancel_rotation(
    *, acting: Representative, database: CurrentDatabase, now: CurrentTime, client_id: ClientId, body: JsonBody
) -> ClientOut:
    """The older one works on, and no date ends it. With `force` also if the newer one was used."""
    asked = checked(ForceAsked, parse_json(body))
    with database.write() as session:
        client = rotation.cancel_rotation(session, client_id, now=now, by=acting.by, force=asked.force)
        return ClientOut.of(client, now)


@router.post(
    "/credentials/{clientId}/secrets/{secretId}/retire",
    summary="End one secret",
    openapi_extra=extra(Role.REPRESENTATIVE, RetireAsked, {"dryRun": True}),
    response_model=RetirementOut | ClientOut,
)
def retire_secret(
    *,
    acting: Representative,
    database: CurrentDatabase,
    now: CurrentTime,
    client_id: ClientId,
    secret_id: SecretId,
    body: JsonBody,
) -> Any:  # noqa: ANN401 - one of two forms
    """With `dryRun` only what would come of it; with `force` also if it was used in the last day."""
    asked = checked(RetireAsked, parse_json(body))
    if asked.dry_run:
        with database.read() as session:
            return RetirementOut.of_plan(rotation.plan_retirement(session, client_id, secret_id, now=now), now)
    with database.write() as session:
        client = rotation.retire_secret(session, client_id, secret_id, now=now, by=acting.by, force=asked.force)
        return ClientOut.of(client, now)


@router.post("/credentials/{clientId}/revoke", summary="End a client", openapi_extra=extra(Role.REPRESENTATIVE))
def revoke_client(
    *, acting: Representative, database: CurrentDatabase, now: CurrentTime, client_id: ClientId
) -> ClientOut:
    """For good: no new tokens within 2 seconds, and none of the old ones works within 5."""
    with database.write() as session:
        return ClientOut.of(service.revoke_client(session, client_id, by=acting.by), now)


@router.post(
    "/credentials/{clientId}/leaked",
    summary="A secret is in wrong hands",
    openapi_extra=extra(Role.REPRESENTATIVE, LeakedAsked, {"label": "ERP"}),
)
def replace_leaked(
    *,
    acting: Representative,
    office: CurrentOffice,
    database: CurrentDatabase,
    now: CurrentTime,
    client_id: ClientId,
    body: JsonBody,
) -> LeakReceiptOut:
    """A new secret, in this answer alone; the old ones and every token of the client end within 5 seconds."""
    asked = checked(LeakedAsked, parse_json(body))
    with database.write() as session:
        office.require_approval(session, for_client(Act.REPLACE_LEAKED, client_id), now=now, by=acting.by)
        receipt = rotation.replace_leaked(
            session, client_id, asked.secret_id, peppers=office.peppers(), now=now, by=acting.by, label=asked.label
        )
        return LeakReceiptOut.of_receipt(receipt)


@router.post(
    "/secrets/check",
    summary="Are there secrets of ours in a text?",
    openapi_extra=extra(Role.REPRESENTATIVE, SearchAsked, {"text": "export CLIENT_SECRET=..."}),
)
def check_secrets(
    *, acting: Representative, office: CurrentOffice, database: CurrentDatabase, body: JsonBody
) -> FindingsOut:
    """Up to 4 MiB of any text. Nothing of it is kept, and the secrets are not repeated."""
    del acting
    asked = checked(SearchAsked, parse_json(body))
    text = BytesIO(asked.text.encode(errors="replace"))
    found = service.look_up_secrets(database, office.peppers(), sightings(text), now=utc_now)
    return FindingsOut(
        findings=[
            FindingOut(
                line=sighting.line, column=sighting.column, ours=known is not None,
                live=known is not None and known.is_live,
                client_id=None if known is None else known.client_id,
                secret_id=None if known is None else known.secret_id,
            )
            for sighting, known in found
        ]
    )  # fmt: skip


def _refuse_together(asked: RotateAsked) -> None:
    """Refuse what contradicts itself: the old secret must not end while nobody has the new one."""
    told = [name for name, value in (("overlap", asked.overlap), ("retireOldAt", asked.retire_old_at)) if value]
    message = None
    if asked.hand_over and told:
        message = "needs handOver false: with a link, retire the old secret once it was used"
    elif len(told) > 1:
        message = "cannot stand beside retireOldAt"
    if message is not None:
        raise InvalidInputError(f"{told[0]} {message}", (Fault(told[0], message),))

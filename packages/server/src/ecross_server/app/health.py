"""Whether the process lives, and whether it can do its work. Both answer from memory: strangers may ask."""

from __future__ import annotations

from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from ecross_server.auth.registry import STALE_AFTER_SECONDS
from ecross_server.web.answers import RETRY_AFTER_SECONDS, UNAVAILABLE
from ecross_server.web.context import context_of

NOT_READY: Final = "not_ready"

router = APIRouter(prefix="/health", tags=["health"])

Status = Literal["ok", "failed"]


class Check(BaseModel):
    """One thing looked at."""

    name: str = Field(examples=["registry"])
    status: Status = Field(examples=["ok"])
    detail: str = Field(examples=["read 0.2 s ago"])


class Health(BaseModel):
    """What was looked at, and what came of it all."""

    status: Status = Field(examples=["ok"])
    checks: list[Check]


def _example(status: Status, detail: str) -> dict[str, Any]:
    health = Health(status=status, checks=[Check(name="registry", status=status, detail=detail)])
    return {"application/json": {"example": health.model_dump()}}


# Each with HEAD, for monitors that ask so, in a route of its own: the document need not name it.
@router.get(
    "/live",
    summary="Is the process alive?",
    responses={
        200: {"description": "It is.", "content": {"application/json": {"example": {"status": "ok", "checks": []}}}}
    },
)
@router.api_route("/live", methods=["GET", "HEAD"], include_in_schema=False)
async def live() -> Health:
    """Always 200: an answer is the proof."""
    return Health(status="ok", checks=[])


@router.get(
    "/ready",
    summary="Can it do its work?",
    responses={
        200: {"description": "It can.", "content": _example("ok", "read 0.2 s ago")},
        UNAVAILABLE: {
            "model": Health,
            "description": "Not at the moment: send requests elsewhere.",
            "content": _example("failed", "read 7.4 s ago"),
            "headers": {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
        },
    },
)
@router.api_route("/ready", methods=["GET", "HEAD"], include_in_schema=False)
async def ready(request: Request, response: Response) -> Health:
    """200 while credentials and tokens can be checked, else 503."""
    age = request.app.state.auth.registry.age_seconds
    status: Status = "ok"
    if age > STALE_AFTER_SECONDS:
        status = "failed"
        context_of(request.scope).outcome = NOT_READY
        response.status_code = UNAVAILABLE
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return Health(status=status, checks=[Check(name="registry", status=status, detail=f"read {age:.1f} s ago")])

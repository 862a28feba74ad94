"""JSON bodies: read as strictly as tokens are, checked against their form, and told of in the document.

The framework's own parser takes the last of two members of one name and turns every fraction into a float. So an
endpoint asks for the bytes, `JsonBody`, and reads them itself, in its own thread.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ecross.jws import StrictJsonError, loads_strict
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.web.answers import JSON

Form = TypeVar("Form", bound=BaseModel)

MOST_FAULTS: Final = 1000
"""So many faults of one body are listed. A small body could have millions, and so would its answer."""


async def get_json_body(request: Request) -> bytes:
    """The bytes of the body, said to be JSON."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise HTTPException(415)
    return await read_body(request)


async def read_body(request: Request) -> bytes:
    """The bytes of the body, whatever it is."""
    try:
        return await request.body()
    except ClientDisconnect:
        raise HTTPException(400) from None


JsonBody = Annotated[bytes, Depends(get_json_body)]
"""What an endpoint with a body asks for."""


def parse_json(body: bytes) -> Any:  # noqa: ANN401 - JSON is anything
    """What the JSON stands for. A number with a fraction is a `Decimal` of the digits that were sent.

    Raises:
        InvalidInputError: if it is not strict JSON.
    """
    try:
        return loads_strict(body, exact=True)
    except StrictJsonError as error:
        raise InvalidInputError("The body is not acceptable JSON.", (Fault("", str(error)),)) from None


def checked(form: type[Form], content: object) -> Form:
    """The content in its form.

    Raises:
        InvalidInputError: with every fault, each with its path, never its value.
    """
    try:
        return form.model_validate(content)
    except ValidationError as error:
        faults = tuple(_fault(item) for item in error.errors(include_input=False, include_url=False))
    raise refusal(faults)


def refusal(faults: tuple[Fault, ...]) -> InvalidInputError:
    """The error that lists the faults of a body."""
    if len(faults) < MOST_FAULTS:
        return InvalidInputError("The request has faults.", faults)
    return InvalidInputError(f"The request has faults; the first {MOST_FAULTS} are listed.", faults[:MOST_FAULTS])


def json_request(form: Any, example: object) -> dict[str, Any]:  # noqa: ANN401 - whatever pydantic knows the form of
    """How the document tells of a body of this form: an endpoint's `openapi_extra`."""
    schema = TypeAdapter(form).json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema, "example": example}}}}


def _fault(item: ErrorDetails) -> Fault:
    # What the library says instead names our classes.
    message = "Input should be an object" if item["type"] == "model_type" else item["msg"]
    return Fault(".".join(map(str, item["loc"])), message)

"""Calls of the API as plain values: written once, performed by both clients."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Generic, TypeVar

from ecross._transport.calls import Answer
from ecross.errors import ConfigurationError, ServerError
from ecross.types import Page, Sku
from ecross.types.skus import read_sku
from ecross.types.wire import UnexpectedFormError, WireObject

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One call: what to send, and how to read what comes back."""

    method: str
    path: str
    service: str
    params: Mapping[str, str]
    read: Callable[[WireObject], T]

    def result(self, answer: Answer, request_id: str) -> T:
        """What the answer says. Raises `ServerError` for one that is not what the API promises."""
        try:
            return self.read(WireObject(_parse(answer.content)))
        except UnexpectedFormError as error:
            fault = str(error)
        message = f"The answer is not what the API promises: {fault}."
        raise ServerError(answer.status_code, message, None, request_id)


def list_skus(last_update_date_from: datetime | str | None) -> Callable[[str | None], Operation[Page[Sku]]]:
    """What gives, for a page token, the call that reads that page of the merchant's SKUs.

    Raises `ConfigurationError` for a moment without a time zone.
    """
    params = {}
    if last_update_date_from is not None:
        params["lastUpdateDateFrom"] = _write_instant(last_update_date_from, "last_update_date_from")

    def read_page(page_token: str | None) -> Operation[Page[Sku]]:
        told = params if page_token is None else params | {"nextPageToken": page_token}
        return Operation("GET", "/ext/merchant/skus", "product", told, _read_sku_page)

    return read_page


def _read_sku_page(wire: WireObject) -> Page[Sku]:
    # Some samples of the API show an empty token on the last page.
    return Page(tuple(map(read_sku, wire.required_objects("skus"))), wire.text("nextPageToken") or None)


def _write_instant(value: datetime | str, name: str) -> str:
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else value
        # One without a zone could be any hour, and is refused here and not taken for this machine's.
        if instant.utcoffset() is not None:
            return value if isinstance(value, str) else instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, AttributeError):
        pass
    raise ConfigurationError(
        f"{name} must be a datetime with a time zone, or such a text of ISO 8601 as 2023-10-27T19:10:00Z"
    )


def _parse(body: bytes) -> object:
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError):
        pass
    raise UnexpectedFormError("it is not JSON")


def _refuse_constant(_: str) -> object:
    raise ValueError

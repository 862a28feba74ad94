"""How an answer gets to its client: whole, late, in part, or never."""

from dataclasses import dataclass, replace
from enum import Enum

from ecross.testing._api import Api
from ecross.testing._messages import RecordedRequest, Response, json_bytes
from ecross.testing._script import Answer, Forbidden, Lost, Refusal, Scripted, Silence, Slow, Truncated, Unauthorized


class Fault(Enum):
    """What becomes of an answer that does not arrive."""

    SILENCE = "nothing comes, and the connection stays open"
    REFUSED = "there is no server: no connection comes about"
    LOST = "the request arrives, and then the connection is reset"
    CUT = "the connection ends in the middle of the body"


@dataclass(frozen=True, slots=True)
class Delivery:
    """An answer, how late it comes, and what goes wrong with it."""

    response: Response
    delay_seconds: float = 0.0
    fault: Fault | None = None


def deliver(request: RecordedRequest, scripted: Scripted, api: Api) -> Delivery:
    """What the scripted answer means for this request."""
    match scripted:
        case Slow(seconds, then):
            delivery = deliver(request, then, api)
            return replace(delivery, delay_seconds=delivery.delay_seconds + seconds)
        case Truncated(answer):
            delivery = deliver(request, answer, api)
            return replace(delivery, fault=delivery.fault or Fault.CUT)
        case Silence():
            return Delivery(Response(0), fault=Fault.SILENCE)
        case Lost():
            return Delivery(Response(0), fault=Fault.LOST)
        case _:
            return Delivery(_respond(request, scripted, api))


def _respond(request: RecordedRequest, scripted: Scripted, api: Api) -> Response:
    match scripted:
        case Answer():
            return _own(request, scripted, api)
        case Refusal():
            return api.refusal(request, scripted)
        case Unauthorized():
            return api.refusal(request, api.unauthorized(request))
        case Forbidden(scope):
            return api.refusal(request, api.forbidden(scope))
        case _:
            return api.answer(request)


def _own(request: RecordedRequest, answer: Answer, api: Api) -> Response:
    content = answer.content if answer.content is not None else b""
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    if answer.json is not None:
        content = json_bytes(answer.json)
        if all(name != b"content-type" for name, _ in headers):
            headers.append((b"content-type", b"application/json"))
    response = api.finish(request, answer.status, [], content)
    given = {name for name, _ in headers}
    return replace(response, headers=[*headers, *(field for field in response.headers if field[0] not in given)])

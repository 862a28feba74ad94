"""`Idempotency-Key`: what comes again with its key is answered again, and nothing is done twice."""

import hashlib
import re
from collections.abc import Callable

from ecross.errors import FieldError
from ecross.testing._messages import RecordedRequest
from ecross.testing._refusals import RefusedError, fault_of, faulty
from ecross.testing._script import Refusal

HEADER = "Idempotency-Key"
KEY = re.compile(r"[!-~]+")
LONGEST_KEY = 255
LIFE_SECONDS = 24 * 3600
REUSED = Refusal(
    409,
    "idempotency_key_reused",
    f"This {HEADER} came with another request before. Use a new key for a new request.",
)


class KeptAnswers:
    """What was answered to one merchant's requests with keys."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[bytes, bytes, float]] = {}

    def answer_once(self, request: RecordedRequest, now: float, act: Callable[[], bytes]) -> bytes:
        """What `act` gives, or gave when the request came the first time. What it raises is not remembered."""
        values = request.values(HEADER.lower())
        if not values:
            return act()
        key = values[0].decode()
        self._forget(now)
        digest = hashlib.sha256(f"{request.method} {request.path}\n".encode() + request.content).digest()
        if key not in self._kept:
            self._kept[key] = digest, act(), now + LIFE_SECONDS
        if self._kept[key][0] != digest:
            raise RefusedError(REUSED)
        return self._kept[key][1]

    def _forget(self, now: float) -> None:
        """Drop what is a day old; the oldest stands first."""
        while self._kept and self._kept[oldest := next(iter(self._kept))][2] <= now:
            del self._kept[oldest]


def check_key(request: RecordedRequest, look_at_body: Callable[[], None]) -> None:
    """Refuse a key of a wrong form, but a body that cannot be one before that: both as the server does."""
    values = request.values(HEADER.lower())
    fault = _fault_of(values[0].decode("latin-1")) if values else None
    if len(values) > 1 and fault is None:
        raise fault_of(HEADER, "must not be sent twice")
    look_at_body()
    if fault is not None:
        raise faulty([FieldError(HEADER, fault)])


def _fault_of(key: str) -> str | None:
    if len(key) > LONGEST_KEY:
        return f"String should have at most {LONGEST_KEY} characters"
    if not key:
        return "String should have at least 1 character"
    return None if KEY.fullmatch(key) else "String should match pattern '^[!-~]+$'"

"""What the server refuses, wherever in it that is found out."""

from collections.abc import Iterable

from ecross.errors import FieldError
from ecross.testing._script import Refusal

MOST_FAULTS = 1000


class RefusedError(Exception):
    """Ends the work on a request with a refusal, and the faults of what was sent."""

    def __init__(self, refusal: Refusal, faults: Iterable[FieldError] = ()) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal
        self.faults = tuple(faults)


def faulty(faults: Iterable[FieldError]) -> RefusedError:
    """The refusal of a request for all its faults."""
    listed = tuple(faults)
    more = "" if len(listed) < MOST_FAULTS else f"; the first {MOST_FAULTS} are listed"
    return RefusedError(Refusal(400, "invalid_input", f"The request has faults{more}."), listed)


def fault_of(name: str, reason: str, code: str = "invalid_input", *, ending: str = "") -> RefusedError:
    """The refusal of a request for one fault of one field."""
    return RefusedError(Refusal(400, code, f"{name} {reason}{ending}"), [FieldError(name, reason)])

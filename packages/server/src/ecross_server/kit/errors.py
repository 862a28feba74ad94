"""The tree of errors that callers can act upon. HTTP statuses and exit codes follow from the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input: where, and what. Never the value itself."""

    path: str
    message: str


class DomainError(Exception):
    """Something the caller can act upon. `code` is stable and documented, `message` is for people."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotFoundError(DomainError):
    """What was named does not exist, or is not the caller's to see."""

    code = "not_found"


class ConflictError(DomainError):
    """The act does not fit the present state."""

    code = "conflict"


class UnavailableError(DomainError):
    """Something this program depends on is away; trying again later may help."""

    code = "unavailable"


class InvalidInputError(DomainError):
    """The input is wrong; `faults` lists every fault found, each with its place."""

    code = "invalid_input"

    def __init__(self, message: str, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(message)
        self.faults = faults

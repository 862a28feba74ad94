from __future__ import annotations

import pytest

from ecross_server.kit.errors import (
    ConflictError,
    DomainError,
    Fault,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)


@pytest.mark.parametrize("kind", [DomainError, NotFoundError, ConflictError, UnavailableError, InvalidInputError])
def test_an_error_shows_its_message(kind: type[DomainError]) -> None:
    error = kind("what is wrong")
    assert str(error) == error.message == "what is wrong"
    assert isinstance(error, DomainError)


def test_every_kind_has_a_code_of_its_own() -> None:
    kinds = (DomainError, NotFoundError, ConflictError, UnavailableError, InvalidInputError)
    assert [kind.code for kind in kinds] == ["error", "not_found", "conflict", "unavailable", "invalid_input"]


def test_an_invalid_input_lists_its_faults() -> None:
    fault = Fault("name", "is missing")
    assert InvalidInputError("no").faults == ()
    assert InvalidInputError("no", (fault,)).faults == (fault,)

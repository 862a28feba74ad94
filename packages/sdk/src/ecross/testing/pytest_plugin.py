"""The pytest fixture `ecross_server`. Loaded at every start of pytest, so it loads nothing itself."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ecross.testing import FakeServer


@pytest.fixture
def ecross_server() -> Iterator["FakeServer"]:
    """A fake e-CROSS server of the test's own, closed after it. Scripted answers that nobody asked for are an error."""
    from ecross.testing import FakeServer  # noqa: PLC0415 - only the tests that ask for it pay for it

    with FakeServer() as server:
        yield server
    if unused := server.unused_answers:
        listed = ", ".join(f"{number} for {path}" for path, number in unused.items())
        pytest.fail(
            f"Scripted answers that nobody asked for: {listed}. (server.clear_scripts() drops them.)", pytrace=False
        )

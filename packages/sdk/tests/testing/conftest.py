"""A fake server, and the two ways to it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from ecross.testing import FakeServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A fake server of this test's own."""
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def http(server: FakeServer) -> Iterator[httpx2.Client]:
    """In process."""
    with httpx2.Client(transport=server.transport, base_url=server.base_url) as client:
        yield client


@pytest.fixture
def http_at_url(server: FakeServer) -> Iterator[httpx2.Client]:
    """On a socket."""
    with httpx2.Client(base_url=server.url, verify=False, trust_env=False) as client:
        yield client


@pytest.fixture(params=["http", "http_at_url"])
def either_http(request: pytest.FixtureRequest) -> httpx2.Client:
    """Each way in turn."""
    client: httpx2.Client = request.getfixturevalue(request.param)
    return client

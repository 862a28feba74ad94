"""Every page that reads, on each database: what one of them takes, the other may refuse."""

from __future__ import annotations

import pytest

from conftest import BACKENDS
from ecross_server.merchants.service import IssuedCredential
from packages.server.tests.console.conftest import SignIn


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_pages_are_read_whatever_stands_in_their_address(sign_in: SignIn, credential: IssuedCredential) -> None:
    browser = sign_in()
    client = f"/console/clients/{credential.client.id}"
    for path in (
        "/console/merchants", "/console/merchants?q=a&status=active&hygiene=idle", "/console/merchants/ACME", client,
        f"{client}/secrets/{credential.secret.id}/retire", "/console/hand-overs", "/console/hand-overs?merchant=ACME",
        f"/console/refusals?q={credential.client.id}", "/console/refusals?q=x", "/console/installation",
        "/console/trail?merchant=ACME&tokens=yes&since=2026-01-01T00:00:00Z&before=9", "/console/operators",
        "/console/operators/jane-owner", "/console/sessions",
        # what no column holds
        "/console/trail?before=" + "9" * 40, "/console/trail?before=-1", "/console/trail?since=0001-01-01T00:00:00Z",
        "/console/merchants?q=%ff%f0%9f%98%80&after=%f0%9f%98%80", "/console/merchants?q=" + "a" * 3000,
    ):  # fmt: skip
        assert browser.get(path).status_code == 200, path
    for path in (
        "/console/merchants?q=%00", "/console/merchants/%00", "/console/clients/%00", "/console/hand-overs/%00",
        "/console/operators/%00", "/console/trail?merchant=%00", "/console/merchants/%ff", "/console/x%00",
    ):  # fmt: skip
        assert browser.get(path).status_code == 404, path
    answer = browser.post("/console/register", id="NEW", name="a\0b")
    assert (answer.status_code, "could not be read" in answer.text) == (400, True)

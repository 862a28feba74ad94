"""schemathesis over the document of the administration: what it answers is what the document says.

`positive_data_acceptance` is off: ids, durations and what excludes each other are more than a schema can say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from sqlalchemy import text

from ecross_server.app.administration import Administration
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.merchants.service import IssuedCredential
from ecross_server.operators import service
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from ecross_server.audit.service import Actor

EXAMPLES = 3


@pytest.fixture
def backend() -> str:
    """SQLite alone: it is the form of requests and answers that is tested."""
    return "sqlite"


@pytest.fixture
def administration(settings: Settings, credential: IssuedCredential) -> Iterator[Administration]:
    """The administration; there is one merchant."""
    del credential
    made = Administration(settings)
    yield made
    made.database.close()


@pytest.mark.parametrize("role", [None, "representative"])
def test_the_administration_does_what_its_document_says(
    administration: Administration, database: Database, operator: Actor, role: str | None
) -> None:
    headers = {}
    if role is not None:
        keys = administration.office.door.keys()
        with database.write() as session:
            service.invite_operator(session, "jane", "Jane", role, keys=keys, now=utc_now(), by=operator)
            session.execute(text("UPDATE operators SET status = 'active'"))
        with database.read() as session:
            token = administration.office.tokens.issue(service.get_operator(session, "jane")).token
        headers = {"Authorization": f"Bearer {token}"}

    async def running(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await administration(scope, receive, send)

    schema = schemathesis.openapi.from_asgi("/admin/openapi.json", running, config=SchemathesisConfig(seed=1))
    config = schema.config
    config.update(headers=headers)
    config.generation.update(deterministic=True, max_examples=EXAMPLES, with_security_parameters=False)
    config.phases.stateful.enabled = False
    off = ["positive_data_acceptance", *(["unsupported_method"] if role is None else [])]  # the gate stands before it
    config.checks.update(included_check_names=["all"], excluded_check_names=off)
    statuses: Counter[int] = Counter()
    findings = set()
    for event in from_schema(schema).execute():
        assert not isinstance(event, (events.NonFatalError, events.FatalError)), event
        if isinstance(event, events.ScenarioFinished):
            for interaction in event.recorder.interactions.values():
                assert interaction.response is not None
                statuses[interaction.response.status_code] += 1
            for check in (check for of_case in event.recorder.checks.values() for check in of_case):
                if (failed := check.failure_info) is not None:
                    findings.add(f"{check.name}: {failed.failure.message}\n{failed.code_sample}")
    assert not findings, "\n\n".join(sorted(findings))
    assert max(statuses) < 500
    assert (statuses[200] > EXAMPLES) == (role is not None)
    assert (statuses[403] > EXAMPLES) == (role is not None)

"""schemathesis over the whole OpenAPI document: what the server does is what the document says, for every caller.

All checks of schemathesis are on, but for these:

* `max_response_time` is given no limit: how long an answer takes is for benchmarks.
* `positive_data_acceptance` for callers without a good token whose header schemathesis makes up: it lets a private path
  answer well-formed data with 401, but not with the 400 that RFC 6750 asks for where the header holds no token at all.
* `positive_data_acceptance` for the operations of `SAY_MORE`: that all SKUs of a body are of one product, each once,
  that a check digit is right, that a number has no more than 15 digits and that a warehouse is the merchant's is more
  than a schema can say.
  What links make of one answer for the next call is no more sure to be accepted: a page token goes with its instant.
* `unsupported_method` for the same callers: the gate stands before the methods, so a stranger gets 401, or again 400.

A caller with a good token tries most, and what one call gives the next. All others are stopped before any operation, so
they try less: ten operations instead of four would take a minute and a half of every run otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.run import PhaseName
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tests.attacks.conftest import SaveSku

CALLERS = ("a good token", "no token", "junk for a token", "whatever for a token")
OFF = {"whatever for a token": ["positive_data_acceptance", "unsupported_method"]}
EXAMPLES = {"a good token": 40}
FEW_EXAMPLES = 8
LINKED = "calls by links"
SAY_MORE = ("POST /ext/merchant/skus", "POST /ext/inventories/", "POST /ext/inventories")

Statuses = Counter[tuple[str, int]]


@pytest.fixture
def backend() -> str:
    """SQLite alone: it is the form of requests and answers that is tested."""
    return "sqlite"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Pages so small that there are several."""
    return settings.model_copy(update={"page_size": 2})


Explore = Callable[..., tuple[Statuses, set[str]]]


@pytest.fixture
def explore(credential: IssuedCredential, save_sku: SaveSku) -> Explore:
    """Sends all that schemathesis makes of the document; gives the count of each status, and the checks that were run.

    It fails with every finding and the request that shows it.
    """
    for number in range(5):
        save_sku(credential.client.merchant_id, str(number))

    def run(
        application: Application, *, headers: dict[str, str], made_up: bool = False, off: list[str],
        examples: int, paths: str = ".*", links: bool = False,
    ) -> tuple[Statuses, set[str]]:  # fmt: skip
        async def running(scope: Scope, receive: Receive, send: Send) -> None:
            # It is started already, and stops after the test.
            if scope["type"] == "http":
                await application(scope, receive, send)

        # One that the list gave is good with the instant that it was given for alone, which no schema can say.
        schemathesis.openapi.format("page-token", st.just(""))
        whole = schemathesis.openapi.from_asgi("/openapi.json", running, config=SchemathesisConfig(seed=1))
        schema = whole.include(path_regex=paths)
        config = schema.config
        config.update(headers=headers)
        config.generation.update(deterministic=True, max_examples=examples, with_security_parameters=made_up)
        config.phases.stateful.enabled = links
        config.checks.update(included_check_names=["all"], excluded_check_names=off)
        statuses: Statuses = Counter()
        checks: set[str] = set()
        findings = set()
        for event in from_schema(schema).execute():
            assert not isinstance(event, (events.NonFatalError, events.FatalError)), event
            if isinstance(event, events.ScenarioFinished):
                recorder = event.recorder
                for interaction in recorder.interactions.values():
                    assert interaction.response is not None
                    statuses[event.label or LINKED, interaction.response.status_code] += 1
                for check in (check for of_case in recorder.checks.values() for check in of_case):
                    checks.add(check.name)
                    is_alone = event.phase is not PhaseName.STATEFUL_TESTING
                    is_said = check.name != "positive_data_acceptance" or (is_alone and event.label not in SAY_MORE)
                    if (failed := check.failure_info) is not None and is_said:
                        findings.add(
                            f"{check.name}: {failed.failure.title}: {failed.failure.message}\n{failed.code_sample}"
                        )
        assert not findings, "\n\n".join(sorted(findings))
        return statuses, checks

    return run


@pytest.mark.parametrize("caller", CALLERS)
def test_the_server_does_what_the_document_says(
    explore: Explore, application: Application, bearer: dict[str, str], caller: str
) -> None:
    headers = {CALLERS[0]: bearer, CALLERS[2]: {"Authorization": "Bearer junk"}}.get(caller, {})
    off = OFF.get(caller, [])
    examples = EXAMPLES.get(caller, FEW_EXAMPLES)
    statuses, checks = explore(
        application, headers=headers, made_up=caller == CALLERS[3], off=off, examples=examples,
        links=caller == CALLERS[0],
    )  # fmt: skip
    load_all_checks()
    assert checks - {"max_response_time"} == set(CHECKS.get_all_names()) - set(off)
    assert {operation for operation, _ in statuses} == {
        "POST /token", "GET /health/live", "GET /health/ready", "GET /ext/merchant/skus", "POST /ext/merchant/skus",
        "GET /ext/merchant/products/{productId}", "POST /ext/inventories/", "POST /ext/inventories",
        "GET /ext/inventories", "GET /ext/inventories/sku/{skuId}/country/{country}",
        "GET /hand-over/{token}", "POST /hand-over/{token}",
        *([LINKED] if caller == CALLERS[0] else []),
    }  # fmt: skip
    assert statuses["POST /token", 400] > 10
    assert statuses["POST /token", 401] > 10
    assert (statuses["GET /ext/merchant/skus", 200] > 10) == (caller == CALLERS[0])
    assert max(status for _, status in statuses) < 500


def test_with_the_default_limits_too_many_requests_are_told_as_documented(explore: Explore, settings: Settings) -> None:
    fields = ("token_volume_limit", "token_failure_limit", "token_address_limit")
    defaults = {name: Settings.model_fields[name].default for name in fields}
    # On a clock that stands still nothing it knows grows old, however slow the machine is.
    application = Application(settings.model_copy(update=defaults), monotonic=lambda: 5000.0)
    application.limiter._monotonic = lambda: 5000.0  # no budget comes back meanwhile
    application.auth.refresh()
    statuses, _ = explore(application, headers={}, off=[], paths="^/token$", examples=400)
    application.database.close()
    assert statuses["POST /token", 429] > 10
    assert statuses["POST /token", 401] > 10


def test_no_operation_is_left_out(client: TestClient) -> None:
    document: Any = client.get("/openapi.json").json()
    assert sum(map(len, document["paths"].values())) == 12

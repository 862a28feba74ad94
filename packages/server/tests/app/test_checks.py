"""What is told of the installation where that is cheap."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from ecross_server.app.checks import look_after
from ecross_server.jobs.rules import Policy
from ecross_server.jobs.service import queue_job
from ecross_server.jobs.tasks import Finish, Job, Kind, Runner
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.private_files import write_private_file
from ecross_server.localization.service import CHECK_PRODUCT
from ecross_server.merchants.rules import new_peppers
from ecross_server.settings import Settings


@pytest.fixture
def backend() -> str:
    """SQLite alone: what is looked at is tested where it is."""
    return "sqlite"


def told(settings: Settings, database: Database) -> dict[str, tuple[str, str]]:
    return {check.name: (check.status, check.detail) for check in look_after(settings, database)}


def test_where_all_is_well_nothing_is_to_be_done(settings: Settings, database: Database, credential: Any) -> None:
    del credential
    checks = look_after(settings, database)
    assert [check.status for check in checks] == ["ok"] * 5
    assert [check.fix for check in checks] == [None] * 5
    assert told(settings, database)["database"][1].endswith(", 1 clients, 1 secrets")


def test_what_cannot_be_read_or_is_missing_has_failed(settings: Settings, database: Database, credential: Any) -> None:
    del credential
    settings.signing_keys_file.chmod(0o644)
    write_private_file(settings.peppers_file, new_peppers(utc_now()))
    found = told(settings, database)
    assert found["signing keys"][0] == "failed"
    status, detail = found["peppers"]
    assert (status, detail.startswith("missing: ")) == ("failed", True)


def test_jobs_that_died_or_wait_are_a_warning(settings: Settings, database: Database) -> None:
    with database.write() as session:
        queue_job(session, CHECK_PRODUCT, {}, now=utc_now() - timedelta(minutes=2))
    status, detail = told(settings, database)["jobs"]
    assert (status, "1 due" in detail, "waits for 1" in detail) == ("warning", True, True)

    def die(_job: Job, _finish: Finish) -> None:
        raise ArithmeticError

    Runner(database, {CHECK_PRODUCT: Kind(die, Policy(most_attempts=1))}, worker="test").run_due()
    assert told(settings, database)["jobs"] == ("warning", "0 due, 0 to come, 1 dead")


def test_limits_that_do_not_hold_are_a_warning(settings: Settings, database: Database) -> None:
    found = told(settings.model_copy(update={"limits_mode": "observe"}), database)
    assert found["limits"] == ("warning", "token requests are not limited: the mode is observe")
    shared = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    assert told(shared, database)["limits"] == ("ok", "shared through Redis")

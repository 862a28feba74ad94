from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.kit.database import Database
from ecross_server.web.unit_of_work import CurrentDatabase


@pytest.fixture
def notes(application: Application, client: TestClient, database: Database) -> Any:
    """A client of routes that write into a table whose constraint is looked at when the transaction is committed."""
    foreign_key = "INTEGER REFERENCES pages (id) DEFERRABLE INITIALLY DEFERRED"
    with database.write() as session:
        session.execute(text("CREATE TABLE pages (id INTEGER PRIMARY KEY)"))
        session.execute(text(f"CREATE TABLE notes (page_id {foreign_key})"))
        session.execute(text("INSERT INTO pages VALUES (1)"))

    def add_note(page_id: int, current: CurrentDatabase) -> dict[str, int]:
        with current.write() as session:
            session.execute(text("INSERT INTO notes VALUES (:page_id)"), {"page_id": page_id})
            counted: int = session.execute(text("SELECT count(*) FROM notes")).scalar_one()
        return {"count": counted}

    def add_and_fail(current: CurrentDatabase) -> None:
        with current.write() as session:
            session.execute(text("INSERT INTO notes VALUES (1)"))
            raise ArithmeticError

    application.api.add_api_route("/notes/{page_id}", add_note, methods=["POST"], status_code=201)
    application.api.add_api_route("/fail", add_and_fail, methods=["POST"])
    yield client
    with database.write() as session:
        session.execute(text("DROP TABLE notes"))
        session.execute(text("DROP TABLE pages"))


def count(database: Database) -> int:
    with database.read() as session:
        counted: int = session.execute(text("SELECT count(*) FROM notes")).scalar_one()
    return counted


def test_what_is_answered_as_done_is_stored(notes: TestClient, database: Database) -> None:
    answer = notes.post("/notes/1")
    assert (answer.status_code, answer.json()) == (201, {"count": 1})
    assert count(database) == 1


def test_a_commit_that_fails_is_never_answered_as_done(notes: TestClient, database: Database) -> None:
    answer = notes.post("/notes/2")  # the insert itself succeeds
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert answer.headers["x-request-id"]
    assert count(database) == 0
    assert notes.post("/notes/1").status_code == 201


def test_what_an_endpoint_wrote_before_it_failed_is_not_kept(notes: TestClient, database: Database) -> None:
    assert notes.post("/fail").status_code == 500
    assert count(database) == 0

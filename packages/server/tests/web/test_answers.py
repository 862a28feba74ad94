from __future__ import annotations

import importlib
import inspect
import pkgutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Body, Header, Query
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient

import ecross_server
from ecross_server.app.assembly import Application
from ecross_server.auth.errors import BearerError, InsufficientScopeError, InvalidAccessTokenError, InvalidClientError
from ecross_server.kit.errors import (
    ConflictError,
    DomainError,
    Fault,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings

PROBLEM = "application/problem+json"


@pytest.fixture
def backend() -> str:
    """SQLite alone: nothing here asks the database."""
    return "sqlite"


def every_error_class() -> list[type[DomainError]]:
    """All that can meet HTTP, in whatever module they are. The commands have some of their own, which cannot."""
    for module in pkgutil.walk_packages(ecross_server.__path__, "ecross_server."):
        if not module.name.endswith((".__main__", ".env")) and ".versions" not in module.name:
            importlib.import_module(module.name)

    def below(kind: type[DomainError]) -> Iterator[type[DomainError]]:
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    found = {kind for kind in below(DomainError) if kind.__module__.startswith("ecross_server.")}
    return sorted((kind for kind in found if not kind.__module__.startswith("ecross_server.cli.")), key=str)


ROOTS = (NotFoundError, ConflictError, UnavailableError, InvalidInputError, BearerError)
STATUSES = {InvalidInputError: 400, NotFoundError: 404, ConflictError: 409, UnavailableError: 503}


def example_of(kind: type[DomainError]) -> DomainError:
    """An error of the class, made of any values of the right types."""
    values: dict[str, Any] = {
        "str": "text", "int": 7, "float": 7.5, "Path": Path("file"), "Sequence[float]": [4e9],
        "Sequence[str]": ["text"],
        "datetime": datetime(2026, 11, 25, tzinfo=UTC),
    }  # fmt: skip
    parameters = inspect.signature(kind).parameters.values()
    return kind(*(values[each.annotation] for each in parameters if each.default is each.empty))


@pytest.fixture
def raising(application: Application, client: TestClient) -> Callable[..., Any]:
    """A request to a route that raises the error."""
    waiting: list[Exception] = []

    def fail() -> None:
        raise waiting.pop()

    application.api.add_api_route("/fail", fail)

    def send(error: Exception, **headers: str) -> Any:
        waiting.append(error)
        return client.get("/fail", headers=headers)

    return send


class TestEveryError:
    def test_each_class_has_a_code_of_its_own(self) -> None:
        codes: dict[str, str] = {}
        for kind in every_error_class():
            if kind is BearerError:  # never raised itself
                continue
            assert kind.code not in codes, f"{kind} has the code of {codes[kind.code]}"
            assert "code" in kind.__dict__, f"{kind} has no code of its own"
            assert kind.code.replace("_", "").isalpha()
            assert kind.code == kind.code.lower() != "error"
            codes[kind.code] = str(kind)
        assert len(codes) > 15

    def test_each_class_belongs_to_a_kind_that_http_knows(self) -> None:
        # InvalidClientError is the token endpoint's alone, which answers it itself.
        strays = [
            kind for kind in every_error_class() if not issubclass(kind, ROOTS) and kind is not InvalidClientError
        ]
        assert strays == []

    def test_each_error_is_answered_in_the_one_form(self, raising: Callable[..., Any]) -> None:
        for kind in every_error_class():
            if kind in {InvalidClientError, BearerError}:
                continue
            error = example_of(kind)
            answer = raising(error)
            expected = getattr(error, "status", None) or next(
                status for root, status in STATUSES.items() if isinstance(error, root)
            )
            assert answer.status_code == expected, kind
            faults = [{"path": fault.path, "message": fault.message} for fault in getattr(error, "faults", ())]
            content = {"message": error.message, "code": kind.code} | ({"errors": faults} if faults else {})
            assert answer.json() == content, kind
            assert error.message
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-request-id"]
            assert answer.headers.get("retry-after") == ("1" if expected == 503 else None)
            assert ("www-authenticate" in answer.headers) == isinstance(error, BearerError)
            assert (expected == 401) <= ("www-authenticate" in answer.headers)
            problem = raising(error, Accept=PROBLEM)
            assert problem.status_code == expected
            assert problem.headers["content-type"] == PROBLEM
            assert problem.json() == {
                "type": "about:blank",
                "title": problem.json()["title"],
                "status": expected,
                "detail": error.message,
                **content,
            }

    def test_a_class_that_http_does_not_know_is_our_bug_and_its_text_is_not_shown(
        self, raising: Callable[..., Any], log: Any
    ) -> None:
        for error in (DomainError("told to nobody"), InvalidClientError()):
            answer = raising(error)
            assert answer.status_code == 500
            assert answer.json()["code"] == "internal_error"
            assert error.message not in answer.text
        assert "told to nobody" in log.text

    def test_the_faults_of_an_input_are_listed(self, raising: Callable[..., Any]) -> None:
        faults = (Fault("a.b", "must be a number"), Fault("c", "is missing"))
        answer = raising(InvalidInputError("Two faults.", faults))
        assert answer.status_code == 400
        assert answer.json() == {
            "message": "Two faults.",
            "code": "invalid_input",
            "errors": [{"path": "a.b", "message": "must be a number"}, {"path": "c", "message": "is missing"}],
        }
        assert (
            raising(InvalidInputError("Two faults.", faults), Accept=PROBLEM).json()["errors"]
            == answer.json()["errors"]
        )

    def test_a_token_s_reason_is_for_the_log_alone(self, raising: Callable[..., Any], log: Any) -> None:
        answer = raising(InvalidAccessTokenError("tell-tale"))
        assert "tell-tale" not in answer.text + str(answer.headers)
        assert log.lines[0]["reason"] == "tell-tale"

    def test_a_missing_scope_is_named(self, raising: Callable[..., Any]) -> None:
        answer = raising(InsufficientScopeError("orders:read"))
        assert 'scope="orders:read"' in answer.headers["www-authenticate"]


class TestHttpErrors:
    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (400, "invalid_request"),
            (404, "not_found"),
            (405, "method_not_allowed"),
            (413, "body_too_large"),
            (500, "internal_error"),
        ],
    )
    def test_what_http_itself_asks_for_has_a_code_and_a_message(
        self, raising: Callable[..., Any], status: int, code: str
    ) -> None:
        answer = raising(HTTPException(status, detail="not shown", headers={"X-Kept": "yes"}))
        assert answer.status_code == status
        assert list(answer.json()) == ["message", "code"]
        assert answer.json()["code"] == code
        assert "not shown" not in answer.text
        assert answer.headers["x-kept"] == "yes"

    def test_a_status_without_words_of_ours_has_those_of_http(self, raising: Callable[..., Any]) -> None:
        answer = raising(HTTPException(418))
        assert (answer.status_code, answer.json()) == (418, {"message": "I'm a Teapot", "code": "error"})

    def test_unknown_paths_and_methods_have_the_one_form(self, client: TestClient) -> None:
        missing = client.get("/nowhere")
        assert missing.status_code == 404
        assert missing.json() == {
            "message": "There is nothing at this path. The API is described at /docs.",
            "code": "not_found",
        }
        wrong = client.delete("/health/live")
        assert wrong.status_code == 405
        assert set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD"}
        assert wrong.json()["code"] == "method_not_allowed"


class TestOurBugs:
    def test_an_unexpected_error_is_500_and_shows_nothing_of_itself(
        self, raising: Callable[..., Any], log: Any
    ) -> None:
        answer = raising(ArithmeticError("tell-tale"), **{"X-Request-Id": "the-request"})
        assert answer.status_code == 500
        assert answer.json() == {
            "message": "Something went wrong on our side. Report it with the X-Request-Id of this answer.",
            "code": "internal_error",
        }
        assert answer.headers["x-request-id"] == "the-request"
        assert "tell-tale" not in str(answer.headers)
        failed, request = log.lines
        assert (failed["event"], failed["level"], failed["request_id"]) == ("request_failed", "error", "the-request")
        assert "ArithmeticError: tell-tale" in failed["exception"]
        assert "Traceback" in failed["exception"]
        assert (request["event"], request["outcome"], request["status"]) == ("request", "internal_error", 500)

    def test_it_is_a_problem_where_that_is_accepted(self, raising: Callable[..., Any]) -> None:
        answer = raising(ArithmeticError(), Accept=PROBLEM)
        assert answer.json()["title"] == "Internal Server Error"
        assert answer.json()["status"] == 500

    def test_a_failure_of_the_token_endpoint_keeps_its_form(
        self, idle_application: Application, exchange: Callable[..., Any], log: Any
    ) -> None:
        answer = exchange(
            idle_application,
            "/token",
            [b"{", ConnectionError("tell-tale")],
            headers=[("content-type", "application/json"), ("x-request-id", "the-request"), ("accept", PROBLEM)],
        )
        assert answer.status == 500
        assert list(answer.json()) == ["message"]
        assert b"tell-tale" not in answer.body
        assert answer.header("cache-control") == "no-store"
        assert answer.header("x-request-id") == "the-request"
        failed, request = log.lines
        assert (failed["event"], failed["request_id"]) == ("request_failed", "the-request")
        assert "ConnectionError: tell-tale" in failed["exception"]
        assert (request["outcome"], request["status"]) == ("internal_error", 500)

    def test_a_failure_before_the_framework_is_500_too(
        self, settings: Settings, credential: IssuedCredential, log: Any
    ) -> None:
        times = [time.time()]
        application = Application(settings, clock=lambda: times[0])
        application.auth.refresh()
        client = TestClient(application)
        body = {"clientId": credential.client.id, "clientSecret": credential.client_secret}
        headers = {"Authorization": f"Bearer {client.post('/token', json=body).json()['token']}"}
        times.clear()  # the clock stops working
        answer = client.get("/ext/merchant/skus", headers=headers)
        assert answer.status_code == 500
        assert answer.json()["code"] == "internal_error"
        assert answer.headers["x-request-id"]
        assert client.post("/token", json=body).status_code == 500
        assert [line["event"] for line in log.lines[1:]] == ["request_failed", "request"] * 2
        application.database.close()

    def test_a_failure_in_the_middle_of_an_answer_is_logged_and_begins_no_other_answer(
        self, idle_application: Application, exchange: Callable[..., Any], log: Any
    ) -> None:
        async def half() -> StreamingResponse:
            async def content() -> AsyncIterator[bytes]:
                yield b"half"
                raise ArithmeticError

            return StreamingResponse(content())

        idle_application.api.add_api_route("/half", half)
        answer = exchange(idle_application, "/half", method="GET")
        assert (answer.status, answer.body) == (200, b"half")
        assert answer.is_complete is False
        assert [line["event"] for line in log.lines] == ["request_failed", "request"]


class TestProblems:
    @pytest.mark.parametrize(
        "accept",
        [
            PROBLEM,
            "Application/Problem+JSON",
            "text/html, application/problem+json;q=0.5",
            "application/json,application/problem+json",
            " application/problem+json ; charset=utf-8 ",
            "application/problem+json;q=0.001",
            "application/problem+json;q=0, application/problem+json",
        ],
    )
    def test_they_are_sent_to_whom_accepts_them(self, client: TestClient, accept: str) -> None:
        answer = client.get("/nowhere", headers={"Accept": accept})
        assert answer.headers["content-type"] == PROBLEM
        assert answer.headers["vary"] == "Accept"
        assert list(answer.json()) == ["type", "title", "status", "detail", "message", "code"]

    @pytest.mark.parametrize(
        "accept",
        [
            "*/*",
            "application/*",
            "application/json",
            "",
            "application/problem+json;q=0",
            "application/problem+json; q=0.000",
            "application/problem+json;charset=utf-8;q=0",
            "application/problem+xml",
            "xapplication/problem+json",
            "application/problem+jsonx",
            "text/plain;x=application/problem+json",
        ],
    )
    def test_they_are_sent_to_nobody_else(self, client: TestClient, accept: str) -> None:
        answer = client.get("/nowhere", headers={"Accept": accept})
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["vary"] == "Accept"
        assert list(answer.json()) == ["message", "code"]

    def test_it_may_stand_in_any_of_several_headers(self, client: TestClient) -> None:
        answer = client.get("/nowhere", headers=[("Accept", "text/html"), ("Accept", PROBLEM)])
        assert answer.headers["content-type"] == PROBLEM


class TestValidation:
    @pytest.fixture
    def checked(self, application: Application, client: TestClient) -> TestClient:
        async def check(
            number: Annotated[int, Query()],
            content: Annotated[dict[str, dict[str, int]], Body()],
            x_count: Annotated[int, Header()] = 0,
        ) -> int:
            return number + len(content) + x_count

        application.api.add_api_route("/check", check, methods=["POST"])
        return client

    def test_every_fault_is_listed_with_its_place_and_never_its_value(self, checked: TestClient) -> None:
        answer = checked.post(
            "/check?number=tell-tale", json={"a": {"b": "tell-tale", "c": 1}, "d": 7}, headers={"X-Count": "tell-tale"}
        )
        assert answer.status_code == 400
        content = answer.json()
        assert (content["message"], content["code"]) == ("The request has faults.", "invalid_input")
        assert [fault["path"] for fault in content["errors"]] == ["number", "x-count", "a.b", "d"]
        assert all(fault["message"] for fault in content["errors"])
        assert "tell-tale" not in answer.text

    def test_what_is_missing_is_named(self, checked: TestClient) -> None:
        paths = [fault["path"] for fault in checked.post("/check").json()["errors"]]
        assert paths == ["number", "body"]

    def test_a_body_that_is_no_json_is_at_fault_itself(self, checked: TestClient) -> None:
        answer = checked.post("/check?number=1", content="{tell-tale", headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        assert answer.json()["errors"] == [{"path": "body", "message": "JSON decode error"}]
        assert "tell-tale" not in answer.text

    def test_a_body_that_is_not_even_text_is_an_invalid_request(self, checked: TestClient) -> None:
        answer = checked.post("/check?number=1", content=b'{"\xff": 1}', headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        assert answer.json() == {"message": "The request cannot be read.", "code": "invalid_request"}

    def test_it_is_a_problem_where_that_is_accepted(self, checked: TestClient) -> None:
        content = checked.post("/check", headers={"Accept": PROBLEM}).json()
        assert (content["type"], content["title"], content["status"]) == ("about:blank", "Bad Request", 400)
        assert len(content["errors"]) == 2

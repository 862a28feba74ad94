"""When a call is sent again, and after which pause: the state machine alone, without clocks and sockets."""

from __future__ import annotations

import pickle
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from ecross._auth.steps import Pause
from ecross._transport.calls import (
    Failure,
    GetToken,
    Hidden,
    NoteRejection,
    ReplaceToken,
    Retries,
    Send,
    Step,
    call,
)
from ecross.errors import (
    ApiError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    TransportError,
    UnauthorizedError,
    ValidationError,
)
from ecross.types import AccessToken

NOW = 1_800_000_000.0
AGAIN = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]
ONCE = ["POST", "PATCH", "PURGE"]
LOST = Failure(TransportError("The connection broke off."), is_unsent=False)
UNSENT = Failure(TransportError("It could not be reached."), is_unsent=True)


def token(number: int) -> AccessToken:
    return AccessToken(f"token-number-{number}", "Bearer", datetime.now(UTC))


@dataclass
class Answer:
    status_code: int
    content: bytes = b"{}"
    headers: httpx2.Headers = field(default_factory=httpx2.Headers)


def after(status: int, retry_after: str, **headers: str) -> Answer:
    return Answer(status, headers=httpx2.Headers({"Retry-After": retry_after, **headers}))


@dataclass
class Run:
    """How a call went."""

    sent: list[AccessToken] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    rejections: list[NoteRejection] = field(default_factory=list)
    result: Any = None

    def do(self, flow: Generator[Step, Any, Any], outcomes: list[Any], *, is_replaced: bool) -> None:
        told: Any = None
        number = 1
        while True:
            match flow.send(told):
                case Send(sent):
                    self.sent.append(sent)
                    told = outcomes.pop(0)
                case GetToken():
                    told = token(number)
                case ReplaceToken():
                    number += 1
                    told = token(number) if is_replaced else None
                case Pause(seconds):
                    self.pauses.append(seconds)
                    told = None
                case NoteRejection() as rejection:
                    self.rejections.append(rejection)
                    told = None


def perform(
    *outcomes: Any,
    method: str = "GET",
    max_retries: int = 2,
    patience_seconds: float = 30.0,
    random: float = 0.5,
    can_be_repeated: bool = True,
    is_replaced: bool = True,
    hidden: tuple[str, ...] = (),
    sets_state: bool = False,
) -> Run:
    run = Run()
    retries = Retries(max_retries, patience_seconds, lambda: NOW, lambda: random)
    flow = call(method, "id-1", retries, can_be_repeated=can_be_repeated, hidden=Hidden(*hidden), sets_state=sets_state)
    left = list(outcomes)
    try:
        run.do(flow, left, is_replaced=is_replaced)
    except StopIteration as stop:
        run.result = stop.value
    except (ApiError, TransportError) as error:
        run.result = error
    assert left == []
    return run


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_an_answer_of_success_is_given_at_once(status: int) -> None:
    answer = Answer(status)
    run = perform(answer)
    assert run.result is answer
    assert run.pauses == []


@pytest.mark.parametrize("failure", [Answer(502), Answer(503), Answer(504), LOST, UNSENT])
@pytest.mark.parametrize("method", AGAIN)
def test_a_method_that_may_be_repeated_is_sent_again(method: str, failure: Any) -> None:
    run = perform(failure, failure, Answer(200), method=method)
    assert run.result.status_code == 200
    assert len(run.sent) == 3


@pytest.mark.parametrize("failure", [Answer(502), Answer(503), after(503, "1"), Answer(504), LOST])
@pytest.mark.parametrize("method", ONCE)
def test_a_method_that_may_not_be_repeated_is_sent_once_if_it_may_have_arrived(method: str, failure: Any) -> None:
    run = perform(failure, method=method)
    assert isinstance(run.result, (ServerError, TransportError))
    assert run.pauses == []


@pytest.mark.parametrize("failure", [Answer(502), Answer(503), Answer(504), LOST, UNSENT])
def test_what_sets_a_state_is_sent_again_whatever_its_method(failure: Any) -> None:
    run = perform(failure, failure, Answer(200), method="POST", sets_state=True)
    assert run.result.status_code == 200
    assert len(run.sent) == 3


@pytest.mark.parametrize("failure", [Answer(500), Answer(400), Answer(409)])
def test_what_sets_a_state_is_not_sent_again_where_a_get_is_not(failure: Any) -> None:
    assert len(perform(failure, method="POST", sets_state=True).sent) == 1


@pytest.mark.parametrize("failure", [UNSENT, Answer(429)])
@pytest.mark.parametrize("method", ONCE)
def test_any_method_is_sent_again_if_it_was_surely_not_acted_upon(method: str, failure: Any) -> None:
    run = perform(failure, Answer(200), method=method)
    assert run.result.status_code == 200


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, ApiError), (302, ApiError), (304, ApiError), (400, ValidationError), (403, ForbiddenError),
        (404, NotFoundError), (408, ApiError), (409, ValidationError), (422, ValidationError), (500, ServerError),
        (501, ServerError),
    ],
)  # fmt: skip
def test_what_another_try_would_not_change_is_not_tried(status: int, kind: type[ApiError]) -> None:
    run = perform(Answer(status, b'{"message": "No.", "code": "no"}'))
    assert type(run.result) is kind
    assert (run.result.status, run.result.message, run.result.code, run.result.request_id) == (
        status, "No.", "no", "id-1",
    )  # fmt: skip
    assert run.pauses == []


@pytest.mark.parametrize("failure", [Answer(503), Answer(429), LOST])
@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_no_more_retries_than_told(max_retries: int, failure: Any) -> None:
    run = perform(*[failure] * (max_retries + 1), max_retries=max_retries)
    assert isinstance(run.result, (ApiError, TransportError))
    assert len(run.pauses) == max_retries


@pytest.mark.parametrize("failure", [Answer(503), Answer(429), LOST, UNSENT])
def test_a_body_that_can_be_sent_once_is_sent_once(failure: Any) -> None:
    run = perform(failure, method="PUT", can_be_repeated=False)
    assert len(run.sent) == 1


def test_pauses_grow_and_are_spread_by_chance() -> None:
    assert perform(*[LOST] * 7, max_retries=6, random=1.0).pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert perform(*[LOST] * 3, random=0.5).pauses == [0.25, 0.5]
    assert perform(*[LOST] * 3, random=0.0).pauses == [0.0, 0.0]


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for_and_a_tenth_more_by_chance(status: int) -> None:
    assert perform(after(status, "20"), Answer(200), random=0.0).pauses == [20.0]
    assert perform(after(status, "20"), Answer(200), random=1.0).pauses == [22.0]
    assert perform(after(status, "0"), Answer(200), random=1.0).pauses == [0.1]


def test_retry_after_as_a_date_counts_from_the_answers_own_date() -> None:
    retry_after, date = "Fri, 15 Jan 2027 08:00:10 GMT", "Fri, 15 Jan 2027 08:00:03 GMT"
    assert perform(after(429, retry_after, Date=date), Answer(200), random=0.0).pauses == [7.0]
    assert perform(after(429, retry_after), Answer(200), random=0.0).pauses == [10.0]


@pytest.mark.parametrize("retry_after", ["soon", "-1", "", "9" * 40, "1e3"])
def test_a_retry_after_that_is_none_counts_as_untold(retry_after: str) -> None:
    assert perform(after(429, retry_after), Answer(200), random=1.0).pauses == [0.5]


@pytest.mark.parametrize("status", [429, 503])
def test_a_longer_retry_after_than_the_patience_is_told_and_not_waited_for(status: int) -> None:
    run = perform(after(status, "31"))
    assert run.pauses == []
    if status == 429:
        assert isinstance(run.result, RateLimitedError)
        assert run.result.retry_after_seconds == 31.0


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_after_a_401_the_request_is_sent_once_more_with_another_token(method: str) -> None:
    run = perform(Answer(401), Answer(200), method=method)
    assert run.result.status_code == 200
    assert run.sent == [token_like(run.sent, 1), token_like(run.sent, 2)]
    assert (run.pauses, run.rejections) == ([], [])


def token_like(sent: list[AccessToken], number: int) -> AccessToken:
    (found,) = [one for one in sent if one.value == f"token-number-{number}"]
    return found


def test_a_second_401_ends_the_call_and_is_noted() -> None:
    run = perform(Answer(401), Answer(401), max_retries=9)
    assert isinstance(run.result, UnauthorizedError)
    assert run.rejections == [NoteRejection(run.sent[1], is_second=True)]


def test_a_401_after_a_failure_after_a_401_is_the_second() -> None:
    run = perform(Answer(401), Answer(503), Answer(401), max_retries=9)
    assert isinstance(run.result, UnauthorizedError)
    assert [rejection.is_second for rejection in run.rejections] == [True]


def test_a_401_counts_as_no_retry() -> None:
    assert perform(Answer(401), Answer(200), max_retries=0).result.status_code == 200


def test_where_another_token_would_not_help_the_401_is_raised() -> None:
    run = perform(Answer(401), is_replaced=False)
    assert isinstance(run.result, UnauthorizedError)
    assert run.rejections == []


def test_a_401_of_a_body_that_was_sent_is_noted_for_the_next_call() -> None:
    run = perform(Answer(401), can_be_repeated=False)
    assert isinstance(run.result, UnauthorizedError)
    assert run.rejections == [NoteRejection(run.sent[0], is_second=False)]


@pytest.mark.parametrize(
    ("told", "expected"),
    [(None, "id-1"), ("srv-7", "srv-7"), ("", "id-1"), ("a b", "id-1"), ("x" * 129, "id-1"), ("id\u00e9", "id-1")],
)
def test_the_servers_own_request_id_comes_first_if_it_is_one(told: str | None, expected: str) -> None:
    headers = httpx2.Headers([] if told is None else [(b"X-Request-Id", told.encode("latin-1"))])
    answer = Answer(404, headers=headers)
    assert perform(answer).result.request_id == expected


def test_no_error_repeats_the_secret_or_any_token_that_was_sent() -> None:
    echo = b'{"message": "pa55word token-number-1 token-number-2", "code": "pa55word"}'
    headers = httpx2.Headers({"X-Request-Id": "token-number-1"})
    run = perform(Answer(401), Answer(400, echo, headers), hidden=("pa55word",))
    assert run.result.message == "[hidden] [hidden] [hidden]"
    assert (run.result.code, run.result.request_id) == (None, None)


def test_what_is_hidden_shows_in_no_repr_and_no_pickle() -> None:
    hidden = Hidden("pa55word")
    assert "pa55word" not in repr(hidden) + str(hidden) + repr([hidden])
    with pytest.raises(TypeError, match="neither copied nor pickled"):
        pickle.dumps(hidden)

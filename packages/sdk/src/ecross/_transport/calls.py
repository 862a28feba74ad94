"""One call of the API as a state machine without input or output: when to send again, and what an answer means."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from ecross._auth.api_errors import REQUEST_ID, read_error, read_retry_after
from ecross._auth.life import backoff_seconds
from ecross._auth.steps import Pause
from ecross.errors import ApiError, RateLimitedError, TransportError
from ecross.types import AccessToken

_UNAUTHORIZED, _TOO_MANY_REQUESTS = 401, 429
_SUCCESS = range(200, 300)
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})  # RFC 9110 section 9.2.2, without TRACE
# The server, or a proxy before it, was away: the same request may find it back.
_PASSING_STATUSES = frozenset({502, 503, 504})
_JITTER_SHARE, _SMALLEST_JITTER_SECONDS = 0.1, 0.1


class Answer(Protocol):
    """What is read of an answer."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""

    @property
    def content(self) -> bytes:
        """The body."""

    @property
    def headers(self) -> Any:  # noqa: ANN401 - a mapping that ignores case, of the HTTP library's own type
        """The header fields."""


class Hidden:
    """Texts that no error may repeat. Does not show them itself: tracebacks are logged with their local variables."""

    __slots__ = ("_texts",)

    def __init__(self, *texts: str) -> None:
        self._texts = texts

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __reduce__(self) -> NoReturn:
        raise TypeError("what is hidden is neither copied nor pickled")


@dataclass(frozen=True, slots=True)
class GetToken:
    """Give a good token."""


@dataclass(frozen=True, slots=True)
class ReplaceToken:
    """Give another token than the one that the server refused, or `None` where that would not help."""

    rejected: AccessToken


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request with this token: gives an answer or a `Failure`."""

    token: AccessToken


@dataclass(frozen=True, slots=True)
class NoteRejection:
    """Remember that the server refused the token, and no other is asked for now."""

    token: AccessToken
    is_second: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer. `is_unsent`: the server cannot have seen the request."""

    error: TransportError
    is_unsent: bool


Step = GetToken | ReplaceToken | Send | Pause | NoteRejection


@dataclass(frozen=True, slots=True)
class Retries:
    """How a call is repeated. `patience_seconds` is the longest Retry-After that is waited for."""

    max_retries: int
    patience_seconds: float
    wall: Callable[[], float]
    random: Callable[[], float]


def call(
    method: str, request_id: str, retries: Retries, *, can_be_repeated: bool, hidden: Hidden, sets_state: bool = False
) -> Generator[Step, Any, Any]:
    """Gives the answer, if it is one of success. Raises `ApiError` for the others, `TransportError` if there is none.

    `can_be_repeated`: whether the body can be sent a second time. `sets_state`: whether the request may be acted upon
    twice, though its method does not say so. `hidden` are texts that no error may repeat.
    """
    is_idempotent = sets_state or method in _IDEMPOTENT
    token: AccessToken = yield GetToken()
    failures = 0
    is_second_token = False
    while True:
        hidden = Hidden(*hidden, token.value)
        outcome: Answer | Failure = yield Send(token)
        if not isinstance(outcome, Failure) and outcome.status_code in _SUCCESS:
            return outcome
        error = _read_outcome(outcome, request_id, retries, hidden)
        if isinstance(error, ApiError) and error.status == _UNAUTHORIZED:
            if is_second_token or not can_be_repeated:
                yield NoteRejection(token, is_second=is_second_token)
                raise error
            newer: AccessToken | None = yield ReplaceToken(token)
            if newer is None:
                raise error
            token, is_second_token = newer, True
            continue
        pause = _pause_before_retry(outcome, error, failures, retries, is_idempotent=is_idempotent)
        if pause is None or not can_be_repeated or failures >= retries.max_retries:
            raise error
        failures += 1
        yield Pause(pause)
        token = yield GetToken()


def _told_request_id(answer: Answer, request_id: str) -> str:
    """What the server's operator finds the request by: the server's own id where it tells one, else the one sent."""
    told: str | None = answer.headers.get("X-Request-Id")
    return told if told is not None and REQUEST_ID.fullmatch(told) else request_id


def _read_outcome(
    outcome: Answer | Failure, request_id: str, retries: Retries, hidden: Hidden
) -> ApiError | TransportError:
    if isinstance(outcome, Failure):
        return outcome.error
    headers = outcome.headers
    wait = read_retry_after(headers.get("Retry-After"), now=retries.wall(), date=headers.get("Date"))
    return read_error(
        outcome.status_code,
        outcome.content,
        request_id=_told_request_id(outcome, request_id),
        retry_after_seconds=wait,
        hidden=hidden,
    )


def _pause_before_retry(
    outcome: Answer | Failure,
    error: ApiError | TransportError,
    failures: int,
    retries: Retries,
    *,
    is_idempotent: bool,
) -> float | None:
    """How long to wait before the request is sent again; `None` if it must not be."""
    backoff = backoff_seconds(failures + 1, retries.random())
    if isinstance(outcome, Failure):
        return backoff if is_idempotent or outcome.is_unsent else None
    headers = outcome.headers
    wait = read_retry_after(headers.get("Retry-After"), now=retries.wall(), date=headers.get("Date"))
    # A 429 says that the request was not acted upon. A 503 does not: it may come from a proxy that lost the answer.
    if isinstance(error, RateLimitedError) or (is_idempotent and outcome.status_code in _PASSING_STATUSES):
        if wait is None:
            return backoff
        jitter = retries.random() * max(_SMALLEST_JITTER_SECONDS, wait * _JITTER_SHARE)
        return wait + jitter if wait <= retries.patience_seconds else None
    return None

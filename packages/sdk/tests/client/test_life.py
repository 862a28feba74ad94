"""The state machine of a token's life, driven without files, network and waiting: several processes in one world."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecross import MemoryCache
from ecross._auth.account import Account, Held
from ecross._auth.answers import TokenAnswer
from ecross._auth.entry import CachedToken, Entry, Refusal, decode, encode
from ecross._auth.life import Clocks, TokenLife, backoff_seconds
from ecross._auth.steps import AskForToken, Pause, ReadEntry, Step, TryLock, Unlock, WriteEntry
from ecross.errors import (
    ApiError,
    CacheError,
    EcrossError,
    ForbiddenError,
    InvalidCredentialsError,
    RateLimitedError,
    ServerError,
    TransportError,
    ValidationError,
)

SECRET = "s3cret-of-the-merchant"
LIFE = 28800.0
DAY = 86400.0
START = 1_800_000_000.0
PUBLISHED = "Incorrect username or password."
TOKEN = CachedToken("tok-of-another", START, START + LIFE * 0.8, START + LIFE)


@dataclass
class World:
    """A server, a cache that processes share, and time."""

    server_time: float = START
    monotonic: float = 1000.0
    entry: bytes | None = None
    is_locked: bool = False
    asked: int = 0
    script: list[TokenAnswer | EcrossError | None] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    broken: set[type] = field(default_factory=set)
    on_pause: Callable[[], object] = lambda: None

    def answer(self) -> TokenAnswer | None:
        self.asked += 1
        told = self.script.pop(0) if self.script else granted(f"tok-{self.asked}")
        if isinstance(told, EcrossError):
            raise told
        if told is None:
            return None
        date = formatdate(self.server_time, usegmt=True)
        return TokenAnswer(told.status, told.body, told.date or date, told.retry_after, told.request_id)

    def pass_by(self, seconds: float) -> None:
        self.server_time += seconds
        self.monotonic += seconds

    @property
    def token(self) -> str | None:
        """The one in the cache."""
        token = decode(self.entry).token
        return None if token is None else token.value


class Process:
    """A process of the user's: its own clock, and what it holds in memory."""

    def __init__(self, world: World, secret: str = SECRET, *, max_retries: int = 2, patience: float = 30.0) -> None:
        self.world = world
        self.clock_ahead = 0.0
        self.chance = 0.5
        clocks = Clocks(lambda: self.wall, lambda: world.monotonic, lambda: self.chance)
        self.life = TokenLife(secret, clocks, patience_seconds=patience, max_retries=max_retries)
        self.account = Account(MemoryCache(), "https://auth.example", "acme-1")

    @property
    def wall(self) -> float:
        return self.world.server_time + self.clock_ahead

    def is_over(self) -> bool:
        held = self.account.held
        return held is None or held.is_over(self.wall, self.world.monotonic)

    def is_due(self) -> bool:
        held = self.account.held
        return held is not None and held.is_due(self.wall, self.world.monotonic)

    def obtain(self, rejected: str | None = None, *, is_forced: bool = False) -> str | None:
        held: Held | None = self._run(self.life.obtain(self.account, rejected=rejected, is_forced=is_forced))
        return None if held is None else held.token.value

    def renew(self) -> None:
        self._run(self.life.renew(self.account))

    def _run(self, flow: Generator[Step, Any, Any]) -> Any:
        holds_lock = False
        result: object = None
        failure: EcrossError | None = None
        try:
            while True:
                step = flow.send(result) if failure is None else flow.throw(failure)
                result = failure = None
                if isinstance(step, TryLock):
                    assert not holds_lock
                try:
                    result = self._perform(step)
                except EcrossError as error:
                    failure = error
                if isinstance(step, TryLock):
                    holds_lock = result is True
                if isinstance(step, Unlock):
                    holds_lock = False
        except StopIteration as stop:
            assert not holds_lock, "the lock is given back"
            return stop.value
        except EcrossError:
            assert not holds_lock, "the lock is given back"
            raise

    def _perform(self, step: Step) -> object:
        world = self.world
        if type(step) in world.broken:
            raise CacheError("The folder is not private.")
        match step:
            case ReadEntry():
                return world.entry
            case WriteEntry(entry):
                world.entry = entry
            case TryLock():
                is_free, world.is_locked = not world.is_locked, True
                return is_free
            case Unlock():
                world.is_locked = False
            case Pause(seconds):
                world.pauses.append(seconds)
                world.pass_by(seconds)
                world.on_pause()
            case AskForToken():
                return world.answer()
        return None


def granted(token: str = "tok-x", lifetime: float = LIFE) -> TokenAnswer:  # noqa: S107 - a token of no server
    return TokenAnswer(200, json.dumps({"token": token, "tokenType": "Bearer", "expiresIn": int(lifetime)}).encode())


def refused(status: int, message: str = "No.", retry_after: str | None = None) -> TokenAnswer:
    return TokenAnswer(status, json.dumps({"message": message}).encode(), retry_after=retry_after)


@pytest.fixture
def world() -> World:
    return World()


class TestOneToken:
    def test_the_first_process_asks_and_the_others_take_it_from_the_cache(self, world: World) -> None:
        assert [Process(world).obtain() for _ in range(5)] == ["tok-1"] * 5
        assert world.asked == 1

    def test_who_waits_for_the_lock_takes_what_its_holder_wrote(self, world: World) -> None:
        def end_of_the_other() -> None:
            world.entry, world.is_locked = encode(Entry(token=TOKEN)), False

        world.is_locked = True
        world.on_pause = end_of_the_other
        assert Process(world).obtain() == TOKEN.value
        assert world.asked == 0
        assert 0.02 <= world.pauses[0] <= 0.08

    def test_a_lock_that_is_never_free_ends_the_patience(self, world: World) -> None:
        world.is_locked = True
        assert Process(world, patience=3.0).obtain() is None
        assert 3.0 <= world.monotonic - 1000.0 < 3.1
        assert world.asked == 0

    def test_a_forced_one_is_new_for_all(self, world: World) -> None:
        first, second = Process(world), Process(world)
        first.obtain()
        assert second.obtain(is_forced=True) == "tok-2"
        assert Process(world).obtain() == "tok-2"
        assert Process(World()).obtain(is_forced=True) == "tok-1"

    def test_a_forced_one_that_cannot_be_had_takes_the_good_one_from_nobody(self, world: World) -> None:
        process = Process(world)
        process.obtain()
        world.script += [refused(500)] * 3 + [refused(429, retry_after="600")]
        with pytest.raises(ServerError):
            process.obtain(is_forced=True)
        with pytest.raises(RateLimitedError):
            process.obtain(is_forced=True)
        assert Process(world).obtain() == "tok-1"
        assert not process.is_over()

    def test_a_forced_one_without_an_answer_of_use_is_asked_for_again(self, world: World) -> None:
        process = Process(world)
        process.obtain()
        world.script.append(refused(503))
        assert process.obtain(is_forced=True) == "tok-3"


class TestRenewal:
    @given(st.floats(0, 1, exclude_max=True))
    def test_it_is_due_between_75_and_90_percent_of_life(self, chance: float) -> None:
        world = World()
        process = Process(world)
        process.chance = chance
        process.obtain()
        world.pass_by(LIFE * 0.75 - 1)
        assert not process.is_due()
        world.pass_by(LIFE * 0.15 + 2)
        assert process.is_due()
        assert not process.is_over()

    def test_the_point_is_the_same_for_all_processes(self, world: World) -> None:
        first, second = Process(world), Process(world)
        first.chance, second.chance = 0.2, 0.9
        first.obtain()
        second.obtain()
        world.pass_by(LIFE * 0.78 + 1)
        assert first.is_due()
        assert second.is_due()

    def test_one_renews_and_the_others_take_it(self, world: World) -> None:
        processes = [Process(world) for _ in range(4)]
        for process in processes:
            process.obtain()
        world.pass_by(LIFE * 0.9)
        for process in processes:
            process.renew()
        assert {process.account.held.token.value for process in processes if process.account.held} == {"tok-2"}
        assert world.asked == 2

    def test_while_another_renews_it_is_put_off_and_the_old_token_serves(self, world: World) -> None:
        process = Process(world)
        process.obtain()
        world.pass_by(LIFE * 0.9)
        world.is_locked = True
        process.renew()
        assert world.asked == 1
        assert world.monotonic + 1 <= process.account.renew_not_before <= world.monotonic + 3
        assert not process.is_over()

    @pytest.mark.parametrize(
        "fault", [refused(500), refused(401), refused(429, retry_after="7"), refused(403), TransportError("away")]
    )
    def test_one_that_fails_takes_nothing_away_and_is_put_off_for_all(
        self, world: World, fault: TokenAnswer | EcrossError
    ) -> None:
        process, other = Process(world), Process(world)
        process.obtain()
        other.obtain()
        world.pass_by(LIFE * 0.9)
        world.script.append(fault)
        process.renew()
        assert not process.is_over()
        assert world.token == "tok-1"
        assert process.account.renew_not_before > world.monotonic
        other.renew()
        assert not other.is_over()
        assert not other.is_due()
        assert world.asked == 2

    def test_failures_one_after_the_other_are_farther_and_farther_apart(self, world: World) -> None:
        process = Process(world)
        process.obtain()
        world.pass_by(LIFE * 0.83)
        waits = []
        for _ in range(9):
            world.script.append(TransportError("away"))
            process.renew()
            wait = process.account.renew_not_before - world.monotonic
            waits.append(wait)
            world.pass_by(wait)
        assert waits == sorted(waits)
        assert waits[0] == pytest.approx(5 * 0.75)
        assert waits[-1] == pytest.approx(300 * 0.75)
        world.pass_by(1)
        process.renew()
        assert world.token == "tok-11"
        assert decode(world.entry).failures == 0

    def test_no_failure_can_be_put_off_beyond_the_end_of_the_token(self, world: World) -> None:
        process = Process(world)
        process.obtain()
        world.pass_by(LIFE - 6)
        world.script.append(refused(429, retry_after="3000"))
        process.renew()
        token = decode(world.entry).token
        assert token is not None
        assert token.refresh_at == token.expires_at
        world.pass_by(6)
        assert process.is_over()

    def test_a_refusal_that_counts_is_not_asked_again(self, world: World) -> None:
        process, other = Process(world), Process(world)
        process.obtain()
        other.obtain()
        world.pass_by(LIFE * 0.9)
        world.script.append(refused(401))
        with pytest.raises(InvalidCredentialsError):
            other.obtain("tok-1")
        world.pass_by(20)
        process.renew()
        assert process.account.renew_not_before == world.monotonic + 40
        assert world.asked == 2

    def test_what_a_renewal_finds_gone_it_asks_for(self, world: World) -> None:
        process = Process(world)
        process.obtain()
        world.entry = None
        process.renew()
        assert world.token == "tok-2"

    def test_a_renewal_that_fails_without_a_token_in_the_cache_keeps_the_one_in_memory(self, world: World) -> None:
        process = Process(world)
        process.obtain()
        world.entry = None
        world.script.append(refused(500))
        process.renew()
        assert not process.is_over()
        assert world.token is None

    def test_a_renewal_does_not_bring_back_what_the_server_refused(self, world: World) -> None:
        process = Process(world)
        process.obtain()
        assert process.account.held is not None
        process.account.rejected, process.account.held = process.account.held.token, None
        world.script.append(refused(500))
        process.renew()
        assert process.is_over()
        process.renew()
        assert not process.is_over()
        assert world.token == "tok-3"


class TestEndOfLife:
    def test_a_token_is_given_up_a_little_before_its_end(self, world: World) -> None:
        process = Process(world)
        process.obtain()
        world.pass_by(LIFE - 5.5)
        assert not process.is_over()
        world.pass_by(1)
        assert process.is_over()
        assert Process(world).obtain() == "tok-2"

    def test_the_margin_of_a_short_life_is_short(self, world: World) -> None:
        world.script.append(granted(lifetime=60))
        process = Process(world)
        process.obtain()
        world.pass_by(59)
        assert not process.is_over()
        world.pass_by(0.5)
        assert process.is_over()

    def test_one_so_short_that_it_is_over_at_once_is_still_used_once(self, world: World) -> None:
        world.script.append(granted("tok-short", lifetime=1))
        process = Process(world)
        assert process.obtain() == "tok-short"


class TestRejectedTokens:
    def test_the_cached_one_is_replaced(self, world: World) -> None:
        process = Process(world)
        process.obtain()
        assert process.obtain("tok-1") == "tok-2"
        assert Process(world).obtain() == "tok-2"

    def test_one_that_another_process_has_replaced_already_costs_nothing(self, world: World) -> None:
        process, other = Process(world), Process(world)
        process.obtain()
        other.obtain()
        other.obtain("tok-1")
        assert process.obtain("tok-1") == "tok-2"
        assert world.asked == 2

    def test_a_rejected_one_is_not_left_to_others_when_no_other_can_be_had(self, world: World) -> None:
        process = Process(world)
        process.obtain()
        world.script += [refused(500)] * 3
        with pytest.raises(ServerError):
            process.obtain("tok-1")
        assert world.token is None


class TestWrongCredentials:
    def test_they_are_remembered_for_sixty_seconds_by_all_processes(self, world: World) -> None:
        world.script.append(refused(401, PUBLISHED))
        for _ in range(3):
            with pytest.raises(InvalidCredentialsError, match="Incorrect username or password"):
                Process(world).obtain()
        assert world.asked == 1
        assert world.pauses == []
        world.pass_by(59)
        with pytest.raises(InvalidCredentialsError):
            Process(world).obtain()
        world.pass_by(2)
        assert Process(world).obtain() == "tok-2"

    def test_another_secret_is_asked_for_at_once(self, world: World) -> None:
        world.script.append(refused(401))
        with pytest.raises(InvalidCredentialsError):
            Process(world, "old").obtain()
        assert Process(world, "new").obtain() == "tok-2"

    def test_nothing_of_the_secret_is_kept(self, world: World) -> None:
        world.script.append(refused(401, f"No such user with {SECRET}."))
        with pytest.raises(InvalidCredentialsError) as caught:
            Process(world).obtain()
        assert SECRET not in str(caught.value)
        assert world.entry is not None
        assert SECRET.encode() not in world.entry

    @pytest.mark.parametrize("status", [400, 403, 404, 422])
    def test_the_published_message_means_them_with_any_status_of_a_refusal(self, world: World, status: int) -> None:
        world.script.append(refused(status, PUBLISHED))
        with pytest.raises(InvalidCredentialsError) as caught:
            Process(world).obtain()
        assert caught.value.status == status

    def test_a_broken_server_says_nothing_of_them(self, world: World) -> None:
        world.script += [refused(500, PUBLISHED)]
        with pytest.raises(ServerError):
            Process(world, max_retries=0).obtain()

    def test_they_are_forgotten_when_the_clock_was_set_back_since(self, world: World) -> None:
        world.script.append(refused(401))
        process = Process(world)
        with pytest.raises(InvalidCredentialsError):
            process.obtain()
        process.clock_ahead -= 3600
        assert process.obtain() == "tok-2"

    def test_many_refusals_leave_nothing_behind(self, world: World) -> None:
        process = Process(world)
        world.script += [refused(401)] * 12
        for _ in range(12):
            with pytest.raises(InvalidCredentialsError):
                process.obtain()
            world.pass_by(61)
        assert len(process.life._digests) <= 9


class TestRateLimits:
    def test_all_processes_wait_as_long_as_they_are_told(self, world: World) -> None:
        world.script.append(refused(429, retry_after="10"))
        began = world.server_time
        assert Process(world).obtain() == "tok-2"
        assert began + 10 <= world.server_time <= began + 11
        assert world.pauses == [pytest.approx(10.5)]

    def test_one_that_comes_later_waits_for_the_rest_and_asks_nothing_before(self, world: World) -> None:
        world.script.append(refused(429, retry_after="10"))
        with pytest.raises(RateLimitedError):
            Process(world, max_retries=0).obtain()
        world.pass_by(7)
        assert world.asked == 1
        assert Process(world).obtain() == "tok-2"
        assert world.pauses == [pytest.approx(3.15)]

    def test_a_date_counts_from_the_answers_own_date(self, world: World) -> None:
        world.script.append(refused(429, retry_after=formatdate(world.server_time + 20, usegmt=True)))
        process = Process(world)
        process.clock_ahead = 3 * DAY
        assert process.obtain() == "tok-2"
        assert world.pauses == [pytest.approx(21, abs=0.6)]

    def test_without_a_time_five_seconds_are_taken(self, world: World) -> None:
        world.script.append(refused(429))
        assert Process(world).obtain() == "tok-2"
        assert world.pauses == [pytest.approx(5.25)]

    @pytest.mark.parametrize("told", ["0", "0.0", formatdate(START - 60, usegmt=True)])
    def test_a_wait_of_no_time_is_one_with_backoff(self, world: World, told: str) -> None:
        world.script += [refused(429, retry_after=told)] * 2
        assert Process(world).obtain() == "tok-3"
        assert world.pauses == [pytest.approx(0.25), pytest.approx(0.5)]

    @pytest.mark.parametrize(("told", "remembered"), [("31", 31.0), ("1000000", 3600.0)])
    def test_a_longer_wait_than_the_patience_is_an_error_at_once(
        self, world: World, told: str, remembered: float
    ) -> None:
        world.script.append(refused(429, retry_after=told))
        for _ in range(2):
            with pytest.raises(RateLimitedError) as caught:
                Process(world).obtain()
            assert caught.value.retry_after_seconds == pytest.approx(remembered)
        assert world.asked == 1

    def test_a_second_one_in_a_row_is_waited_for_again_and_a_third_is_an_error(self, world: World) -> None:
        world.script += [refused(429, retry_after="2")] * 3
        with pytest.raises(RateLimitedError):
            Process(world).obtain()
        assert len(world.pauses) == 2
        assert world.asked == 3

    def test_waiting_all_together_is_never_longer_than_the_patience(self, world: World) -> None:
        world.script += [refused(429, retry_after="20")] * 2
        with pytest.raises(RateLimitedError):
            Process(world).obtain()
        assert world.pauses == [pytest.approx(21)]


class TestFaultsOfTheServer:
    @pytest.mark.parametrize("fault", [refused(500), refused(503), TransportError("away")])
    def test_those_that_pass_are_asked_again(self, world: World, fault: TokenAnswer | EcrossError) -> None:
        world.script += [fault, fault]
        assert Process(world).obtain() == "tok-3"
        assert world.pauses == [pytest.approx(0.25), pytest.approx(0.5)]

    @pytest.mark.parametrize("fault", [refused(500), TransportError("away")])
    def test_one_too_many_is_raised(self, world: World, fault: TokenAnswer | EcrossError) -> None:
        world.script += [fault] * 3
        with pytest.raises((ServerError, TransportError)):
            Process(world).obtain()
        assert world.asked == 3

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [(refused(400), ValidationError), (refused(403), ForbiddenError), (refused(409), ValidationError),
         (refused(302), ApiError), (TokenAnswer(200, b"<html>"), ServerError)],
    )  # fmt: skip
    def test_others_are_raised_at_once(self, world: World, answer: TokenAnswer, kind: type[ApiError]) -> None:
        world.script.append(answer)
        with pytest.raises(kind):
            Process(world).obtain()
        assert (world.asked, world.pauses) == (1, [])

    def test_no_answer_at_all_is_an_absence(self, world: World) -> None:
        world.script.append(None)
        with pytest.raises(TransportError, match="no answer"):
            Process(world, max_retries=0).obtain()

    @given(st.integers(1, 2000), st.floats(0, 1))
    def test_a_backoff_has_an_upper_end(self, failures: int, chance: float) -> None:
        assert 0 <= backoff_seconds(failures, chance) <= 8


class TestClocks:
    @pytest.mark.parametrize("ahead", [-DAY, -3600.0, -2.0, 0.0, 2.0, 3600.0, DAY, 400 * DAY])
    def test_a_clock_that_is_wrong_changes_nothing(self, world: World, ahead: float) -> None:
        process = Process(world)
        process.clock_ahead = ahead
        process.obtain()
        assert process.account.held is not None
        expires_at = process.account.held.token.expires_at.timestamp()
        assert expires_at == pytest.approx(process.wall + LIFE, abs=2)
        world.pass_by(LIFE - 8)
        assert not process.is_over()
        world.pass_by(5)
        assert process.is_over()

    @pytest.mark.parametrize("jump", [-400 * DAY, -DAY, -3600, 3600, DAY, 400 * DAY])
    def test_a_clock_that_jumps_costs_one_token_at_most(self, world: World, jump: float) -> None:
        process, others = Process(world), [Process(world) for _ in range(5)]
        process.obtain()
        for each in (process, *others):
            each.clock_ahead = jump
        for _ in range(3):
            for each in (process, *others):
                if each.is_over():
                    each.obtain()
            world.pass_by(60)
        assert world.asked <= 2
        assert not any(each.is_over() for each in (process, *others))

    @pytest.mark.parametrize("jump", [-DAY, -30.0, 0.0])
    def test_a_clock_set_back_makes_no_token_younger(self, world: World, jump: float) -> None:
        process = Process(world)
        process.obtain()
        world.pass_by(LIFE - 100)
        process.clock_ahead = jump
        held = process.life.adopt(process.account, decode(world.entry), rejected=None)
        world.pass_by(98)
        assert process.is_over()
        assert held is None or held.is_over(process.wall, world.monotonic)

    def test_after_a_sleep_of_the_machine_an_old_token_is_over(self, world: World) -> None:
        process = Process(world)
        process.obtain()
        world.server_time += LIFE  # the monotonic clock stands still meanwhile
        assert process.is_over()
        assert process.obtain() == "tok-2"

    def test_a_small_difference_is_none(self, world: World) -> None:
        process = Process(world)
        process.clock_ahead = 1.2
        process.obtain()
        assert decode(world.entry).skew_seconds == 0.0

    def test_an_answer_without_a_date_leaves_what_was_learned(self, world: World) -> None:
        process = Process(world)
        process.clock_ahead = 3600
        process.obtain()
        learned = decode(world.entry).skew_seconds
        assert learned == pytest.approx(-3600, abs=2)
        world.script.append(TokenAnswer(200, granted("tok-n").body, date="yesterday"))
        process.obtain(is_forced=True)
        assert decode(world.entry).skew_seconds == learned

    @pytest.mark.parametrize("date", ["Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"])
    def test_a_date_of_another_age_is_not_learned(self, world: World, date: str) -> None:
        world.script.append(TokenAnswer(200, granted("tok-n").body, date=date))
        assert Process(world).obtain() == "tok-n"
        assert Process(world).obtain() == "tok-n"
        assert world.asked == 1


moments = (
    st.floats() | st.integers() | st.floats(-1e6, 1e6).map(lambda near: START + near)
    | st.sampled_from([10**400, -(10**400), 1e308, -1e308, 0, 1e11, 6e10, -6e10, START])
)  # fmt: skip
lives = st.floats(-1, 700_000)


class TestHostileEntries:
    @settings(max_examples=300)
    @given(moments, lives, lives, moments, moments)
    def test_whatever_times_an_entry_tells_the_call_gets_a_token(
        self, obtained_at: float, first: float, second: float, skew: float, failures: float
    ) -> None:
        world = World()
        entry: dict[str, Any] = {"version": 1, "skew": skew, "failures": failures}
        with contextlib.suppress(OverflowError):
            times = {"obtainedAt": obtained_at, "refreshAt": obtained_at + first, "expiresAt": obtained_at + second}
            entry["token"] = {"value": "tok-0", **times}
        world.entry = json.dumps(entry).encode()
        process = Process(world)

        assert process.obtain() in {"tok-0", "tok-1"}
        assert not process.is_over()
        world.script.append(refused(500))
        process.renew()
        assert world.asked <= 2

    @settings(max_examples=40)  # each digests a secret, slowly as it should be
    @given(moments, moments, st.sampled_from(["credentials", "rate"]))
    def test_no_refusal_holds_for_longer_than_an_hour(self, told_at: float, until: float, kind: str) -> None:
        world = World()
        process = Process(world)
        salt = b"s" * 16
        known = Refusal("rate", START, START + 60, 429, "No.", None, None, salt, process.life._digest(salt))
        entry = json.loads(encode(Entry(refusal=known)))
        entry["refusal"] |= {"kind": kind, "toldAt": told_at, "until": until}
        world.entry = json.dumps(entry).encode()
        with contextlib.suppress(InvalidCredentialsError, RateLimitedError):
            process.obtain()

        world.pass_by(3600 + 61)
        assert process.obtain() == "tok-1"


class TestBrokenCache:
    @pytest.mark.parametrize("step", [ReadEntry, TryLock, WriteEntry])
    def test_the_call_gets_its_token_and_the_log_is_told(
        self, world: World, step: type, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.broken = {step}
        with caplog.at_level(logging.WARNING, "ecross"):
            assert Process(world).obtain() == "tok-1"
        assert "The folder is not private." in caplog.text
        assert SECRET not in caplog.text
        assert "tok-1" not in caplog.text

    def test_a_renewal_survives_it_as_well(self, world: World) -> None:
        process = Process(world)
        process.obtain()
        world.broken = {ReadEntry, TryLock, WriteEntry}
        process.renew()
        assert process.account.held is not None
        assert process.account.held.token.value == "tok-2"

    def test_what_cannot_be_an_entry_counts_as_none(self, world: World) -> None:
        world.entry = b"\x00 no entry"
        assert Process(world).obtain() == "tok-1"
        assert world.token == "tok-1"

    def test_an_entry_without_a_token_holds_nothing(self, world: World) -> None:
        process = Process(world)
        assert process.life.hold_granted(process.account, Entry()) is None
        world.entry = encode(Entry())
        assert process.obtain() == "tok-1"

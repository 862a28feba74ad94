"""The two ways to run the state machine: with threads that send, and with asyncio's tasks."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from ecross._auth.steps import Pause
from ecross._bulk.flow import Await, Perform, Start, Step, Tell
from ecross._operations import Operation
from ecross.errors import ConfigurationError, EcrossError
from ecross.types.syncs import SyncProgress, SyncReport

T = TypeVar("T")
Flow = Generator[Step, Any, SyncReport]
OnProgress = Callable[[SyncProgress], object]


class Performs(Protocol):
    """Performs a call, for threads."""

    def __call__(self, operation: Operation[T], /) -> T:
        """What its answer says."""


class PerformsAsync(Protocol):
    """Performs a call, for asyncio's tasks."""

    def __call__(self, operation: Operation[T], /) -> Awaitable[T]:
        """What its answer says."""


def run_in_threads(
    flow: Flow, perform: Performs, *, workers: int, sleep: Callable[[float], None], on_progress: OnProgress | None
) -> SyncReport:
    """Run it to its end, with so many threads that send."""
    threads = _Threads(perform, workers, sleep, on_progress or _ignore)
    try:
        result: object = None
        while not isinstance(step := _advance(flow, result), SyncReport):
            result = threads.do(step)
        return step
    finally:
        flow.close()
        threads.end()


async def run_async(
    flow: Flow,
    perform: PerformsAsync,
    *,
    pull: AsyncIterator[object] | None,
    sleep: Callable[[float], Awaitable[None]],
    on_progress: OnProgress | None,
) -> SyncReport:
    """Run it to its end in the event loop; the files are read and written in a thread of its own."""
    loop = asyncio.get_running_loop()
    tasks = _Tasks(perform, pull, sleep, on_progress or _ignore)
    with ThreadPoolExecutor(1, "ecross-sync") as thread:
        try:
            result: object = None
            while not isinstance(step := await loop.run_in_executor(thread, _advance, flow, result), SyncReport):
                result = await tasks.do(step)
            return step
        finally:
            await tasks.end()
            # In the same thread, after the step that may still run there when this task is cancelled.
            thread.submit(flow.close)


def _advance(flow: Flow, result: object) -> Step | SyncReport:
    """What is to be done next, or what all came to. An error that a call raised is raised inside."""
    try:
        return flow.throw(result) if isinstance(result, EcrossError) else flow.send(result)
    except StopIteration as stop:  # which no future can carry
        report: SyncReport = stop.value
        return report


def _ignore(_: SyncProgress) -> None:
    """Nobody is told."""


class _Threads:
    """Does the steps; calls beside others are performed by threads, begun when they are first needed."""

    def __init__(
        self, perform: Performs, workers: int, sleep: Callable[[float], None], on_progress: OnProgress
    ) -> None:
        self._perform = perform
        self._workers = workers
        self._sleep = sleep
        self._on_progress = on_progress
        self._began = 0
        self._tasks: queue.SimpleQueue[Start | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[int, object]] = queue.SimpleQueue()

    def do(self, step: Step) -> object:
        """Do one step. Gives what it gives, or the `EcrossError` that its call raised."""
        match step:
            case Perform(operation):
                try:
                    return self._perform(operation)
                except EcrossError as error:
                    return error
            case Start():
                self._start(step)
            case Await():
                return self._next_result()
            case Pause(seconds):
                self._sleep(seconds)
            case Tell(progress):
                self._on_progress(progress)
            case _:
                return ConfigurationError("An asynchronous source needs an AsyncClient.")
        return None

    def end(self) -> None:
        """Begin nothing more. Calls under way end by themselves."""
        for _ in range(self._began):
            self._tasks.put(None)

    def _start(self, step: Start) -> None:
        if self._began < self._workers:
            self._began += 1
            # They do not hold up the end of a program that was interrupted: what they send may be sent again.
            threading.Thread(target=self._work, name=f"ecross-sync-{self._began}", daemon=True).start()
        self._tasks.put(step)

    def _next_result(self) -> tuple[int, object]:
        number, result = self._results.get()
        if isinstance(result, BaseException) and not isinstance(result, EcrossError):
            raise result
        return number, result

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                self._results.put((task.number, self._perform(task.operation)))
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                self._results.put((task.number, error))


class _Tasks:
    """Does the steps; calls beside others are performed by tasks."""

    def __init__(
        self,
        perform: PerformsAsync,
        pull: AsyncIterator[object] | None,
        sleep: Callable[[float], Awaitable[None]],
        on_progress: OnProgress,
    ) -> None:
        self._perform = perform
        self._pull = pull
        self._sleep = sleep
        self._on_progress = on_progress
        self._running: set[asyncio.Task[tuple[int, object]]] = set()

    async def do(self, step: Step) -> object:
        """Do one step. Gives what it gives, or the `EcrossError` that its call raised."""
        match step:
            case Perform(operation):
                try:
                    return await self._perform(operation)
                except EcrossError as error:
                    return error
            case Start():
                self._running.add(asyncio.create_task(self._work(step)))
            case Await():
                return await self._next_result()
            case Pause(seconds):
                await self._sleep(seconds)
            case Tell(progress):
                self._on_progress(progress)
            case _:
                return await self._pulled(step.at_most)
        return None

    async def end(self) -> None:
        """Leave nothing running."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _next_result(self) -> tuple[int, object]:
        done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        task = next(iter(done))
        self._running.discard(task)
        return task.result()

    async def _pulled(self, at_most: int) -> list[object]:
        items: list[object] = []
        while self._pull is not None and len(items) < at_most:
            try:
                items.append(await anext(self._pull))
            except StopAsyncIteration:
                break
        return items

    async def _work(self, task: Start) -> tuple[int, object]:
        try:
            return task.number, await self._perform(task.operation)
        except EcrossError as error:
            return task.number, error

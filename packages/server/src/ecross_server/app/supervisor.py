"""The supervisor: opens the sockets, starts the processes, replaces dead ones, owns the signals, and ends with 0.

Workers are forked from a process that has imported everything and started nothing, so they share its memory and start
at once. The sockets are the supervisor's: while a worker is replaced, its connections wait instead of being refused.
The recorder, which writes what the workers tell, is the first to start and the last to end.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import resource
import secrets
import selectors
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import structlog

from ecross_server.app import reloading
from ecross_server.app.channel import Channel
from ecross_server.app.documentation import VERSION
from ecross_server.app.job_process import run_jobs
from ecross_server.app.jobs import make_kinds
from ecross_server.app.listening import (
    PortTakenError,
    listen,
    listen_for_administration,
    listen_for_metrics,
    require_protection,
)
from ecross_server.app.metrics import FigurePages
from ecross_server.app.recorder import KILLED, RecorderPages, run_recorder
from ecross_server.app.shared import Page
from ecross_server.app.worker import GRACE_SECONDS, Links, run_administration, run_exposition, run_worker
from ecross_server.auth.limits.local import BudgetTable
from ecross_server.jobs.tasks import Kind
from ecross_server.kit.errors import DomainError, UnavailableError
from ecross_server.kit.logs import configure_logs, lost_lines
from ecross_server.settings import Configuration

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
SIGNALS: Final = (*STOP_SIGNALS, signal.SIGHUP)
WORKER, METRICS, RECORDER, JOBS, ADMIN = "worker", "metrics", "recorder", "job_process", "administration"
FIRST_DELAY_SECONDS: Final = 0.1
LONGEST_DELAY_SECONDS: Final = 30.0
LAST_ATTEMPTS: Final = 3
"""During a stop, a recorder that ends before its time is replaced so often."""

MOST_DESCRIPTORS: Final = 65536
STANDARD_INPUT: Final = 0
NAME_BYTES: Final = 8

log = structlog.get_logger("ecross_server.supervisor")


class StartError(UnavailableError):
    """A worker could not start; its own log lines say why."""

    code = "start_failed"

    def __init__(self) -> None:
        super().__init__("The server could not start; the log lines above say why.")


@dataclass(frozen=True, slots=True)
class Started:
    """Where the server answers."""

    port: int
    metrics_port: int | None
    admin_port: int | None = None


@dataclass(slots=True)
class Slot:
    """The place of one process: its sockets, what it does, and the process that does it now."""

    name: str
    sockets: Sequence[socket.socket]
    """What comes in there is kept while the process is replaced."""
    run: Callable[[Links], None]
    figures: Page | None = None
    pid: int = 0
    ready: int = -1
    is_ready: bool = False
    failures: int = 0
    start_at: float = 0.0

    def close(self) -> None:
        """Close this process's copies of its sockets."""
        for each in self.sockets:
            each.close()


class Supervisor:
    """Runs the processes of one server."""

    def __init__(
        self,
        configuration: Configuration,
        on_ready: Callable[[Started], None],
        load: Callable[[], Configuration],
        kinds: Mapping[str, Kind] | None = None,
    ) -> None:
        """The kinds of jobs are those of all domains, unless others are given."""
        self._settings = configuration.settings
        self._is_metrics_port_set = configuration.source("metrics_port") != "default"
        # A worker that replaces a dead one goes on with what was spent.
        self._budgets = BudgetTable()
        self._pages = RecorderPages()
        self._on_ready = on_ready
        self._load = load
        self._announced = False
        self._kinds = make_kinds(configuration.settings) if kinds is None else kinds
        # Claims of a dead job process are freed by the one that replaces it, and by no other server's.
        self._name = secrets.token_hex(NAME_BYTES)
        self._stopping = False
        self._has_recorded = False
        self._signals = 0
        self._must_reload = False
        self._restarts = 0
        self._shown_settings = Page()
        self._figures = Page()
        self._has_terminal = os.isatty(STANDARD_INPUT)

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM; what is in flight then is answered. A second signal ends it at once.

        SIGHUP loads the settings again. `on_ready` is called once all workers answer.

        Raises:
            PortTakenError, UnusableAddressError: if an address cannot be listened on.
            ClearTextError: if others could read what is sent.
            StartError: if a worker ends before it ever answered.
        """
        require_protection(self._settings)
        _raise_descriptor_limit()
        with contextlib.ExitStack() as opened:
            self._make_slots(opened)
            self._serve()

    def _make_slots(self, opened: contextlib.ExitStack) -> None:
        settings = self._settings
        sockets = [opened.enter_context(each) for each in listen(settings.host, settings.port, settings.workers)]
        self._workers = []
        for listening in sockets:
            figures = Page()
            self._workers.append(Slot(WORKER, [listening], functools.partial(self._run_worker, figures), figures))
        self._serving = list(self._workers)
        metrics = self._listen_for_metrics()
        if metrics is not None:
            self._serving.append(Slot(METRICS, [opened.enter_context(metrics)], self._run_exposition))
        administration = listen_for_administration(settings)
        self._administration = []
        if administration is not None:
            self._administration = [Slot(ADMIN, [opened.enter_context(administration)], self._run_administration)]
            self._serving += self._administration
        self._job_processes = [self._job_slot(number) for number in range(settings.job_processes)]
        self._serving += self._job_processes
        self._channel = opened.enter_context(contextlib.closing(Channel()))
        self._recorder = Slot(RECORDER, [self._channel.receiving], self._run_recorder)
        self._slots = [self._recorder, *self._serving]
        self._started = Started(
            _port(sockets[0]),
            None if metrics is None else _port(metrics),
            None if administration is None else _port(administration),
        )

    def _job_slot(self, number: int) -> Slot:
        figures = Page()
        return Slot(JOBS, [], functools.partial(self._run_jobs, f"{self._name}-{number}", figures), figures)

    def _listen_for_metrics(self) -> socket.socket | None:
        if self._settings.metrics_port == 0:
            return None
        try:
            return listen_for_metrics(self._settings)
        except PortTakenError as error:
            if self._is_metrics_port_set:
                raise
            log.warning("metrics_off", reason=error.message)  # nobody asked for them: no reason not to serve
            return None

    def _serve(self) -> None:
        reloading.show(self._settings, self._shown_settings)
        self._alive_read, self._alive_write = os.pipe()
        wake_read, wake_write = os.pipe()
        for descriptor in (wake_read, wake_write):
            os.set_blocking(descriptor, False)
        self._wake_read = wake_read
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake_read, selectors.EVENT_READ)
        previous = {number: signal.signal(number, self._on_stop_signal) for number in STOP_SIGNALS}
        previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_reload_signal)
        previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()  # shared pages stay shared: the workers' collector leaves them alone
        try:
            self._watch()
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._selector.close()
            for descriptor in (wake_read, wake_write, self._alive_read, self._alive_write):
                os.close(descriptor)

    def _watch(self) -> None:
        while True:
            self._reap()
            if self._stopping and not any(slot.pid for slot in self._serving):
                self._channel.end()  # the recorder ends once it has written what was sent
                if self._has_recorded:
                    self._tell_of_unwritten()
                    return
            self._start_due()
            self._tell_figures()
            for key, _ in self._selector.select(self._seconds_to_next_start()):
                if key.fd == self._wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                else:
                    self._on_slot_ready(key.data)
            if self._must_reload and not self._stopping:
                self._reload()
            if self._signals and not self._stopping:
                self._stop()
            if self._signals > 1:
                self._signal(self._slots, signal.SIGKILL)

    def _on_stop_signal(self, _number: int, _frame: object) -> None:
        self._signals += 1  # all else is the loop's, which the wake-up descriptor wakes

    def _on_reload_signal(self, _number: int, _frame: object) -> None:
        if self._has_terminal and not os.isatty(STANDARD_INPUT):
            self._signals += 1  # the terminal was closed
        else:
            self._must_reload = True

    def _stop(self) -> None:
        log.info("stopping", grace_seconds=GRACE_SECONDS)
        self._stopping = True
        # The workers' copies are the last ones then: once they close them, new connections are refused.
        for slot in self._serving:
            slot.close()
        self._signal(self._serving, signal.SIGTERM)

    @staticmethod
    def _signal(slots: Iterable[Slot], number: signal.Signals) -> None:
        for slot in slots:
            if slot.pid:  # ours until it is reaped, so the number cannot be another process's
                os.kill(slot.pid, number)

    def _reload(self) -> None:
        self._must_reload = False
        try:
            new = self._load().settings
        except DomainError as error:
            log.error("reload_refused", reason=error.message)  # noqa: TRY400 - the message says it all
            return
        reload = reloading.compare(self._settings, new)
        if reload.need_restart:
            log.warning("restart_needed", changed=reload.need_restart)
        log.info("settings_reloaded", changed=reload.taken)
        self._settings = reload.settings
        reloading.show(self._settings, self._shown_settings)
        configure_logs(self._settings.log_format, self._settings.log_level)
        self._signal(self._slots, signal.SIGHUP)

    def _tell_figures(self) -> None:
        figures = {"ecross_log_lines_lost_total": lost_lines.count}
        told = {
            "ready": _ready(self._workers),
            "is_recording": self._recorder.is_ready,
            "job_processes": _ready(self._job_processes),
            "restarts": self._restarts,
            "version": VERSION,
            "figures": figures,
        }
        self._figures.write(json.dumps(told).encode())

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in self._missing():
            if slot.start_at <= now:
                self._start(slot)

    def _seconds_to_next_start(self) -> float | None:
        starts = [slot.start_at for slot in self._missing()]
        return max(0.0, min(starts) - time.monotonic()) if starts else None

    def _missing(self) -> list[Slot]:
        """Those whose process is to be replaced."""
        if not self._stopping:
            return [slot for slot in self._slots if not slot.pid]
        return [] if self._recorder.pid or self._has_recorded else [self._recorder]

    def _start(self, slot: Slot) -> None:
        # A signal that came between the fork and the child's own handlers would be lost, and a stop never end.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            ready_read, ready_write = os.pipe()
            try:
                pid = os.fork() or self._become(slot, ready_write)
            except OSError:
                os.close(ready_read)
                raise
            finally:
                os.close(ready_write)
        except OSError as error:  # too many processes or descriptors: perhaps not for long
            delay = self._delay(slot)
            log.error("start_failed", reason=error.strerror, again_in_seconds=delay)  # noqa: TRY400 - known
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        slot.pid, slot.ready, slot.is_ready = pid, ready_read, False
        self._selector.register(ready_read, selectors.EVENT_READ, slot)

    def _become(self, slot: Slot, ready_write: int) -> NoReturn:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to the supervisor alone
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it serves: then it looks for new settings anyway
            # Until it serves, there is nothing to end in good order. The recorder ends by itself.
            signal.signal(signal.SIGTERM, signal.SIG_IGN if slot is self._recorder else signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            os.close(self._alive_write)  # so that the read end closes with the supervisor
            self._selector.close()
            for other in self._slots:
                if other is not slot:
                    other.close()
            slot.run(Links(slot.sockets, self._shown_settings, lambda: _notify(ready_write), self._alive_read))
            status = 0
        except DomainError as error:
            log.error("worker_failed", reason=error.message)  # noqa: TRY400 - the message says it all
        except BaseException:
            log.exception("worker_failed")
        finally:
            os._exit(status)

    def _run_worker(self, figures: Page, links: Links) -> None:
        run_worker(self._settings, links, figures, self._budgets, self._channel.sender())

    def _run_exposition(self, links: Links) -> None:
        self._channel.close()
        pages = FigurePages(self._figures, _figures(self._workers), self._pages.figures, _figures(self._job_processes))
        run_exposition(self._settings, links, pages)

    def _run_administration(self, links: Links) -> None:
        self._channel.close()
        run_administration(self._settings, links)

    def _run_jobs(self, worker: str, figures: Page, links: Links) -> None:
        self._channel.close()
        run_jobs(self._settings, links, self._kinds, worker, figures)

    def _run_recorder(self, links: Links) -> None:
        run_recorder(self._settings, links, self._channel.receiver(), self._pages)

    def _on_slot_ready(self, slot: Slot) -> None:
        slot.is_ready = os.read(slot.ready, 1) == b"1"
        self._forget_ready_pipe(slot)
        if slot.is_ready:
            slot.failures = 0
            if not self._announced and all(
                each.is_ready for each in (self._recorder, *self._workers, *self._administration)
            ):
                self._announced = True
                self._on_ready(self._started)

    def _forget_ready_pipe(self, slot: Slot) -> None:
        if slot.ready >= 0:
            self._selector.unregister(slot.ready)
            os.close(slot.ready)
            slot.ready = -1

    def _reap(self) -> None:
        for slot in self._slots:
            if not slot.pid:
                continue
            pid, status = os.waitpid(slot.pid, os.WNOHANG)
            if not pid:
                continue
            self._forget_ready_pipe(slot)
            slot.pid, slot.is_ready = 0, False
            self._on_end(slot, pid, os.waitstatus_to_exitcode(status))

    def _on_end(self, slot: Slot, pid: int, status: int) -> None:
        if self._stopping:
            if slot is not self._recorder:
                return
            self._has_recorded = status == 0 or self._signals > 1 or slot.failures >= LAST_ATTEMPTS
            if self._has_recorded:
                return
        elif not self._announced and slot.name in {WORKER, RECORDER, ADMIN}:
            self._signal(self._slots, signal.SIGKILL)
            raise StartError
        self._restarts += slot.name == WORKER
        event = f"{slot.name}_died"
        log.error(event, pid=pid, status=status, replaced_in_seconds=self._delay(slot))

    def _tell_of_unwritten(self) -> None:
        held, _ = self._pages.read_held()
        left = self._channel.take_what_is_left() + Counter({KILLED: held})
        if left:
            log.error("audit_events_lost", count=left.total(), outcomes=dict(left))

    def _delay(self, slot: Slot) -> float:
        delay: float = min(FIRST_DELAY_SECONDS * 2**slot.failures, LONGEST_DELAY_SECONDS)
        slot.failures += 1
        slot.start_at = time.monotonic() + delay
        return delay


def _raise_descriptor_limit() -> None:
    """Each connection takes a descriptor; many systems allow only a thousand unless asked for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _ready(slots: Sequence[Slot]) -> list[int]:
    return [number for number, slot in enumerate(slots) if slot.is_ready]


def _figures(slots: Sequence[Slot]) -> list[Page]:
    return [slot.figures for slot in slots if slot.figures is not None]


def _port(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


def _notify(descriptor: int) -> None:
    os.write(descriptor, b"1")
    os.close(descriptor)

"""The process that writes what the token path tells: one for all workers, so that none of them stops to write."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ecross_server.app import reloading
from ecross_server.app.assembly import audit_keys, make_recorder, open_database
from ecross_server.app.channel import EventReceiver
from ecross_server.app.chores import Chores
from ecross_server.app.metrics import Metrics
from ecross_server.app.shared import Page
from ecross_server.app.worker import Links
from ecross_server.audit.tasks import AuditRecorder
from ecross_server.kit.database import Database
from ecross_server.kit.key_files import WatchedFile
from ecross_server.kit.logs import lost_lines
from ecross_server.merchants.rules import Peppers
from ecross_server.merchants.service import read_peppers
from ecross_server.settings import Settings

IDLE_SECONDS: Final = 0.25
KILLED: Final = "killed"
"""What is told of events that were lost with the process before this one: nobody knows what came of them."""


@dataclass(frozen=True, slots=True)
class RecorderPages:
    """What the process tells others, and the one that replaces it."""

    figures: Page = field(default_factory=Page)
    held: Page = field(default_factory=Page)

    def hold(self, count: int, untold: Mapping[str, int]) -> None:
        """Note how many events were received and not yet written, and which losses are not recorded yet."""
        self.held.write(json.dumps([count, untold]).encode())

    def read_held(self) -> tuple[int, Mapping[str, int]]:
        """What was lost with the process, give or take what it did in its last moment."""
        count, untold = json.loads(self.held.read() or "[0, {}]")
        return count, untold


def run_recorder(settings: Settings, links: Links, receiver: EventReceiver, pages: RecorderPages) -> None:
    """Write what the workers send, until all of them and the supervisor are gone and everything is written.

    Raises:
        DomainError: if the peppers cannot be used, or the database's address.
    """
    with contextlib.closing(open_database(settings)) as database:
        _Recording(settings, links, database, pages).run(receiver)


class _Recording:
    def __init__(self, settings: Settings, links: Links, database: Database, pages: RecorderPages) -> None:
        self._settings = settings
        self._links = links
        self._pages = pages
        self._peppers: WatchedFile[Peppers] = WatchedFile(
            settings.peppers_file,
            lambda content, now: read_peppers(content, settings.peppers_file, now),
            name="peppers",
            clock=time.time,
        )
        self._recorder = make_recorder(settings, database, self._peppers.content)
        # Until it is noted what was written, a successor would tell of it as lost.
        self._recorder.after_writing = self._note_held
        self._noting = threading.Lock()
        self._metrics = Metrics()

    def run(self, receiver: EventReceiver) -> None:
        recorder, metrics = self._recorder, self._metrics
        metrics.restore(self._pages.figures)
        _tell_figures(metrics, recorder)
        held, untold = self._pages.read_held()
        recorder.tell_loss(untold)  # counted already
        if held:
            recorder.lost_by_outcome[KILLED] = held
        metrics.write(self._pages.figures)
        self._note_held()
        log = reloading.LogReloader(self._settings, self._links.settings)
        recorder.start()
        with Chores([log.take_over, self._follow_peppers, lambda: metrics.write(self._pages.figures)]):
            self._links.on_ready()
            try:
                receiver.give_to(recorder, self._note_held, IDLE_SECONDS)
            finally:
                recorder.stop()
                self._pages.hold(0, {})  # what was not written then is counted and logged

    def _follow_peppers(self) -> None:
        before = self._peppers.content
        self._peppers.take_changes()
        if self._peppers.content is not before:
            self._recorder.keys = audit_keys(self._peppers.content)

    def _note_held(self) -> None:
        with self._noting:
            self._pages.hold(self._recorder.backlog, self._recorder.untold)


def _tell_figures(metrics: Metrics, recorder: AuditRecorder) -> None:
    metrics.add("ecross_audit_backlog_records", lambda: recorder.backlog)
    metrics.add("ecross_audit_written_records_total", lambda: recorder.written)
    metrics.add("ecross_audit_lost_records_total", lambda: recorder.lost)
    metrics.add("ecross_log_lines_lost_total", lambda: lost_lines.count)

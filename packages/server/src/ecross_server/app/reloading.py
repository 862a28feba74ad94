"""Which settings a running server takes over at SIGHUP, and how they reach its processes."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Final

from ecross_server.app.shared import Page
from ecross_server.kit.logs import configure_logs
from ecross_server.settings import Settings

RELOADED: Final = (
    "log_format", "log_level", "limits_mode", "token_volume_limit", "token_failure_limit", "token_address_limit",
    "token_global_limit", "trusted_proxies", "tls_cert_file", "tls_key_file",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reload:
    """What comes of new settings: those to serve with from now on, and the names of those that have changed."""

    settings: Settings
    taken: list[str]
    need_restart: list[str]


def compare(present: Settings, new: Settings) -> Reload:
    """What of the new settings can be taken over."""
    changed = [name for name in Settings.model_fields if getattr(present, name) != getattr(new, name)]
    taken = [name for name in changed if name in RELOADED]
    if (present.tls_cert_file is None) != (new.tls_cert_file is None):  # http does not become https meanwhile
        taken = [name for name in taken if not name.startswith("tls_")]
    return Reload(_with(present, new, taken), taken, [name for name in changed if name not in taken])


def show(settings: Settings, page: Page) -> None:
    """Put the settings that can be reloaded on the page. None of them is a secret."""
    page.write(settings.model_dump_json(include=set(RELOADED)).encode())


def read(present: Settings, page: Page) -> Settings:
    """The settings with what the page says of them."""
    return _with(present, Settings.model_validate_json(page.read()), RELOADED)


class LogReloader:
    """Takes over what SIGHUP changes of the log, in a process that reloads nothing else. `take_over` is a chore."""

    def __init__(self, present: Settings, page: Page) -> None:
        self._present = present
        self._page = page
        signal.signal(signal.SIGHUP, self._on_hangup)
        self._must_reload = True  # what came before the handler was there

    def take_over(self) -> None:
        """Take new settings over, if there may be some."""
        if self._must_reload:
            self._must_reload = False
            new = read(self._present, self._page)
            configure_logs(new.log_format, new.log_level)

    def _on_hangup(self, _number: int, _frame: object) -> None:
        self._must_reload = True


def _with(present: Settings, new: Settings, names: list[str] | tuple[str, ...]) -> Settings:
    return present.model_copy(update={name: getattr(new, name) for name in names})

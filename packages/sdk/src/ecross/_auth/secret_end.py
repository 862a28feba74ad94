"""A warning before a client secret ends: its holder has to be given the next one, and to set it, in time."""

import logging
import threading
import warnings
from datetime import UTC, datetime, timedelta
from typing import Final

WARNED_BEFORE: Final = timedelta(days=30)
"""A secret may be issued for years: nobody is to be told of that with every start."""

_log = logging.getLogger("ecross")
_told: Final[set[tuple[str, str, float]]] = set()
_guard = threading.Lock()
_EPOCH = datetime.fromtimestamp(0, UTC)


class CredentialExpiryWarning(UserWarning):
    """The client secret in use opens nothing any more from a date on: the next one has to be set before."""


def warn_of_end(auth_url: str, client_id: str, ends_at: float, now: float) -> None:
    """Warn, once in a process for each end of a client's secret, if it is near. Both are seconds since the epoch."""
    end = (auth_url, client_id, ends_at)
    if ends_at - now > WARNED_BEFORE.total_seconds():
        return
    with _guard:
        is_known = end in _told
        _told.add(end)
    if is_known:
        return
    message = (
        f"The client secret of {client_id} ends at {_EPOCH + timedelta(seconds=ends_at):%Y-%m-%d %H:%M:%S}Z. "
        "Set the new one before; if you have none, ask your e-CROSS representative for it."
    )
    # Without handlers it would stand on standard error twice.
    if _log.hasHandlers():
        _log.warning("%s", message)
    warnings.warn(message, CredentialExpiryWarning, stacklevel=4)

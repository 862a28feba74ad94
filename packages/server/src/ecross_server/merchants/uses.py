"""How much each secret is used, and when and from where it was last: what a rotation is decided by.

Told by the token path in batches, so that no token waits for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from ecross_server.audit.rules import TokenEvent
from ecross_server.merchants import repository, rules
from ecross_server.merchants.models import Client, Secret

SPANS: Final = (timedelta(hours=1), timedelta(days=1), timedelta(days=7))
"""What is shown. Each span reaches back to the beginning of an hour: at least so long, and less than an hour longer."""

KEPT_HOURS: Final = 8 * 24


@dataclass(frozen=True, slots=True)
class SecretUses:
    """So many tokens were given for a secret in the last hour, day and week."""

    secret: Secret
    last_hour: int
    last_day: int
    last_week: int


class UseMeter:
    """Notes uses, and now and then forgets those of more than a week ago."""

    def __init__(self) -> None:
        self._forgotten_at: int | None = None

    def note(self, session: Session, uses: Sequence[TokenEvent]) -> None:
        """Note the tokens that were given, as `note_secret_uses`."""
        note_secret_uses(session, uses)
        hour = max((rules.hour_of(use.at) for use in uses), default=None)
        if hour is not None and hour != self._forgotten_at:
            repository.remove_hourly_uses(session, hour - KEPT_HOURS)
            self._forgotten_at = hour


def note_secret_uses(session: Session, uses: Sequence[TokenEvent]) -> None:
    """Keep of each secret when and from where it was last used, and how often in each hour.

    A use that is told late takes nothing back.
    """
    latest: dict[str, TokenEvent] = {}
    counts: Counter[tuple[str, int]] = Counter()
    for use in uses:
        if use.secret_id is not None:
            counts[use.secret_id, rules.hour_of(use.at)] += 1
            if use.secret_id not in latest or latest[use.secret_id].at < use.at:
                latest[use.secret_id] = use
    # No act and no other process's uses are under way meanwhile, so none can wait for a secret that this one holds.
    repository.hold_revision(session)
    repository.set_last_uses(
        session,
        [
            {"secret": secret_id, "at": _instant(use.at), "address": use.address[: rules.ADDRESS_CHARACTERS]}
            for secret_id, use in sorted(latest.items())
        ],
    )
    repository.add_hourly_uses(
        session,
        [{"secret": secret_id, "hour": hour, "tokens": tokens} for (secret_id, hour), tokens in sorted(counts.items())],
    )


def read_meter(session: Session, client_id: str, *, now: datetime) -> tuple[Client, list[SecretUses]]:
    """The client, and how much each of its secrets was used, the oldest first.

    Raises:
        ClientNotFoundError: if there is no such client.
    """
    client = repository.get_client(session, client_id)
    return client, meter_of(session, client, now=now)


def meter_of(session: Session, client: Client, *, now: datetime) -> list[SecretUses]:
    """The same of a client that was read."""
    since = [rules.hour_of((now - span).timestamp()) for span in SPANS]
    sums = repository.sum_hourly_uses(session, [secret.id for secret in client.secrets], since)
    return [SecretUses(secret, *sums.get(secret.id, (0, 0, 0))) for secret in client.secrets]


def _instant(seconds: float) -> datetime:
    """Seconds since the epoch as what is kept: to the millisecond, as instants are shown."""
    return datetime.fromtimestamp(int(seconds * 1000) / 1000, UTC)

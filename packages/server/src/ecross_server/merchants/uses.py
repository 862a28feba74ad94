"""How much each secret is used, which decides a rotation; and what each client calls, which suggests its limits.

Told by the token path and the bearer check in batches, so that no token and no call waits for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy.orm import Session

from ecross_server.audit.rules import TokenEvent
from ecross_server.merchants import repository, rules
from ecross_server.merchants.models import Client, Secret

SPANS: Final = (timedelta(hours=1), timedelta(days=1), timedelta(days=7))
"""What is shown. Each span reaches back to the beginning of an hour: at least so long, and less than an hour longer."""

KEPT_HOURS: Final = 8 * 24
KEPT_DAYS: Final = 15
"""Of calls: two weeks, and the day that is not over."""


class CallKind(NamedTuple):
    """Calls that are counted together: those of a client that needed a scope, from an address."""

    client_id: str
    scope: str
    address: str


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
    """Keep of each secret when and from where it was first and last used, and how often in each hour.

    A use that is told late takes nothing back.
    """
    earliest: dict[str, TokenEvent] = {}
    latest: dict[str, TokenEvent] = {}
    counts: Counter[tuple[str, int]] = Counter()
    for use in uses:
        if use.secret_id is not None:
            counts[use.secret_id, rules.hour_of(use.at)] += 1
            if use.secret_id not in latest or latest[use.secret_id].at < use.at:
                latest[use.secret_id] = use
            if use.secret_id not in earliest or use.at < earliest[use.secret_id].at:
                earliest[use.secret_id] = use
    # No act and no other process's uses are under way meanwhile, so none can wait for a secret that this one holds.
    repository.hold_revision(session)
    repository.set_last_uses(
        session,
        [
            {
                "secret": secret_id,
                "at": _instant(use.at),
                "address": use.address[: rules.ADDRESS_CHARACTERS],
                "first_at": _instant(earliest[secret_id].at),
                "first_address": earliest[secret_id].address[: rules.ADDRESS_CHARACTERS],
            }
            for secret_id, use in sorted(latest.items())
        ],
    )
    repository.add_hourly_uses(
        session,
        [{"secret": secret_id, "hour": hour, "tokens": tokens} for (secret_id, hour), tokens in sorted(counts.items())],
    )


def note_calls(session: Session, counts: Mapping[CallKind, int], *, at: float) -> None:
    """Add calls to those of the day of `at`, which is in seconds since the epoch; older ones than two weeks go."""
    day = rules.day_of(at)
    # In one order, so that no two processes wait for each other's rows.
    repository.add_daily_calls(
        session,
        [
            {"client": client_id, "day": day, "scope": scope, "address": address, "calls": calls}
            for (client_id, scope, address), calls in sorted(counts.items())
        ],
    )
    repository.remove_daily_calls(session, day - KEPT_DAYS)


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

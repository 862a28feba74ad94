"""What issuing and checking a token cost inside the process, without any HTTP.

The service is put together as a worker does it, on a data folder with one client. Medians of `timeit`'s repeats; each
repeat makes so many calls that the clock's own cost does not count.
"""

from __future__ import annotations

import contextlib
import itertools
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.figures import Spread
from benchmarks.servers import copy_of, demo_credentials
from ecross.verifier import TokenVerifier
from ecross_server.auth.registry import Registry
from ecross_server.auth.service import AuthService
from ecross_server.auth.uses import CallMeter
from ecross_server.kit.database import Database
from ecross_server.settings import Settings

DISTINCT_TOKENS: Final = 10_000
"""More than the verifier remembers: taken in turn, none is known when its turn comes again."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one call of the service, or of the verifier that others use, costs in microseconds."""

    name: str
    budget_us: float | None
    microseconds: Spread


def measure_checks(demo_dir: Path, repeats: int) -> list[Check]:
    """Issue tokens, check tokens that were never seen, and one that was."""
    data_dir = copy_of(demo_dir, "checks")
    credentials = demo_credentials(data_dir)
    settings = Settings(data_dir=data_dir)
    with contextlib.closing(Database(settings.database_url.get_secret_value())) as database:
        service = AuthService(
            registry=Registry(database),
            peppers_file=settings.peppers_file,
            signing_keys_file=settings.signing_keys_file,
            issuer=settings.issuer,
            audience=settings.audience,
            lifetime_seconds=settings.token_lifetime_seconds,
            calls=CallMeter(database),
        )

        verifier = TokenVerifier(keys=settings.signing_keys_file, issuer=settings.issuer, audience=settings.audience)

        def issue() -> str:
            return service.issue_access_token(credentials.client_id, credentials.client_secret).token

        service.registry.refresh()
        tokens = itertools.cycle([issue() for _ in range(DISTINCT_TOKENS)])
        known = next(tokens)

        def per_call(call: Callable[[], object]) -> Spread:
            service.authenticate(known)
            seconds = []
            for _ in range(repeats):
                service.registry.refresh()  # nothing else does, and old knowledge is refused
                seconds.append(timeit.timeit(call, number=DISTINCT_TOKENS) / DISTINCT_TOKENS * 1e6)
            return Spread.of(seconds)

        return [
            Check("issue_access_token", None, per_call(issue)),
            Check("authenticate, token never seen", 30, per_call(lambda: service.authenticate(next(tokens)))),
            Check("authenticate, token seen before", 3, per_call(lambda: service.authenticate(known))),
            Check("TokenVerifier.verify, token never seen", 30, per_call(lambda: verifier.verify(next(tokens)))),
            Check("TokenVerifier.verify, token seen before", 3, per_call(lambda: verifier.verify(known))),
        ]

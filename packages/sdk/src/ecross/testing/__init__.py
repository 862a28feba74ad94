"""A fake e-CROSS server for tests of a merchant's integration: real answers, in memory, on a clock that the test moves.

The names below are loaded when first used: pytest loads this package at every start, for its fixture `ecross_server`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = [
    "PASS",
    "Answer",
    "FakeServer",
    "Merchant",
    "RecordedRequest",
    "Scripted",
    "VirtualClock",
    "forbidden",
    "garbage",
    "lost_connection",
    "rate_limited",
    "server_error",
    "slow",
    "timeout",
    "truncated",
    "unauthorized",
]

if TYPE_CHECKING:
    from ecross.testing._clock import VirtualClock
    from ecross.testing._merchants import Merchant
    from ecross.testing._messages import RecordedRequest
    from ecross.testing._script import (
        PASS,
        Answer,
        Scripted,
        forbidden,
        garbage,
        lost_connection,
        rate_limited,
        server_error,
        slow,
        timeout,
        truncated,
        unauthorized,
    )
    from ecross.testing._server import FakeServer
else:  # hidden from type checkers: with a __getattr__ they take every misspelled name for granted
    _HOMES = {
        "FakeServer": "ecross.testing._server",
        "Merchant": "ecross.testing._merchants",
        "RecordedRequest": "ecross.testing._messages",
        "VirtualClock": "ecross.testing._clock",
    }

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOMES.get(name, "ecross.testing._script")), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

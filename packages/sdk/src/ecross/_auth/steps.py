"""What the state machine asks its driver to do: plain values."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """Read the cache's entry: gives its bytes, or `None`."""


@dataclass(frozen=True, slots=True)
class WriteEntry:
    """Write the cache's entry."""

    entry: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TryLock:
    """Ask for the cache's lock: gives whether it was got."""


@dataclass(frozen=True, slots=True)
class Unlock:
    """Give the cache's lock back."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AskForToken:
    """Send `POST /token` once: gives a `TokenAnswer`, or raises `TransportError`."""


CacheStep = ReadEntry | WriteEntry | TryLock | Unlock
Step = CacheStep | Pause | AskForToken

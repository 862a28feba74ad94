"""What both clients are made of."""

import asyncio
import math
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from typing import Any, Final, TypedDict
from weakref import WeakValueDictionary

from ecross._auth.life import Clocks, TokenLife
from ecross._bulk import Place
from ecross._configuration import Credentials, load_configuration
from ecross._token_cache import FileCache, TokenCache, open_default_cache
from ecross._transport.addresses import Addresses
from ecross._transport.calls import Hidden, Retries
from ecross.errors import ConfigurationError

_shared_caches: Final[WeakValueDictionary[Path | None, TokenCache]] = WeakValueDictionary()
# A mutex for each process: a fork may copy its parent's while another thread holds it.
_mutexes: Final[dict[int, threading.Lock]] = {}


class SenderOptions(TypedDict):
    """What a sender needs to ask for tokens."""

    token_url: str
    client_id: str
    client_secret: str
    timeout_seconds: float


@dataclass(frozen=True)
class Setup:
    """A client's settings, found and checked."""

    addresses: Addresses
    auth_url: str
    credentials: Credentials
    cache: TokenCache = field(repr=False)
    timeout_seconds: float
    retries: Retries = field(repr=False)
    life: TokenLife = field(repr=False)
    sleep: Callable[[float], None] = field(repr=False)
    sleep_async: Callable[[float], Awaitable[None]] = field(repr=False)

    @property
    def sender_options(self) -> SenderOptions:
        """For the sender."""
        return {
            "token_url": self.addresses.token_url,
            "client_id": self.credentials.client_id,
            "client_secret": self.credentials.client_secret,
            "timeout_seconds": self.timeout_seconds,
        }

    @property
    def source_options(self) -> dict[str, Any]:
        """For the source of tokens."""
        return {
            "cache": self.cache,
            "auth_url": self.auth_url,
            "client_id": self.credentials.client_id,
            "client_secret": self.credentials.client_secret,
            "life": self.life,
        }

    @property
    def sync_place(self) -> Place:
        """Whose catalog is brought to the server, and where what was sent is remembered: beside cached tokens."""
        directory = self.cache.directory if isinstance(self.cache, FileCache) else None
        return Place(directory, self.addresses.product_url or self.auth_url, self.credentials.client_id)

    @property
    def hidden(self) -> Hidden:
        """What no error may repeat."""
        return Hidden(self.credentials.client_secret)


def set_up(  # noqa: PLR0913 - the clients' own settings
    *,
    client_id: str | None,
    client_secret: str | None,
    base_url: str | None,
    base_urls: Mapping[str, str] | None,
    environment: str | None,
    profile: str | None,
    token_cache: TokenCache | None,
    timeout_seconds: float,
    max_retries: int,
    clock: Callable[[], float] | None,
) -> Setup:
    """The settings that arguments, environment and profile tell. Raises `ConfigurationError`."""
    _check_numbers(timeout_seconds, max_retries)
    configuration = load_configuration(
        client_id=client_id,
        client_secret=client_secret,
        base_url=base_url,
        base_urls=base_urls,
        environment=environment,
        profile=profile,
    )
    if configuration.credentials is None:
        raise ConfigurationError(
            "No credentials were told: run `ecross login`, set ECROSS_CLIENT_ID and ECROSS_CLIENT_SECRET or "
            "ECROSS_CLIENT_SECRET_FILE, or give client_id and client_secret."
        )
    wall = clock or time.time
    random = SystemRandom().random  # a forked child does not repeat its parent's numbers
    return Setup(
        addresses=Addresses(configuration.endpoints),
        auth_url=configuration.endpoints.auth,
        credentials=configuration.credentials,
        cache=_share_default_cache(configuration.cache_directory) if token_cache is None else token_cache,
        timeout_seconds=timeout_seconds,
        retries=Retries(max_retries, timeout_seconds, wall, random),
        life=TokenLife(
            configuration.credentials.client_secret,
            Clocks(wall, time.monotonic, random),
            patience_seconds=timeout_seconds,
            max_retries=max_retries,
        ),
        # A clock that a test moves brings its own ways to wait.
        sleep=getattr(clock, "sleep", time.sleep),
        sleep_async=getattr(clock, "sleep_async", asyncio.sleep),
    )


def _check_numbers(timeout_seconds: object, max_retries: object) -> None:
    if not isinstance(timeout_seconds, (int, float)) or not 0 < timeout_seconds < math.inf:
        raise ConfigurationError("timeout_seconds must be a number above 0")
    if not isinstance(max_retries, int) or max_retries < 0:
        raise ConfigurationError("max_retries must be a whole number, 0 or more")


def _share_default_cache(directory: Path | None) -> TokenCache:
    """One object for all clients of this process with the same place for tokens: they share those in memory, too."""
    cache = open_default_cache(directory)
    place = cache.directory if isinstance(cache, FileCache) else None
    with _mutexes.setdefault(os.getpid(), threading.Lock()):
        return _shared_caches.setdefault(place, cache)

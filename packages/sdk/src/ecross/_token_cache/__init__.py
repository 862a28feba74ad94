"""Where access tokens are kept between calls, threads, processes and runs. What an entry means is not known here."""

from ecross._token_cache.file import (
    DIRECTORY_VARIABLE,
    CacheDescription,
    FileCache,
    describe_cache,
    open_default_cache,
    told_directory,
)
from ecross._token_cache.keys import KeyPlace
from ecross._token_cache.memory import MemoryCache
from ecross._token_cache.protocol import Lock, TokenCache

__all__ = [
    "DIRECTORY_VARIABLE",
    "CacheDescription",
    "FileCache",
    "KeyPlace",
    "Lock",
    "MemoryCache",
    "TokenCache",
    "describe_cache",
    "open_default_cache",
    "told_directory",
]

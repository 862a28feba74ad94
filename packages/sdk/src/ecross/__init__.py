"""The client of the e-CROSS Merchant Integration API.

The names below are loaded when first used, so that `import ecross.jws` loads the standard library and nothing more.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = [
    "AccessToken",
    "AsyncClient",
    "Claims",
    "Client",
    "CredentialExpiryWarning",
    "EcrossAuth",
    "EcrossError",
    "FileCache",
    "GitExposureWarning",
    "InvalidTokenError",
    "MemoryCache",
    "TokenCache",
    "TokenVerifier",
    "__version__",
]

if TYPE_CHECKING:
    from ecross._auth.secret_end import CredentialExpiryWarning
    from ecross._client import AsyncClient, Client, EcrossAuth
    from ecross._private_files import GitExposureWarning
    from ecross._token_cache import FileCache, MemoryCache, TokenCache
    from ecross.errors import EcrossError, InvalidTokenError
    from ecross.types import AccessToken
    from ecross.verifier import Claims, TokenVerifier

    __version__: str
else:  # hidden from type checkers: with a __getattr__ they take every misspelled name for granted
    _HOMES = {
        "AccessToken": "ecross.types",
        "AsyncClient": "ecross._client",
        "Claims": "ecross.verifier",
        "Client": "ecross._client",
        "CredentialExpiryWarning": "ecross._auth.secret_end",
        "EcrossAuth": "ecross._client",
        "EcrossError": "ecross.errors",
        "FileCache": "ecross._token_cache",
        "GitExposureWarning": "ecross._private_files",
        "InvalidTokenError": "ecross.errors",
        "MemoryCache": "ecross._token_cache",
        "TokenCache": "ecross._token_cache",
        "TokenVerifier": "ecross.verifier",
    }

    def __getattr__(name: str) -> object:
        if name == "__version__":
            value = import_module("importlib.metadata").version(__name__)
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

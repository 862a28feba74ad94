"""An access token as a caller holds it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token that was good when it was handed over. Only `value` shows it: its `repr` and `str` do not.

    `expires_at` is an aware instant by this machine's clock, also where that clock differs from the server's. So is
    `credential_expires_at`: when the client secret that it was given for opens nothing any more, where that is known.
    """

    value: str = field(repr=False)
    token_type: str
    expires_at: datetime
    credential_expires_at: datetime | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AccessToken is neither copied nor pickled: it is a secret")

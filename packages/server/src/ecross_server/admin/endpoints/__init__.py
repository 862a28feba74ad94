"""Administration over HTTP, by subject. Every route but those of `signing_in` asks for a role."""

from __future__ import annotations

from typing import Final

from ecross_server.admin.endpoints import (
    approvals,
    credentials,
    hand_overs,
    keys,
    limits,
    merchants,
    people,
    signing_in,
    trail,
)

ROUTERS: Final = tuple(
    module.router for module in (signing_in, merchants, credentials, limits, approvals, hand_overs, trail, keys, people)
)

"""What the console says in words: of acts that were done, of refusals, of states."""

from __future__ import annotations

import http
from collections.abc import Mapping, Sequence
from typing import Final

from ecross_server.kit.errors import DomainError
from ecross_server.merchants.rules import MERCHANT_SCOPE, Restrictions

FAULTY: Final = "Nothing was done yet: look at the fields that are marked."

DONE: Final[Mapping[str, str]] = {
    "merchant-disabled": "The merchant is disabled. Its tokens stop working within 5 seconds.",
    "merchant-enabled": "The merchant is enabled. It can ask for new tokens within 2 seconds; its old ones stay dead.",
    "client-limited": "The limits hold within 2 seconds, for the tokens that it has as well. If it may do more than "
    "before, those end, and its programs ask for new ones.",
    "client-revoked": "The client is revoked for good. Its tokens stop working within 5 seconds.",
    "rotation-cancelled": "The rotation is cancelled: the older secret alone is live.",
    "secret-retired": "The secret is retired. It gets no token from within 2 seconds on; those it got live on until "
    "they expire.",
    "hand-over-cancelled": "The link is cancelled: it reveals nothing any more.",
    "approval-asked": "The question is asked. Somebody else has to grant it.",
    "approval-granted": "It is granted: whoever asked may do it, once.",
    "approval-refused": "It is refused.",
    "merchant-registered": "The merchant is registered. It has no credentials yet: those need a second person.",
    "leak-closed": "What has leaked opens nothing any more, and every token of the client is dead within 5 seconds. "
    "Another secret needs a second person.",
    "passkey-added": "The passkey is added: it opens the console from now on.",
    "passkey-removed": "The passkey opens nothing any more. Sessions that it has begun go on: end them where the "
    "device is lost.",
    "sessions-ended": "The sessions are ended.",
    "operator-disabled": "The operator is disabled, and signed out everywhere.",
    "operator-enabled": "The operator can sign in again.",
    "role-changed": "The role is changed.",
    "keys-rotated": "A new key signs now. Tokens of the older keys stay good until they expire. On another machine, "
    "the file has to be brought there.",
    "keys-dropped": "A new key signs now and all older ones are gone: every token fails within 2 seconds, and clients "
    "ask for new ones. On another machine, the file has to be brought there.",
}
"""By what stands behind `done=` in an address: nobody can make a page say anything else."""

REFUSALS: Final[Mapping[str, str]] = {
    "merchant_exists": "A merchant with this id is registered already.",
    "merchant_disabled": "The merchant is disabled. Enable it first.",
    "merchant_not_found": "There is no such merchant.",
    "client_not_found": "There is no such client.",
    "client_revoked": "The client is revoked for good. Issue another one to its merchant.",
    "secret_not_found": "The client has no such secret.",
    "too_many_secrets": "The client has two live secrets. Retire one of them first, or cancel the rotation.",
    "no_rotation": "No rotation is under way: the client does not have two live secrets.",
    "secret_in_use": "The secret was used in the last day, so somebody would be locked out.",
    "last_secret": "The secret is the client's only one that is to stay.",
    "secret_ended": "This secret opens nothing any more.",
    "approval_needed": "This needs the approval of a second person, who has not given it.",
    "approval_not_found": "There is no such approval.",
    "passkey_not_found": "There is no such passkey.",
    "hand_over_not_found": "There is no such hand-over.",
    "hand_over_revealed": "The secret was revealed already, so there is nothing to cancel. End it on its "
    "client's page.",
}
"""Where the services' own words name commands."""

TITLES: Final[Mapping[int, str]] = {403: "This was not done", 404: "There is nothing here", 503: "Not at the moment"}

TONES: Final[Mapping[str, str]] = {
    "active": "good", "ok": "good", "revealed": "good", "issued": "good", "done": "good",
    "open": "warn", "warning": "warn", "invited": "warn", "waiting": "warn", "begun": "warn",
    "disabled": "bad", "revoked": "bad", "denied": "bad", "failed": "bad", "missing": "bad",
    "tampered": "bad", "lost": "bad", "refused": "bad", "asked": "warn", "granted": "good",
    "invalid_client": "bad", "rate_limited": "warn",
}  # fmt: skip
"""How a state looks; the others are quiet."""


def scope_in_words(scope: str) -> str:
    """What a client may do."""
    told = [_told(word) for word in scope.split()]
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


def networks_in_words(networks: Sequence[str] | None) -> str:
    """From where a client may do it."""
    return "from anywhere" if networks is None else f"only from {', '.join(networks)}"


def limits_in_words(limits: Restrictions) -> str:
    """What a new client may do, and from where."""
    return f"Allowed: {scope_in_words(limits.scope)}, {networks_in_words(limits.networks)}."


def _told(word: str) -> str:
    group, _, kind = word.partition(":")
    subject = "all of its merchant" if group == MERCHANT_SCOPE else f"the {group}"
    return {"read": f"reading {subject}", "write": f"writing {subject}"}.get(kind, subject)


def refusal(error: DomainError) -> str:
    """Why nothing was done."""
    return REFUSALS.get(error.code, error.message)


def title_of(status: int) -> str:
    """The heading of a page that says why there is none."""
    return TITLES.get(status, http.HTTPStatus(status).phrase)


def tone_of(state: str) -> str:
    """How a state looks."""
    return TONES.get(state, "")

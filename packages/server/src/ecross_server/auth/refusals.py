"""Why a caller got no token: what the audit trail has of it, in words, beside what was done to the client before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy.orm import Session

from ecross_server.audit.rules import ISSUE_TOKEN
from ecross_server.audit.service import Record, RecordFilter, list_records
from ecross_server.merchants import grants
from ecross_server.merchants.service import Client

ACTS_BEFORE: Final = 5
ACTS_SEEN: Final = 100
"""So many of a client's and of its merchant's acts are looked through."""


class Explanation(NamedTuple):
    """What an outcome means, and what the merchant or the representative can do about it."""

    meaning: str
    remedy: str


UNKNOWN: Final = Explanation(
    "The server refused the request for a reason that this version has no words for.",
    "Look for the request id in the server's log.",
)

EXPLANATIONS: Final[Mapping[str, Explanation]] = {
    "invalid_client": Explanation(
        "Client id and secret did not open anything: the secret was wrong or has ended, the client is unknown or "
        "revoked, or the merchant is disabled. The caller was told the same in all of these cases.",
        "Compare with what is known of the client. If all is active there, the secret that was sent is another one: "
        "let the merchant look which one its system has, or hand a new one over.",
    ),
    "address_not_allowed": Explanation(
        "Client id and secret were right, but the client is limited to networks, and the address lies in none of them. "
        "The caller was told the same as for a wrong secret.",
        "Ask the merchant whether the address is its own. If it is, add it on the client's page; if not, somebody else "
        "has the secret: answer that as a leak.",
    ),
    "rate_limited": Explanation(
        "Too many requests for tokens came: for this client, of wrong secrets for it from this address, from this "
        "address altogether, or to the whole service.",
        "Let the merchant keep each token and use it until it expires, eight hours as a rule. Many machines behind one "
        "address may need a higher limit for addresses.",
    ),
    "invalid_request": Explanation(
        "The body was no JSON object with a clientId and a clientSecret, both of them texts.",
        "The answer named the field that is wrong. Let the merchant look at what its system sends.",
    ),
    "unsupported_media_type": Explanation(
        "The body was not said to be JSON.",
        "Let the merchant send the header Content-Type: application/json.",
    ),
    "method_not_allowed": Explanation(
        "It was not a POST.",
        "Let the merchant send POST /token. A redirect on the way may have turned it into a GET.",
    ),
    "body_too_large": Explanation(
        "The body had more than 64 KiB.",
        "A request for a token has two short fields: something else was sent to this address.",
    ),
    "disconnected": Explanation(
        "The connection ended before all of the request had come.",
        "A caller that gives up early, or a proxy on the way. If it happens often, compare their time limits.",
    ),
    "temporarily_unavailable": Explanation(
        "The server could not check any credentials at that moment: its database was away, or a pepper was missing.",
        "Nothing is wrong with the caller, who should try again. See the page of the installation.",
    ),
    "internal_error": Explanation(
        "Something went wrong on the server's side.",
        "Look for the request id in the server's log, and report it.",
    ),
}
"""One for every outcome of `POST /token` but the good one."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal as it was recorded. What was done to the client and its merchant before it comes the newest first."""

    record: Record
    explanation: Explanation
    client: Client | None
    acts_before: Sequence[Record]


def explain(outcome: str) -> Explanation:
    """The outcome in words."""
    return EXPLANATIONS.get(outcome, UNKNOWN)


def find_refusals(
    session: Session, *, request_id: str | None = None, client_id: str | None = None, limit: int
) -> list[Refusal]:
    """The refusals of one request or of one client's requests, the newest first.

    Of the failures of one kind in a minute the first alone has a record of its own: others cannot be found by theirs.
    """
    if request_id is None and client_id is None:
        return []
    chosen = RecordFilter(action=ISSUE_TOKEN, request_id=request_id, client_id=client_id, but_issued=True)
    records = list(list_records(session, chosen, limit))[::-1]
    known = grants.list_clients_by_id(session, {each.draft.client_id for each in records if each.draft.client_id})
    acts = {client.id: _acts_on(session, client) for client in known.values()}
    return [
        Refusal(
            record,
            explain(record.draft.outcome),
            known.get(record.draft.client_id or ""),
            [act for act in acts.get(record.draft.client_id or "", []) if act.seq < record.seq][:ACTS_BEFORE],
        )
        for record in records
    ]


def _acts_on(session: Session, client: Client) -> list[Record]:
    """What was done to the client, and what was done to its merchant as a whole; the newest first."""
    of_client = list_records(session, RecordFilter(client_id=client.id, acts_only=True), ACTS_SEEN)
    of_merchant = list_records(session, RecordFilter(merchant_id=client.merchant_id, acts_only=True), ACTS_SEEN)
    acts = {act.seq: act for act in (*of_client, *(each for each in of_merchant if each.draft.client_id is None))}
    return [acts[seq] for seq in sorted(acts, reverse=True)]

"""The wire form of a record."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from ecross_server.audit.service import Record, Verdict
from ecross_server.kit.clock import rfc3339


def record_out(record: Record) -> dict[str, Any]:
    """A record with the wire's names. `count` says how often it happened; `details` holds what only some acts have."""
    details = _details(record.draft.details)
    draft = record.draft
    return {
        "seq": record.seq,
        "at": shown_instant(draft.at),
        "actor": draft.actor,
        "action": draft.action,
        "merchantId": draft.merchant_id,
        "clientId": draft.client_id,
        "outcome": draft.outcome,
        "address": draft.address,
        "requestId": draft.request_id,
        "tokenId": draft.token_id,
        "secretId": draft.secret_id,
        "secretFingerprint": details.pop("secretFingerprint", None),
        "count": details.pop("count", 1),
        "details": details or None,
        "hash": record.hash,
    }


def verdict_out(verdict: Verdict) -> dict[str, Any]:
    """What a check of the whole trail found."""
    return {
        "ok": verdict.is_ok,
        "count": verdict.count,
        "firstBad": verdict.first_bad,
        "reason": verdict.reason,
        "prunedThrough": verdict.pruned_through or None,
        "unchecked": verdict.unchecked,
        "missingKeys": list(verdict.missing_keys),
        "witness": verdict.has_witness,
    }


def shown_instant(at: int) -> str | None:
    """Microseconds since the epoch as RFC 3339; `None` where somebody has made of them what is no instant."""
    try:
        return rfc3339(datetime.fromtimestamp(at // 1_000_000, UTC).replace(microsecond=at % 1_000_000))
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _details(text: str | None) -> dict[str, Any]:
    with suppress(TypeError, ValueError, RecursionError):  # somebody has changed them
        content = json.loads(text or "{}")
        if isinstance(content, dict):
            return content
    return {"unreadable": True}

"""A client is warned before its secret ends: once, by its own secret, also by a token that another process cached."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ecross import AsyncClient, Client, CredentialExpiryWarning, FileCache, MemoryCache
from ecross._auth.answers import TokenAnswer, read_grant
from ecross._auth.entry import CachedToken, Entry, SecretEnd, decode, encode
from ecross._auth.secret_end import warn_of_end

if TYPE_CHECKING:
    from ecross.testing import FakeServer, Merchant

DAY = 86400.0


@pytest.fixture
def merchant(ecross_server: FakeServer) -> Merchant:
    """A merchant whose old secret, which its clients still have, ends in a day."""
    return ecross_server.add_merchant("ACME")


@pytest.fixture
def ask(ecross_server: FakeServer, merchant: Merchant) -> Callable[..., Any]:
    """A new client's token; a cache of its own unless one is given."""

    def ask_for_token(secret: str | None = None, **options: Any) -> Any:
        cache = options.pop("token_cache", None) or MemoryCache()
        with Client(
            client_id=merchant.client_id, client_secret=secret or merchant.client_secret, base_url=ecross_server.url,
            token_cache=cache,
        ) as client:  # fmt: skip
            return client.access_token(**options)

    return ask_for_token


def test_who_has_the_old_secret_is_warned_once_for_each_of_its_ends(
    merchant: Merchant, ask: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    old = merchant.client_secret
    assert ask().credential_expires_at is None
    new = merchant.rotate_secret(retire_old_in=DAY)
    with pytest.warns(CredentialExpiryWarning, match=rf"secret of {merchant.client_id} ends at 20.*Z\. Set") as caught:
        token = ask(old)
    assert len(caught) == 1
    assert old not in str(caught[0].message)
    assert [(each.name, each.levelno) for each in caplog.records] == [("ecross", logging.WARNING)]
    assert abs(token.credential_expires_at - datetime.now(UTC) - timedelta(days=1)) < timedelta(minutes=1)
    assert timedelta(hours=7) < token.expires_at - datetime.now(UTC) < timedelta(hours=9)
    ask(old)  # a second warning would be an error
    assert ask(new).credential_expires_at is None
    merchant.rotate_secret(retire_old_in=DAY / 2)
    with pytest.warns(CredentialExpiryWarning):
        assert ask(new).expires_at - datetime.now(UTC) < timedelta(hours=12)


def test_tasks_are_warned_too(ecross_server: FakeServer, merchant: Merchant) -> None:
    old = merchant.client_secret
    merchant.rotate_secret(retire_old_in=DAY)

    async def ask() -> None:
        async with AsyncClient(
            client_id=merchant.client_id, client_secret=old, base_url=ecross_server.url, token_cache=MemoryCache()
        ) as client:
            await client.access_token()

    with pytest.warns(CredentialExpiryWarning):
        asyncio.run(ask())


def test_where_nobody_keeps_a_log_nothing_is_logged(
    merchant: Merchant, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("ecross"), "propagate", False)
    old = merchant.client_secret
    merchant.rotate_secret(retire_old_in=DAY)
    with pytest.warns(CredentialExpiryWarning) as caught:
        ask(old)
    assert caught[0].filename == __file__
    assert caplog.records == []


def test_a_warning_that_is_an_error_leaves_the_client_whole(merchant: Merchant, ask: Callable[..., Any]) -> None:
    old = merchant.client_secret
    merchant.rotate_secret(retire_old_in=DAY)
    cache = MemoryCache()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CredentialExpiryWarning):
            ask(old, token_cache=cache)
        assert ask(old, token_cache=cache).value


def test_an_end_that_is_far_away_is_told_by_the_token_alone(merchant: Merchant, ask: Callable[..., Any]) -> None:
    old = merchant.client_secret
    merchant.rotate_secret(retire_old_in=31 * DAY)
    assert ask(old).credential_expires_at is not None


def test_a_cached_token_warns_its_own_secrets_holder_alone(
    ecross_server: FakeServer, merchant: Merchant, ask: Callable[..., Any], tmp_path: Path
) -> None:
    old = merchant.client_secret
    new = merchant.rotate_secret(retire_old_in=DAY)
    with pytest.warns(CredentialExpiryWarning):
        first = ask(old, token_cache=FileCache(tmp_path))
    told = ask(old, token_cache=FileCache(tmp_path))
    assert (told.value, told.credential_expires_at) == (first.value, first.credential_expires_at)
    other = ask(new, token_cache=FileCache(tmp_path))
    assert (other.value, other.credential_expires_at) == (first.value, None)
    assert ecross_server.count("/token") == 1


def test_the_end_is_by_this_machines_clock_and_warned_of_by_the_servers(merchant: Merchant) -> None:
    with pytest.warns(CredentialExpiryWarning, match="ends at 2026-01-02 03:04:05Z"):
        warn_of_end("https://a.test", merchant.client_id, 1767323045.0, 1767323045.0 - DAY)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, None), ("", None), ("tomorrow", None), (formatdate(1e9, usegmt=True), 1e9),
        ("Mon, 01 Jan 1900 00:00:00 GMT", None),
    ],
)  # fmt: skip
def test_only_a_date_is_an_end(told: str | None, expected: float | None) -> None:
    body = b'{"token": "tok", "tokenType": "Bearer", "expiresIn": 60}'
    grant = read_grant(TokenAnswer(200, body, credential_expires=told), hidden=(), now=0.0)
    assert getattr(grant, "secret_ends_at", "none") == expected


def test_an_entry_keeps_the_end_and_one_without_is_read_as_before() -> None:
    token = CachedToken("tok-1", 1000.0, 1800.0, 2000.0)
    entry = Entry(token, secret_end=SecretEnd(5000.0, b"salt", b"digest"))
    assert decode(encode(entry)) == entry
    assert "digest" not in repr(entry)
    wire = json.loads(encode(entry))
    del wire["secretEnd"]
    assert decode(json.dumps(wire).encode()) == Entry(token)
    for unfit in ({}, {"at": "soon", "salt": "", "secretDigest": ""}, {"at": 1, "salt": "x", "secretDigest": ""}):
        assert decode(json.dumps({**wire, "secretEnd": unfit}).encode()) == Entry()

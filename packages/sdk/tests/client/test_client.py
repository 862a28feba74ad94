"""What both clients are told and how they end: settings, the shared cache, closing, the interpreter's exit."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ecross import AsyncClient, Client, FileCache, MemoryCache
from ecross._configuration import store_profile
from ecross.errors import ConfigurationError, EcrossError

SECRET = "s3cret-of-the-merchant"
CREDENTIALS: dict[str, Any] = {"client_id": "acme-1", "client_secret": SECRET}
LOCAL = "http://127.0.0.1:9"

both = pytest.mark.parametrize("kind", [Client, AsyncClient])


def end(client: Client | AsyncClient) -> None:
    if isinstance(client, Client):
        client.close()
    else:
        asyncio.run(client.aclose())


@both
def test_no_host_is_a_default(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'No server was told\. Pass base_url, or environment="production"'):
        kind(**CREDENTIALS)


@both
def test_the_published_hosts_are_used_when_asked_for(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = kind(**CREDENTIALS, environment="production", token_cache=MemoryCache())
    monkeypatch.setenv("ECROSS_ENVIRONMENT", "production")
    told = kind(**CREDENTIALS, token_cache=MemoryCache())
    for client in (asked, told):
        assert client._setup.addresses.token_url == "https://auth.api.e-cross.tech/token"
        assert client._setup.addresses.join("order", "/ext/orders") == "https://order.api.e-cross.tech/ext/orders"
        end(client)


@both
def test_settings_come_from_the_environment(kind: Any, monkeypatch: pytest.MonkeyPatch, server: Any) -> None:
    monkeypatch.setenv("ECROSS_BASE_URL", server.url)
    monkeypatch.setenv("ECROSS_CLIENT_ID", "acme-1")
    monkeypatch.setenv("ECROSS_CLIENT_SECRET", SECRET)
    client = kind()
    assert repr(client) == f"{kind.__name__}(client_id='acme-1', auth_url={server.url!r})"
    end(client)


@both
def test_settings_come_from_a_profile(kind: Any, server: Any) -> None:
    store_profile("mine", client_id="acme-2", client_secret=SECRET, base_url=server.url)
    client = kind(profile="mine", token_cache=MemoryCache())
    assert repr(client) == f"{kind.__name__}(client_id='acme-2', auth_url={server.url!r})"
    end(client)


@both
def test_without_credentials_the_client_says_what_to_do(kind: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        kind(base_url=LOCAL)
    assert str(caught.value) == (
        "No credentials were told: run `ecross login`, set ECROSS_CLIENT_ID and ECROSS_CLIENT_SECRET or "
        "ECROSS_CLIENT_SECRET_FILE, or give client_id and client_secret."
    )


@both
@pytest.mark.parametrize("seconds", [0, -1, 0.0, float("nan"), float("inf"), "30", None])
def test_a_timeout_is_a_number_above_0(kind: Any, seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout_seconds must be a number above 0"):
        kind(**CREDENTIALS, base_url=LOCAL, timeout_seconds=seconds)


@both
@pytest.mark.parametrize("retries", [-1, 1.5, "2", None])
def test_retries_are_a_whole_number(kind: Any, retries: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_retries must be a whole number, 0 or more"):
        kind(**CREDENTIALS, base_url=LOCAL, max_retries=retries)


@both
def test_all_settings_are_told_by_name(kind: Any) -> None:
    with pytest.raises(TypeError):
        kind("acme-1", SECRET)


def test_clients_of_one_process_share_the_default_cache(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = CREDENTIALS | {"base_url": server.url}
    with Client(**told) as first, Client(**told) as second:
        assert isinstance(first._setup.cache, FileCache)
        assert first._setup.cache is second._setup.cache
        assert first.access_token() == second.access_token()
        monkeypatch.setenv("ECROSS_CACHE_DIR", str(tmp_path / "other"))
        with Client(**told) as third:
            assert third._setup.cache is not first._setup.cache
            third.access_token()
    assert server.tokens_asked == 2


def test_an_async_client_shares_the_default_cache_with_a_client(server: Any) -> None:
    async def ask() -> Any:
        async with AsyncClient(**CREDENTIALS, base_url=server.url) as tasked:
            return await tasked.access_token()

    with Client(**CREDENTIALS, base_url=server.url) as client:
        assert asyncio.run(ask()) == client.access_token()
    assert server.tokens_asked == 1


def test_a_token_of_an_earlier_client_is_found_again(server: Any) -> None:
    for _ in range(2):
        with Client(**CREDENTIALS, base_url=server.url) as client:
            assert client.access_token().value == "tok-1"


def test_clients_without_a_home_share_memory(
    server: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    no_folder = tmp_path / "file"
    no_folder.touch()
    monkeypatch.setenv("HOME", str(no_folder))
    with Client(**CREDENTIALS, base_url=server.url) as first, Client(**CREDENTIALS, base_url=server.url) as second:
        assert isinstance(first._setup.cache, MemoryCache)
        assert first._setup.cache is second._setup.cache
        assert first.access_token() == second.access_token()
    assert server.tokens_asked == 1
    assert SECRET not in caplog.text


def test_a_token_tells_when_it_ends(caller: Any) -> None:
    token = caller.access_token()

    assert token.token_type == "Bearer"
    assert abs(token.expires_at - datetime.now(UTC) - timedelta(hours=8)) < timedelta(seconds=10)
    assert "tok-1" not in repr(token) + str(token)


def test_a_forced_token_is_another_one(caller: Any) -> None:
    assert caller.access_token().value == "tok-1"
    assert caller.access_token(force_refresh=True).value == "tok-2"
    assert caller.access_token().value == "tok-2"


def test_a_client_is_closed_at_the_end_of_its_block(server: Any) -> None:
    with Client(**CREDENTIALS, base_url=server.url, token_cache=MemoryCache()) as client:
        client.request("GET", "/a")
    with pytest.raises(EcrossError, match="closed"):
        client.request("GET", "/a")


SCRIPT = """
import asyncio, gc, sys
from ecross import AsyncClient, Client, MemoryCache

told = {{"client_id": "acme-1", "client_secret": "secret", "base_url": sys.argv[1], "token_cache": MemoryCache()}}

async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is no fault
    {tasked}

{threaded}
asyncio.run(main())
gc.collect()
print("done")
"""
CLOSED = (
    'async with AsyncClient(**told) as client: await client.request("GET", "/a")',
    'with Client(**told) as client: client.request("GET", "/a")',
)
LEFT_OPEN = (
    'global left; left = AsyncClient(**told); await left.access_token(); print("left")',
    'client = Client(**told); client.request("GET", "/a")',
)


@pytest.mark.parametrize(("tasked", "threaded"), [CLOSED, LEFT_OPEN], ids=["closed", "left open"])
def test_the_interpreter_ends_in_peace(tasked: str, threaded: str, server: Any) -> None:
    warnings = ["-W", "error"] if tasked == CLOSED[0] else []
    script = SCRIPT.format(tasked=tasked, threaded=threaded)
    ended = subprocess.run(
        [sys.executable, "-X", "dev", *warnings, "-c", script, server.url],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert (ended.returncode, ended.stdout.split()[-1:]) == (0, ["done"])
    if warnings:
        assert ended.stderr == ""
    assert "Traceback" not in ended.stderr

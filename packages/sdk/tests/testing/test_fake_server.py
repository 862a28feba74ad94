"""The fake server as those use it who test a merchant's integration."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

import ecross.testing
from ecross import AsyncClient, Client, CredentialExpiryWarning, InvalidTokenError, MemoryCache, TokenVerifier
from ecross.errors import InvalidCredentialsError, RateLimitedError, TransportError
from ecross.testing import FakeServer, VirtualClock, rate_limited, server_error

SKUS = "/ext/merchant/skus"


def test_every_public_name_is_there_and_no_other() -> None:
    assert {name for name in dir(ecross.testing) if name in ecross.testing.__all__} == set(ecross.testing.__all__)
    assert all(
        getattr(ecross.testing, name).__module__.startswith("ecross.testing.") for name in ecross.testing.__all__
    )
    with pytest.raises(AttributeError, match="no attribute 'FakeSever'"):
        _ = ecross.testing.FakeSever  # type: ignore[attr-defined]  # the point of the test


class TestTime:
    def test_eight_hours_later_a_client_asks_for_a_second_token(self, server: FakeServer) -> None:
        with Client(**server.client_options()) as client:
            first = client.access_token().value
            server.advance(5 * 3600)
            assert client.access_token().value == first
            server.advance(3 * 3600)
            assert client.access_token().value != first

        assert server.count("/token") == 2

    def test_pauses_before_retries_move_the_clock_and_take_no_time(self, server: FakeServer) -> None:
        server.script(f"GET {SKUS}", rate_limited(20), server_error(503))
        server.script("/token", rate_limited(25), server_error())
        began, clock_began = time.monotonic(), server.clock()

        with Client(**server.client_options()) as client:
            assert list(client.skus.list()) == []

        assert time.monotonic() - began < 5
        assert 45 <= server.clock() - clock_began < 60
        assert server.requests_to(SKUS)[1].at - server.requests_to(SKUS)[0].at >= 20
        assert (server.count("/token"), server.count(SKUS)) == (3, 3)

    def test_pauses_of_tasks_move_the_clock_and_take_no_time(self, server: FakeServer) -> None:
        server.script("/token", rate_limited(25))
        server.script(SKUS, rate_limited(20))

        async def main() -> list[Any]:
            async with AsyncClient(**server.client_options()) as client:
                return [sku async for sku in client.skus.list()]

        began, clock_began = time.monotonic(), server.clock()
        assert asyncio.run(main()) == []
        assert time.monotonic() - began < 5
        assert server.clock() - clock_began >= 45

    def test_the_clock_stands_still_unless_it_is_moved(self, server: FakeServer) -> None:
        now = server.clock()
        assert abs(now - time.time()) < 60
        server.advance(1.5)
        assert server.clock() == now + 1.5
        server.advance(-2)
        assert server.clock() == now - 0.5
        assert repr(server.clock) == f"VirtualClock(at {now - 0.5})"

    def test_the_clock_may_stand_on_another(self) -> None:
        told = 1_000_000_000.0
        with FakeServer(clock=lambda: told) as server:
            server.advance(2)
            told += 40
            assert server.clock() == 1_000_000_042
            with httpx2.Client(transport=server.transport) as client:
                assert client.get(f"{server.base_url}/").headers["Date"] == "Sun, 09 Sep 2001 01:47:22 GMT"

    def test_sleeping_by_the_clock_moves_it(self) -> None:
        clock = VirtualClock(lambda: 100.0)
        clock.sleep(1)
        asyncio.run(clock.sleep_async(2))
        assert clock() == 103


class TestClients:
    def test_fifty_threads_ask_once(self, server: FakeServer) -> None:
        with Client(**server.client_options()) as client, ThreadPoolExecutor(50) as pool:
            values = {token.value for token in pool.map(lambda _: client.access_token(), range(50))}

        assert len(values) == 1
        assert server.count("POST /token") == 1

    def test_a_hundred_tasks_ask_once(self, server: FakeServer) -> None:
        async def main() -> set[str]:
            async with AsyncClient(**server.client_options()) as client:
                return {token.value for token in await asyncio.gather(*(client.access_token() for _ in range(100)))}

        assert len(asyncio.run(main())) == 1
        assert server.count("/token") == 1

    def test_clients_of_one_server_share_tokens_unless_they_are_given_a_cache(self, server: FakeServer) -> None:
        options = server.client_options()
        with (
            Client(**options) as one,
            Client(**options) as two,
            Client(**options | {"token_cache": MemoryCache()}) as three,
        ):
            assert one.access_token().value == two.access_token().value != three.access_token().value

    def test_clients_act_for_their_own_merchant(self, server: FakeServer) -> None:
        server.merchant("OTHER").put_numbered_skus(2)
        with Client(**server.client_options()) as acme, Client(**server.client_options("OTHER")) as other:
            assert list(acme.skus.list()) == []
            assert [sku.sku_id for sku in other.skus.list()] == ["SKU-1", "SKU-2"]

    def test_a_program_of_its_own_finds_it_by_its_environment(self, server: FakeServer, tmp_path: Path) -> None:
        server.merchant().put_numbered_skus(1)
        program = (
            "from ecross import Client\nwith Client() as client: print([sku.sku_id for sku in client.skus.list()])"
        )
        misleading = {
            "ECROSS_ENVIRONMENT": "production",
            "ECROSS_PROFILE": "nobody",
            "ECROSS_AUTH_URL": "https://x.test",
        }

        run = subprocess.run(
            [sys.executable, "-c", program], env=os.environ | misleading | server.environment(tmp_path / "cache"),
            capture_output=True, text=True, check=False,
        )  # fmt: skip

        assert run.stdout.strip() == "['SKU-1']", run.stderr
        assert list((tmp_path / "cache").iterdir())

    def test_revoked_tokens_are_refused_once_and_replaced(self, server: FakeServer) -> None:
        with Client(**server.client_options()) as client:
            list(client.skus.list())
            server.merchant().revoke_tokens()
            list(client.skus.list())

        assert [request.path for request in server.requests] == ["/token", SKUS, SKUS, "/token", SKUS]


class TestCredentials:
    def ask(self, server: FakeServer, **changes: str) -> str:
        with Client(**server.client_options() | {"token_cache": MemoryCache()} | changes) as client:
            return client.access_token().value

    def call(self, server: FakeServer, token: str) -> int:
        with httpx2.Client(transport=server.transport, base_url=server.base_url) as client:
            return client.get(SKUS, headers={"Authorization": f"Bearer {token}"}).status_code

    def test_wrong_ones_are_refused_by_the_client_at_once(self, server: FakeServer) -> None:
        with Client(**server.client_options() | {"client_secret": "wrong"}) as client:
            for _ in range(3):
                with pytest.raises(InvalidCredentialsError, match="Incorrect username or password"):
                    client.access_token()
            assert server.count("/token") == 1
            server.advance(61)
            with pytest.raises(InvalidCredentialsError):
                client.access_token()
        assert server.count("/token") == 2

    def test_a_disabled_merchant_gets_nothing_until_it_is_enabled(self, server: FakeServer) -> None:
        token = self.ask(server)
        server.merchant().disable()
        with pytest.raises(InvalidCredentialsError):
            self.ask(server)
        assert self.call(server, server.merchant().issue_token()) == 401
        server.merchant().enable()
        assert self.ask(server) != token
        assert self.call(server, token) == 401

    def test_a_new_secret_ends_the_old_one_and_its_tokens(self, server: FakeServer) -> None:
        merchant = server.merchant()
        old, token = merchant.client_secret, self.ask(server)

        assert merchant.rotate_secret() == merchant.client_secret != old

        assert self.ask(server)
        with pytest.raises(InvalidCredentialsError):
            self.ask(server, client_secret=old)
        assert self.call(server, token) == 401

    def test_an_old_secret_may_be_kept_beside_the_new_one_until_the_next(self, server: FakeServer) -> None:
        merchant = server.merchant()
        secrets = [merchant.client_secret, merchant.rotate_secret(keep_old=True)]
        assert all(self.ask(server, client_secret=secret) for secret in secrets)
        merchant.rotate_secret(keep_old=True)
        with pytest.raises(InvalidCredentialsError):
            self.ask(server, client_secret=secrets[0])
        assert self.ask(server, client_secret=secrets[1])

    def test_an_old_secret_may_end_by_itself(self, server: FakeServer) -> None:
        merchant = server.merchant()
        old = merchant.client_secret
        new = merchant.rotate_secret(retire_old_in=3600)
        with pytest.warns(CredentialExpiryWarning):
            self.ask(server, client_secret=old)
        server.advance(3601)
        with pytest.raises(InvalidCredentialsError):
            self.ask(server, client_secret=old)
        assert self.ask(server, client_secret=new)

    def test_they_may_be_given(self, server: FakeServer) -> None:
        merchant = server.add_merchant("SHOP_1", client_id="shop-1", client_secret="s3cret")

        assert merchant.credentials == {"clientId": "shop-1", "clientSecret": "s3cret"}
        with pytest.raises(ValueError, match="another merchant has this client id"):
            server.add_merchant("SHOP_2", client_id="shop-1")

    def test_made_up_ones_have_the_published_form(self, server: FakeServer) -> None:
        merchant = server.add_merchant("SHOP_1")

        assert re.fullmatch("shop_1-[a-z2-7]{13}", merchant.client_id)
        assert re.fullmatch("ecs_[0-9A-Za-z]{49}", merchant.client_secret)

    def test_a_merchant_is_registered_once_under_a_merchants_id(self, server: FakeServer) -> None:
        assert server.add_merchant("ACME") is server.merchant() is server.merchant("ACME")
        with pytest.raises(ValueError, match="ACME is registered already"):
            server.add_merchant("ACME")
        with pytest.raises(ValueError, match="a merchant id is"):
            server.add_merchant("acme")

    def test_no_representation_shows_a_secret(self, server: FakeServer, http: httpx2.Client) -> None:
        merchant = server.merchant()
        http.post("/token", json=merchant.credentials)

        shown = repr([server, merchant, *server.requests])

        assert merchant.client_secret not in shown
        assert "merchants=['ACME'], requests=1" in shown
        assert "POST /token at" in shown


class TestTokens:
    def test_a_verifier_takes_them_by_the_servers_keys_until_they_expire(self, server: FakeServer) -> None:
        verifier = TokenVerifier(keys=server.keys, issuer=server.issuer, audience=server.audience, clock=server.clock)
        token = server.merchant().issue_token(scope="catalog:read", lifetime_seconds=600)

        claims = verifier.verify(token)

        assert (claims.merchant_id, set(claims.scopes)) == ("ACME", {"catalog:read"})
        server.advance(600)
        with pytest.raises(InvalidTokenError):
            verifier.verify(token)

    def test_another_server_has_other_keys(self, server: FakeServer) -> None:
        with FakeServer() as other, httpx2.Client(transport=other.transport, base_url=other.base_url) as client:
            other.add_merchant("ACME", client_id=server.merchant().client_id)
            token = server.merchant().issue_token()
            assert client.get(SKUS, headers={"Authorization": f"Bearer {token}"}).status_code == 401

    def test_their_life_may_be_set(self, server: FakeServer, http: httpx2.Client) -> None:
        server.token_lifetime_seconds = 90
        token = http.post("/token", json=server.merchant().credentials).json()

        assert token["expiresIn"] == 90
        headers = {"Authorization": f"Bearer {token['token']}"}
        assert http.get(SKUS, headers=headers).status_code == 200
        server.advance(90)
        assert "has expired" in http.get(SKUS, headers=headers).json()["message"]

    def test_a_scope_is_needed(self, server: FakeServer, http: httpx2.Client) -> None:
        token = server.merchant().issue_token(scope="orders:read")
        answer = http.get(SKUS, headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")

    def test_credentials_may_be_limited_to_a_scope(self, server: FakeServer, http: httpx2.Client) -> None:
        limited = server.add_merchant("LIMITED", scope="merchant:read inventory:write")
        token = http.post("/token", json=limited.credentials).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}

        assert http.get(SKUS, headers=headers).status_code == 200
        assert http.get("/ext/inventories", headers=headers).status_code == 200
        assert http.post("/ext/inventories", headers=headers).status_code == 415
        refused = http.post(SKUS, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")

    @pytest.mark.parametrize("scope", ["", "catalog", "Merchant", "catalog:read orders:read", " merchant"])
    def test_a_scope_that_nothing_asks_for_is_refused(self, server: FakeServer, scope: str) -> None:
        with pytest.raises(ValueError, match="catalog:read, catalog:write, inventory:read"):
            server.add_merchant("LIMITED", scope=scope)
        assert repr(server).count("LIMITED") == 0

    def test_a_budget_is_spent_and_comes_back_with_time(self, server: FakeServer, http: httpx2.Client) -> None:
        server.tokens_per_minute = 2

        def ask(merchant_id: str) -> httpx2.Response:
            return http.post("/token", json=server.merchant(merchant_id).credentials)

        assert [ask("ACME").status_code for _ in range(3)] == [200, 200, 429]
        refused = ask("ACME")
        assert (refused.headers["Retry-After"], refused.headers["RateLimit"]) == ("30", '"client";r=0;t=30')
        assert ask("OTHER").headers["RateLimit"] == '"client";r=1;t=30'
        server.advance(30)
        assert [ask("ACME").status_code for _ in range(2)] == [200, 429]

    def test_a_client_that_may_not_wait_so_long_says_so(self, server: FakeServer) -> None:
        server.tokens_per_minute = 1
        options = server.client_options()
        with Client(**options) as client:
            client.access_token()
            with pytest.raises(RateLimitedError) as caught:
                client.access_token(force_refresh=True)
        assert caught.value.retry_after_seconds == 60


class TestSkus:
    def test_a_client_reads_all_pages(self, server: FakeServer) -> None:
        server.page_size = 2
        server.merchant().put_numbered_skus(5)
        with Client(**server.client_options()) as client:
            assert [sku.sku_id for sku in client.skus.list()] == [f"SKU-{number}" for number in range(1, 6)]
        assert server.count(f"GET {SKUS}") == 3

    def test_what_is_put_is_what_is_shown(self, server: FakeServer) -> None:
        merchant = server.merchant()
        shown = merchant.put_sku(
            {
                "skuId": "1", "productId": "P", "main": True, "name": "Mug", "weight": 0.5, "height": 8.0,
                "images": ["https://img.test/1.jpeg"], "globalSaleChannelData": {"active": True, "brand": None},
                "localizationStatus": "LOCALIZED", "salesChannelStatus": {"ECOM": {"status": "ACTIVE"}},
                "lastUpdateDate": "2024-01-02T03:04:05.678+01:00",
            }
        )  # fmt: skip

        assert shown == {
            "id": "ACME-1", "merchantId": "ACME", "skuId": "1", "productId": "P", "merchantProductId": "ACME-P",
            "main": True, "name": "Mug", "weight": 0.5, "height": 8, "globalSaleChannelData": {"active": True},
            "images": ["https://img.test/1.jpeg"], "localizationStatus": "LOCALIZED",
            "salesChannelStatus": {"ECOM": {"status": "ACTIVE"}}, "lastUpdateDate": "2024-01-02T02:04:05.678Z",
        }  # fmt: skip
        assert merchant.skus == [shown]
        with Client(**server.client_options()) as client:
            (sku,) = client.skus.list()
        assert sku.raw == shown
        assert sku.sales_channel_status["ECOM"].status == "ACTIVE"

    def test_a_change_is_dated_by_the_clock_and_no_change_is_not(self, server: FakeServer) -> None:
        merchant = server.merchant()
        first = merchant.put_sku({"skuId": "1", "localizationStatus": "LOCALIZED"})
        server.advance(60)
        assert merchant.put_sku({"skuId": "1"}) == first
        second = merchant.put_sku({"skuId": "1", "name": "Mug"})
        assert (second["name"], second["localizationStatus"]) == ("Mug", "PENDING_LOCALIZATION")
        assert datetime.fromisoformat(second["lastUpdateDate"]).timestamp() == server.clock()
        with Client(**server.client_options()) as client:
            after = datetime.fromtimestamp(server.clock() - 30, UTC)
            assert [sku.name for sku in client.skus.list(last_update_date_from=after)] == ["Mug"]

    @pytest.mark.parametrize(
        ("sku", "fault"),
        [
            ({}, "needs a skuId"),
            ({"skuId": ""}, "needs a skuId"),
            ({"skuId": 1}, "needs a skuId"),
            ({"skuId": "1", "Name": "x", "brand": "y"}, "has no field Name, brand; it has description, ean"),
            ({"skuId": "1", "lastUpdateDate": "yesterday"}, "lastUpdateDate is no ISO 8601"),
            ({"skuId": "1", "salesChannelStatus": {"ECOM": "ACTIVE"}}, "has an object for each channel"),
            ({"skuId": "1", "salesChannelStatus": "ACTIVE"}, "has an object for each channel"),
        ],
    )
    def test_what_is_no_sku_is_refused(self, sku: dict[str, Any], fault: str, server: FakeServer) -> None:
        with pytest.raises(ValueError, match=fault):
            server.merchant().put_sku(sku)
        assert server.merchant().skus == []


class TestRequests:
    def test_each_is_recorded_as_it_came(self, server: FakeServer, either_http: httpx2.Client) -> None:
        either_http.post("/token?a=1&b=2&a=3", json={"clientId": "x"}, headers={"X-Request-Id": "mine-1"})
        server.advance(5)
        either_http.request("PATCH", "/%65lsewhere", content=b"\xff")

        first, second = server.requests
        assert (first.method, first.path, first.request_id, first.json) == (
            "POST",
            "/token",
            "mine-1",
            {"clientId": "x"},
        )
        assert (first.query["b"], first.query.get_list("a"), first.parameter("a")) == ("2", ["1", "3"], "3")
        assert first.parameter("c") is None
        assert first.headers["content-type"] == "application/json"
        assert json.loads(first.content) == first.json
        assert (second.method, second.path, second.content, second.json) == ("PATCH", "/elsewhere", b"\xff", None)
        assert second.at == first.at + 5
        assert len(second.request_id) == 32
        assert server.requests_to("PATCH /elsewhere") == [second]
        assert (server.count("/elsewhere"), server.count("GET /elsewhere"), server.count("/")) == (1, 0, 0)

    def test_the_list_of_them_is_a_copy(self, server: FakeServer) -> None:
        server.requests.append(None)  # type: ignore[arg-type]  # the point of the test
        assert server.requests == []


class TestAbsence:
    def test_in_an_outage_nobody_finds_a_server_and_afterwards_everybody(self, server: FakeServer) -> None:
        with Client(**server.client_options()) as client:
            with server.outage():
                with server.outage(), pytest.raises(TransportError, match="could not be reached"):
                    client.access_token()
                with pytest.raises(TransportError):
                    client.access_token()
            assert client.access_token().value
        assert server.count("/token") == 7

    def test_in_an_outage_connections_at_its_address_are_reset(
        self, server: FakeServer, http_at_url: httpx2.Client
    ) -> None:
        with server.outage(), pytest.raises(httpx2.ReadError):
            http_at_url.get("/health/live")
        assert http_at_url.get("/health/live").status_code == 200

    def test_a_closed_server_is_away_for_good(self, server: FakeServer, either_http: httpx2.Client) -> None:
        assert either_http.get("/health/live").status_code == 200

        server.close()
        server.close()

        with pytest.raises((httpx2.ConnectError, httpx2.RemoteProtocolError, httpx2.ReadError)):
            either_http.get("/health/live")
        with pytest.raises(httpx2.ConnectError):
            either_http.get("/health/live")
        with pytest.raises(RuntimeError, match="closed"):
            _ = server.url

    def test_its_address_stays_the_same(self, server: FakeServer) -> None:
        assert server.url == server.url
        assert server.url.startswith("http://127.0.0.1:")

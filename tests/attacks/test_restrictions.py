"""What a thief, and a merchant's own program, try beyond the limits of a client: other addresses, other scopes."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.audit import service as audit
from ecross_server.audit.service import Actor, RecordFilter
from ecross_server.auth.endpoints import require
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.merchants import restrictions
from ecross_server.merchants.rules import SCOPES, Restrictions, new_client_secret
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings

OFFICE = "198.51.100.7"
ELSEWHERE = "203.0.113.9"
SKUS = "/ext/merchant/skus"

Register = Callable[..., IssuedCredential]


@pytest.fixture
def backend() -> str:
    """SQLite alone: neither check asks the database."""
    return "sqlite"


class Client:
    """A client of a merchant, asking from any address, by way of any proxy."""

    def __init__(self, settings: Settings, database: Database, by: Actor, issued: IssuedCredential) -> None:
        self.settings = settings
        self.application = Application(settings)
        self.application.auth.refresh()
        self.database = database
        self.by = by
        self.client_id, self.secret = issued.client.id, issued.client_secret

    def at(self, address: str) -> TestClient:
        # Not entered: the application is started by nobody, and its registry read as the tests need it.
        return TestClient(self.application, client=(address, 4711), raise_server_exceptions=False)

    def ask(self, address: str, secret: str | None = None, **headers: str) -> httpx2.Response:
        body = {"clientId": self.client_id, "clientSecret": secret or self.secret}
        return self.at(address).post("/token", json=body, headers=headers)

    def token(self, address: str = OFFICE) -> str:
        answer = self.ask(address)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["token"]
        return token

    def call(
        self,
        address: str,
        token: str,
        method: str = "GET",
        path: str = SKUS,
        content: str | None = None,
        **headers: str,
    ) -> httpx2.Response:
        return self.at(address).request(
            method, path, content=content, headers={"Authorization": f"Bearer {token}", **headers}
        )

    def limit(self, **options: Any) -> None:
        with self.database.write() as session:
            restrictions.restrict_client(session, self.client_id, now=utc_now(), by=self.by, **options)
        self.application.auth.refresh()


def code_of(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.fixture
def make_client(settings: Settings, database: Database, operator: Actor, register: Register) -> Any:
    """Makes a client with limits; its server trusts the proxies that are named."""

    def make(scope: str = "merchant", networks: list[str] | None = None, proxies: tuple[str, ...] = ()) -> Client:
        issued = register("ACME", restrictions=Restrictions(scope, networks))
        changed = Settings.model_validate(settings.model_dump() | {"trusted_proxies": list(proxies)})
        return Client(changed, database, operator, issued)

    return make


MakeClient = Callable[..., Client]


class TestAddresses:
    def test_a_stolen_secret_is_answered_from_elsewhere_as_a_wrong_one(self, make_client: MakeClient) -> None:
        client = make_client(networks=["198.51.100.0/24"])
        assert client.ask(OFFICE).status_code == 200
        stolen, wrong = client.ask(ELSEWHERE), client.ask(ELSEWHERE, new_client_secret())
        assert (stolen.status_code, stolen.content) == (401, wrong.content)
        own = ("x-request-id", "ratelimit", "ratelimit-policy")
        names = [[name for name in each.headers if name not in own] for each in (stolen, wrong)]
        assert names[0] == names[1]
        assert "client" not in stolen.headers["ratelimit"]
        assert stolen.headers["ratelimit-policy"] == wrong.headers["ratelimit-policy"]

    def test_the_representative_learns_that_a_right_secret_is_in_a_wrong_place(
        self, make_client: MakeClient, database: Database
    ) -> None:
        client = make_client(networks=["198.51.100.0/24"])
        with client.at(ELSEWHERE) as started:
            body = {"clientId": client.client_id, "clientSecret": client.secret}
            assert started.post("/token", json=body).status_code == 401
        with database.read() as session:
            (record,) = audit.list_records(session, RecordFilter(action="token.issue"))
        assert (record.draft.outcome, record.draft.address) == ("address_not_allowed", ELSEWHERE)
        assert (record.draft.merchant_id, record.draft.client_id) == ("ACME", client.client_id)
        assert record.draft.secret_id is not None
        assert record.draft.secret_id.startswith("sec_")

    def test_a_stolen_token_opens_nothing_from_elsewhere(self, make_client: MakeClient) -> None:
        client = make_client(networks=["198.51.100.0/24"])
        token = client.token()
        assert client.call(OFFICE, token).status_code == 200
        answer = client.call(ELSEWHERE, token)
        assert code_of(answer) == (403, "address_not_allowed")
        assert answer.headers["www-authenticate"] == 'Bearer realm="e-CROSS"'
        assert answer.headers["cache-control"] == "no-store"
        assert client.call(OFFICE, token).status_code == 200

    def test_nothing_is_said_of_scopes_to_who_stands_elsewhere(self, make_client: MakeClient) -> None:
        client = make_client("catalog:read", networks=["198.51.100.0/24"])
        token = client.token()
        answers = [client.call(ELSEWHERE, token, method, SKUS, "[]") for method in ("GET", "POST")]
        assert {code_of(answer) for answer in answers} == {(403, "address_not_allowed")}

    @pytest.mark.parametrize(
        "headers",
        [
            {"X-Forwarded-For": OFFICE},
            {"X-Forwarded-For": f"{OFFICE}, {ELSEWHERE}"},
            {"X-Forwarded-For": f"{ELSEWHERE}, {OFFICE}"},
            {"Forwarded": f"for={OFFICE}"},
            {"X-Real-IP": OFFICE},
            {"CF-Connecting-IP": OFFICE},
            {"True-Client-IP": OFFICE},
            {"X-Client-IP": OFFICE},
            {"X-Original-Forwarded-For": OFFICE},
        ],
    )
    def test_nobody_names_his_own_address(self, make_client: MakeClient, headers: dict[str, str]) -> None:
        client = make_client(networks=["198.51.100.0/24"])
        token = client.token()
        assert client.ask(ELSEWHERE, **headers).status_code == 401
        assert code_of(client.call(ELSEWHERE, token, **headers)) == (403, "address_not_allowed")

    @pytest.mark.parametrize(
        ("forwarded", "is_in"),
        [
            (OFFICE, True),
            (f"{ELSEWHERE}, {OFFICE}", True),
            (f"{OFFICE}, {ELSEWHERE}", False),
            (f"{OFFICE}, {ELSEWHERE}, 192.0.2.1", False),
            (f"{OFFICE}:80", True),
            (f"::ffff:{OFFICE}", True),
            (f"[::ffff:{OFFICE}]:80", True),
            (f"{OFFICE}, unknown", False),
            (f"{OFFICE}, ", False),
            (f"{OFFICE}%eth0", False),
            ("", False),
        ],
    )
    def test_a_trusted_proxy_is_believed_what_it_has_seen_itself(
        self, make_client: MakeClient, forwarded: str, *, is_in: bool
    ) -> None:
        client = make_client(networks=["198.51.100.0/24"], proxies=("192.0.2.0/24",))
        token = client.token()
        headers = {"X-Forwarded-For": forwarded}
        assert client.ask("192.0.2.1", **headers).status_code == (200 if is_in else 401)
        assert client.call("192.0.2.1", token, **headers).status_code == (200 if is_in else 403)

    @pytest.mark.parametrize(
        ("address", "is_in"),
        [
            (f"::ffff:{OFFICE}", True),
            ("::FFFF:C633:6407", True),
            ("2001:db8::1", True),
            ("2001:db8::1%eth0", True),
            ("2001:db8:1::1", False),
            (f"::{OFFICE}", False),
            (f"64:ff9b::{OFFICE}", False),
            ("198.51.101.7", False),
            ("198.051.100.7", False),
            ("3325256711", False),
            ("0xc6336407", False),
            ("/run/ecross.sock", False),
            ("", False),
        ],
    )
    def test_an_address_is_what_it_means_however_it_is_written(
        self, make_client: MakeClient, address: str, *, is_in: bool
    ) -> None:
        client = make_client(networks=["198.51.100.0/24", "2001:db8::/48"])
        token = client.token()
        assert client.ask(address).status_code == (200 if is_in else 401)
        assert client.call(address, token).status_code == (200 if is_in else 403)

    def test_the_longest_list_is_looked_through_at_once(self, make_client: MakeClient) -> None:
        networks = [f"198.51.{number}.0/25" for number in range(62)]
        client = make_client(networks=[*networks, "2001:db8::/48", OFFICE])
        token = client.token()
        begun = time.perf_counter()
        allowance = client.application.auth.registry.find(client.client_id)
        assert allowance is not None
        assert allowance.allowance.networks is not None
        for number in range(20_000):
            allowance.allowance.networks.allow(f"198.51.{number % 64}.200")
        assert time.perf_counter() - begun < 5
        assert client.call("198.51.61.200", token).status_code == 403


class TestScopes:
    @staticmethod
    def writing(client: TestClient) -> list[tuple[str, str, str]]:
        """Every private operation with the scope that it asks for, by the OpenAPI document."""
        paths: dict[str, Any] = client.get("/openapi.json").json()["paths"]
        return [
            (method.upper(), path.replace("{", "").replace("}", ""), scope)
            for path, methods in paths.items()
            for method, operation in methods.items()
            if path.startswith("/ext/")
            for requirement in operation["security"]
            for scope in requirement["bearer"]
        ]

    @pytest.mark.parametrize("scope", SCOPES)
    def test_every_operation_is_refused_unless_its_own_scope_is_there(
        self, make_client: MakeClient, scope: str
    ) -> None:
        client = make_client(scope)
        token = client.token()
        operations = self.writing(client.at(OFFICE))
        assert {asked for _, _, asked in operations} == set(SCOPES) - {"merchant", "merchant:read"}
        for method, path, asked in operations:
            answer = client.call(OFFICE, token, method, path, "{}")
            is_allowed = scope in {asked, "merchant"} or (scope == "merchant:read" and asked.endswith(":read"))
            assert (answer.status_code != 403) is is_allowed, (method, path, asked)
            if not is_allowed:
                assert code_of(answer) == (403, "insufficient_scope")
                assert f'scope="{asked}"' in answer.headers["www-authenticate"]

    def test_a_client_that_only_reads_writes_nothing_by_any_method(self, make_client: MakeClient) -> None:
        client = make_client("merchant:read")
        token = client.token()
        body = json.dumps([{"skuId": "1", "productId": "1", "name": "n"}])
        for method in ("POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "post", "GET"):
            for headers in (
                {},
                {"X-HTTP-Method-Override": "POST"},
                {"X-HTTP-Method": "POST"},
                {"X-Method-Override": "POST"},
            ):
                for path in (SKUS, f"{SKUS}?_method=POST", f"{SKUS}/", "/ext/inventories", "/ext/inventories/"):
                    answer = client.call(
                        OFFICE, token, method, path, body, **{"Content-Type": "application/json", **headers}
                    )
                    assert answer.status_code in {403, 404, 405} or method == "GET", (method, path)
        assert client.call(OFFICE, token).json() == {"skus": []}
        assert client.call(OFFICE, token, path="/ext/inventories").json() == {"inventories": []}

    def test_every_private_route_asks_for_a_scope_by_the_one_dependency(self, make_client: MakeClient) -> None:
        api = make_client().application.api
        inside = require("any").__qualname__

        def asks(dependant: Any) -> bool:
            return any(
                getattr(each.call, "__qualname__", "") == inside or asks(each) for each in dependant.dependencies
            )

        private = [route for route in iter_route_contexts(api.routes) if str(route.path).startswith("/ext")]
        assert len(private) >= 7
        assert [route.path for route in private if not asks(route.dependant)] == []


class TestTokensFromBefore:
    def test_a_narrowed_client_s_token_is_narrowed_with_it(self, make_client: MakeClient) -> None:
        client = make_client()
        token = client.token()
        assert client.call(OFFICE, token, "POST", content="[").status_code == 415
        client.limit(scope="catalog:read")
        assert client.call(OFFICE, token).status_code == 200
        assert code_of(client.call(OFFICE, token, "POST", content="[")) == (403, "insufficient_scope")
        assert client.call(OFFICE, token, path="/ext/inventories").status_code == 403

    def test_a_token_does_not_grow_with_its_client_but_ends(self, make_client: MakeClient) -> None:
        client = make_client("catalog:read")
        token = client.token()
        client.limit(scope="catalog:read catalog:write")
        assert client.call(OFFICE, token).status_code == 401
        assert client.call(OFFICE, client.token(), "POST", content="[").status_code == 415

    def test_a_claim_of_more_than_the_client_has_is_not_believed(self, make_client: MakeClient) -> None:
        client = make_client("catalog:read")
        now = int(time.time())
        for claimed in ("merchant", "catalog:read catalog:write", "merchant catalog:write", "catalog:write"):
            token = client.application.auth._keys.content.sign(
                client_id=client.client_id, merchant_id="ACME", scope=claimed, epoch=1, token_id="0" * 32,
                issued_at=now, expires_at=now + 60,
            )  # fmt: skip
            assert code_of(client.call(OFFICE, token, "POST", content="[")) == (403, "insufficient_scope")

    def test_a_token_says_what_its_client_may(self, make_client: MakeClient) -> None:
        client = make_client("inventory:write catalog:read", networks=["198.51.100.0/24"])
        claims = json.loads(base64.urlsafe_b64decode(client.token().split(".")[1] + "=="))
        assert claims["scope"] == "catalog:read inventory:write"
        assert OFFICE not in json.dumps(claims)
        assert "198.51" not in json.dumps(claims)

    def test_an_address_that_is_allowed_no_more_is_refused_with_its_token(self, make_client: MakeClient) -> None:
        client = make_client()
        token = client.token(ELSEWHERE)
        client.limit(networks=["198.51.100.0/24"])
        assert code_of(client.call(ELSEWHERE, token)) == (403, "address_not_allowed")
        assert client.ask(ELSEWHERE).status_code == 401
        client.limit(any_address=True)
        assert client.call(ELSEWHERE, token).status_code == 200

    def test_another_worker_follows_within_two_seconds(self, make_client: MakeClient) -> None:
        client = make_client()
        token = client.token()
        with TestClient(Application(client.settings), client=(ELSEWHERE, 1)) as other:
            headers = {"Authorization": f"Bearer {token}"}
            assert other.get(SKUS, headers=headers).status_code == 200
            client.limit(networks=["198.51.100.0/24"])
            until = time.monotonic() + 2
            while other.get(SKUS, headers=headers).status_code == 200:
                assert time.monotonic() < until
                time.sleep(0.05)
            assert code_of(other.get(SKUS, headers=headers)) == (403, "address_not_allowed")

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from ecross_server.app.assembly import THREADS, Application
from ecross_server.kit.database import DatabaseAwayError
from ecross_server.kit.errors import DomainError
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings


def registry_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "registry"]


class TestServices:
    @pytest.fixture
    def backend(self) -> str:
        """SQLite alone: nothing here asks the database."""
        return "sqlite"

    def client(self, settings: Settings, *services: str) -> TestClient:
        return TestClient(Application(settings.model_copy(update={"services": services})))

    def test_without_auth_there_is_no_token_endpoint(self, settings: Settings, credential: IssuedCredential) -> None:
        body = {"clientId": credential.client.id, "clientSecret": credential.client_secret}
        with self.client(settings, "product") as client:
            answer = client.post("/token", json=body)
            assert answer.status_code == 404
            assert answer.json()["code"] == "not_found"
            assert "/token" not in client.get("/openapi.json").json()["paths"]
            assert client.get("/ext/merchant/skus").status_code == 401

    def test_without_auth_the_tokens_of_another_server_with_the_same_keys_open(
        self, settings: Settings, token: str
    ) -> None:
        with self.client(settings, "product") as client:
            answer = client.get("/ext/merchant/skus", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200

    def test_without_product_there_is_nothing_private_yet_all_of_it_asks_for_a_token(
        self, settings: Settings, credential: IssuedCredential
    ) -> None:
        body = {"clientId": credential.client.id, "clientSecret": credential.client_secret}
        with self.client(settings, "auth") as client:
            token = client.post("/token", json=body).json()["token"]
            assert client.get("/ext/merchant/skus").status_code == 401
            answer = client.get("/ext/merchant/skus", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 404
            paths = client.get("/openapi.json").json()["paths"]
            assert [path for path in paths if path.startswith("/ext")] == []
            assert "/token" in paths

    def test_health_and_documentation_are_always_there(self, settings: Settings) -> None:
        for services in (("auth",), ("product",), ("auth", "product")):
            with self.client(settings, *services) as client:
                for path in ("/health/live", "/health/ready", "/openapi.json", "/docs"):
                    assert client.get(path).status_code == 200


class TestLife:
    def test_it_starts_and_ends_its_thread_and_closes_the_database(self, application: Application) -> None:
        before = registry_threads()
        with TestClient(application) as client:
            assert client.get("/health/ready").status_code == 200
            assert len(registry_threads()) == len(before) + 1
        assert registry_threads() == before
        assert re.search(r"Connections in pool: 0\b", application.database.engine.pool.status())

    def test_it_does_not_start_without_its_database(self, settings: Settings) -> None:
        application = Application(settings)
        with application.database.write() as session:
            session.execute(text("ALTER TABLE registry_revision RENAME TO mislaid"))
        before = registry_threads()
        try:
            with pytest.raises(Exception, match="registry_revision"), TestClient(application):
                pass
        finally:
            with application.database.write() as session:
                session.execute(text("ALTER TABLE mislaid RENAME TO registry_revision"))
            application.database.close()
        assert registry_threads() == before

    @pytest.mark.parametrize("file", ["signing_keys_file", "peppers_file"])
    @pytest.mark.parametrize("fault", ["gone", "loose", "empty"])
    def test_it_is_not_made_without_its_secrets(self, settings: Settings, file: str, fault: str) -> None:
        path = getattr(settings, file)
        if fault == "gone":
            path.unlink()
        elif fault == "loose":
            path.chmod(0o644)
        else:
            path.write_text("{}")
        with pytest.raises(DomainError, match=path.name):
            Application(settings)

    def test_its_repr_shows_no_secret(self, application: Application, settings: Settings) -> None:
        shown = f"{application!r} {application} {vars(application)} {application.api.state._state}"
        for file in (settings.signing_keys_file, settings.peppers_file):
            for secret in re.findall(r'"(?:k|value)": "([^"]+)"', file.read_text()):
                assert secret not in shown


class TestThreads:
    def test_however_many_endpoints_wait_the_registry_gets_its_connection(self, application: Application) -> None:
        database = application.database
        everybody, go_on = threading.Barrier(THREADS + 1), threading.Event()

        def hold_a_connection() -> None:
            with database.read() as session:
                session.execute(text("SELECT 1"))
                everybody.wait(20)
                go_on.wait(20)

        holders = [threading.Thread(target=hold_a_connection) for _ in range(THREADS)]
        for holder in holders:
            holder.start()
        everybody.wait(20)
        try:
            application.auth.registry.refresh()
        finally:
            go_on.set()
            for holder in holders:
                holder.join()
            database.close()
        assert len(application.auth.registry) == 1

    def test_so_many_endpoints_and_no_more_run_at_once(self, application: Application, client: TestClient) -> None:
        async def tokens() -> float:
            return anyio.to_thread.current_default_thread_limiter().total_tokens

        application.api.add_api_route("/tokens", tokens)
        assert client.get("/tokens").json() == THREADS


class TestAway:
    @pytest.fixture
    def backend(self) -> str:
        """SQLite alone, whose folder can be renamed."""
        return "sqlite"

    @pytest.fixture
    def unreachable(self, application: Application, tmp_path: Any) -> Iterator[Application]:
        """The application, its database's folder renamed away."""
        application.auth.refresh()
        application.database.close()
        folder, aside = tmp_path / "data", tmp_path / "aside"
        folder.rename(aside)
        yield application
        aside.rename(folder)
        application.database.close()

    def test_an_endpoint_that_needs_it_answers_503(
        self, unreachable: Application, credential: IssuedCredential
    ) -> None:
        client = TestClient(unreachable)
        body = {"clientId": credential.client.id, "clientSecret": credential.client_secret}
        token = client.post("/token", json=body).json()["token"]  # from memory
        answer = client.get("/ext/merchant/skus", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 503
        assert answer.json() == {"message": DatabaseAwayError().message, "code": "database_away"}
        assert answer.headers["retry-after"] == "1"

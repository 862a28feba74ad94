"""`ecross-server serve` up to its first answer: what it makes, what it says, and when it refuses."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from ecross_server.cli.demo import ensure_demo_merchant
from ecross_server.cli.serve import _banner, _url
from ecross_server.kit.clock import utc_now
from ecross_server.kit.private_files import UnwritableError
from ecross_server.merchants.rules import new_peppers
from ecross_server.settings import Settings, load_settings
from forking import ForkedProcess

if TYPE_CHECKING:
    from processes import StartServer

Cli = Callable[..., Any]
RunCli = Callable[..., subprocess.CompletedProcess[bytes]]

ANYWHERE = "0.0.0.0"  # noqa: S104 - what an operator may ask for
ALL_MADE = {"ecross.db", "signing-keys.json", "peppers.json"}


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        yield port


class TestStart:
    def test_on_an_empty_folder_it_makes_all_that_it_needs_and_later_starts_reuse_it(
        self, start_server: StartServer
    ) -> None:
        server = start_server("--demo")
        made = {path.name: path for path in server.data_dir.iterdir()}
        assert set(made) >= ALL_MADE | {"demo-credentials.json", "ecross.db-wal", "ecross.db-shm"}
        assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in made.values()} == {0o600}
        kept = ("signing-keys.json", "peppers.json", "demo-credentials.json")
        before = {name: made[name].read_bytes() for name in kept}
        credentials = json.loads(before["demo-credentials.json"])
        token = server.token(credentials).json()["token"]
        assert server.stop() == 0

        again = start_server("--demo", as_json=False)
        assert {name: (again.data_dir / name).read_bytes() for name in kept} == before
        assert len(again.json("credentials", "list")["credentials"]) == 1
        assert again.token(credentials).status_code == 200
        assert len(again.skus(token).json()["skus"]) == 12
        assert "demo-credentials.json" in again.banner

    def test_alone_on_an_empty_folder_it_serves_and_registers_nobody(self, start_server: StartServer) -> None:
        server = start_server("--workers", "2")
        assert server.facts == {
            "url": server.url, "workers": 2, "dataDir": str(server.data_dir), "metricsUrl": None,
            "adminUrl": None,
        }  # fmt: skip
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d+", server.url)
        assert {path.name for path in server.data_dir.iterdir()} >= ALL_MADE
        assert not (server.data_dir / "demo-credentials.json").exists()
        assert server.json("merchants", "list") == {"merchants": []}
        assert server.get("/health/ready").status_code == 200

    def test_it_serves_on_the_sixth_version_of_addresses_too(self, start_server: StartServer) -> None:
        server = start_server("--host", "::1")
        assert server.url.startswith("http://[::1]:")
        assert server.get("/health/live").status_code == 200

    def test_two_first_starts_at_once_share_one_folder(self, start_two: Callable[..., list[dict[str, Any]]]) -> None:
        first, second = start_two("--demo")
        assert first["url"] != second["url"]
        assert first["dataDir"] == second["dataDir"]
        credentials = json.loads((Path(first["dataDir"]) / "demo-credentials.json").read_bytes())
        for server in (first, second):
            assert httpx2.post(f"{server['url']}/token", json=credentials).status_code == 200

    def test_it_goes_on_serving_when_nobody_reads_what_it_says(
        self, command_environment: dict[str, str], wait_for: Callable[..., None]
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with Path("/dev/full").open("wb") as full:
            process = ForkedProcess(
                [Path(sys.executable).with_name("ecross-server"), "serve", "--port", str(port)],
                env=command_environment | {"PYTHONUNBUFFERED": ""}, stdout=full, stderr=subprocess.PIPE,
            )  # fmt: skip
        with process:
            wait_for(lambda: httpx2.get(f"http://127.0.0.1:{port}/health/live").status_code == 200)
            process.terminate()
            assert process.wait(20) == 0


@pytest.fixture
def start_two(command_environment: dict[str, str]) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Starts two servers at the same moment."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> list[dict[str, Any]]:
        command = [str(Path(sys.executable).with_name("ecross-server")), "serve", "--port", "0", "--json", *arguments]
        for _ in range(2):
            started.append(  # noqa: PERF401 - kept one by one, so that each is stopped whatever happens to the next
                ForkedProcess(command, env=command_environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            )
        facts = []
        for process in started:
            assert process.stdout is not None
            facts.append(json.loads(b"".join(iter(process.stdout.readline, b"}\n")) + b"}"))
        return facts

    yield start
    for process in started:
        process.terminate()
    assert [process.wait(20) for process in started] == [0, 0]
    for process in started:
        assert process.stdout is not None
        process.stdout.close()


class TestBanner:
    def test_with_the_demo_merchant_its_calls_can_be_pasted(self, start_server: StartServer) -> None:
        server = start_server("--demo", as_json=False)
        pasted = re.findall(r"^  (curl (?:.*\\\n)*.*)", server.banner, re.MULTILINE)
        assert len(pasted) == 2
        token, skus = (
            subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=20) for command in pasted
        )
        assert json.loads(token.stdout)["tokenType"] == "Bearer"
        assert len(json.loads(skus.stdout)["skus"]) == 12
        assert "ecs_" not in server.banner
        assert server.banner.endswith("\n\nStop with Ctrl-C.\n")
        assert f"e-CROSS serves on {server.url} (1 worker; data in {server.data_dir})\n" in server.banner
        assert f"Documentation: {server.url}/docs\n" in server.banner

    def test_without_it_there_is_another_way(self) -> None:
        text = banner({"workers": 2}, has_demo=False)
        assert "(2 workers; data in " in text
        assert "  ecross-server merchants register ACME --name 'Acme'\n" in text
        assert "-d @credentials.json\n" in text
        assert "demo-credentials.json" not in text

    def test_it_says_where_operators_are_served(self) -> None:
        assert "Administration" not in banner({}, has_demo=False)
        text = banner({}, has_demo=False, admin_url="http://127.0.0.1:8001/admin")
        assert "Console: http://127.0.0.1:8001/console (operators: ecross-server operators add)\n" in text
        assert "Administration: http://127.0.0.1:8001/admin/docs\n" in text

    def test_a_folder_with_a_space_can_be_pasted(self) -> None:
        text = banner({"data_dir": "/srv/my shop's data"}, has_demo=True)
        assert """-d @'/srv/my shop'"'"'s data/demo-credentials.json'""" in text

    @pytest.mark.parametrize("has_demo", [False, True])
    def test_it_offers_only_what_is_served(self, *, has_demo: bool) -> None:
        product = banner({"services": "product"}, has_demo=has_demo)
        assert "/token -H" not in product
        assert "\nTokens come from another server: this one serves no POST /token.\n" in product
        auth = banner({"services": "auth"}, has_demo=has_demo)
        assert "/token -H" in auth
        assert "/ext/merchant/skus" not in auth

    @pytest.mark.parametrize(
        ("host", "shown"), [(ANYWHERE, "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("localhost", "localhost")]
    )
    def test_its_address_can_be_called(self, host: str, shown: str) -> None:
        assert _url(Settings.model_validate({"host": host}), 80) == f"http://{shown}:80"
        tls = {"host": host, "tls_cert_file": "/cert.pem", "tls_key_file": "/key.pem"}
        assert _url(Settings.model_validate(tls), 443) == f"https://{shown}:443"


def banner(settings: dict[str, Any], *, has_demo: bool, **urls: str) -> str:
    return _banner(Settings.model_validate(settings), "http://127.0.0.1:8000", has_demo=has_demo, **urls)


class TestServices:
    def test_each_server_serves_its_part_of_the_api(self, start_server: StartServer) -> None:
        auth, product = start_server("--demo", "--services", "auth"), start_server("--services", "product")
        credentials = json.loads((auth.data_dir / "demo-credentials.json").read_bytes())
        token = auth.token(credentials).json()["token"]
        assert product.token(credentials).status_code == 404
        bearer = {"Authorization": f"Bearer {token}"}
        assert product.get("/ext/merchant/skus", headers=bearer).status_code == 200
        assert auth.get("/ext/merchant/skus", headers=bearer).status_code == 404
        assert auth.get("/ext/merchant/skus").status_code == 401


class TestRefusals:
    @pytest.fixture
    def refused(self, run_cli: RunCli) -> Callable[..., str]:
        """Starts a server that must not come up: one sentence, the exit code, and nothing else."""

        def start_and_read(code: int, *arguments: str, **variables: str) -> str:
            ended = run_cli("serve", "--port", "0", *arguments, **variables)
            assert (ended.returncode, ended.stdout) == (code, b"")
            text = ended.stderr.decode()
            assert re.fullmatch(r"error: .*\n", text)
            return text.removeprefix("error: ").rstrip("\n")

        return start_and_read

    def test_a_taken_port(self, refused: Callable[..., str], taken_port: int) -> None:
        message = refused(4, "--port", str(taken_port))
        assert message == (
            f"Port {taken_port} on 127.0.0.1 is taken by another program. Stop that one, or choose another port: "
            f"make serve PORT={taken_port + 1}, or ecross-server serve --port {taken_port + 1}"
        )

    def test_a_newer_schema(self, refused: Callable[..., str], on_sqlite: Settings) -> None:
        with sqlite3.connect(on_sqlite.data_dir / "ecross.db") as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.close()
        assert "newer version" in refused(4)

    def test_a_half_written_file_of_keys(self, refused: Callable[..., str], on_sqlite: Settings) -> None:
        on_sqlite.signing_keys_file.write_text('{"keys": [{"kty": "oct", "k": "AAAA')
        assert str(on_sqlite.signing_keys_file) in refused(4)

    def test_files_for_tls_that_are_no_pair(
        self, refused: Callable[..., str], on_sqlite: Settings, tls_files: tuple[Path, Path]
    ) -> None:
        message = refused(
            4,
            ECROSS_SERVER_TLS_CERT_FILE=str(tls_files[0]), ECROSS_SERVER_TLS_KEY_FILE=str(on_sqlite.peppers_file),
        )  # fmt: skip
        assert message.startswith("The files of ECROSS_SERVER_TLS_CERT_FILE and ECROSS_SERVER_TLS_KEY_FILE ")

    def test_programs_get_an_object(self, run_cli: RunCli, taken_port: int) -> None:
        ended = run_cli("serve", "--port", str(taken_port), "--json")
        assert (ended.returncode, ended.stdout) == (4, b"")
        assert json.loads(ended.stderr)["error"]["code"] == "port_taken"


class TestDemoMerchant:
    def test_is_registered_once_with_its_skus(self, on_sqlite: Settings, cli: Cli) -> None:
        assert ensure_demo_merchant(load_settings()) is True
        before = on_sqlite.demo_credentials_file.read_bytes()
        assert ensure_demo_merchant(load_settings()) is True
        assert on_sqlite.demo_credentials_file.read_bytes() == before
        assert stat.S_IMODE(on_sqlite.demo_credentials_file.stat().st_mode) == 0o600
        merchant = cli("merchants", "show", "DEMO", "--json").result
        assert (merchant["name"], len(merchant["clients"])) == ("Demo merchant", 1)
        assert list(json.loads(before)) == ["clientId", "clientSecret"]
        assert count(on_sqlite, "skus") == 12

    @pytest.mark.parametrize(
        "content",
        [None, "", "{", "[]", "{}", '{"clientId": []}', '{"clientId": {}, "clientSecret": "\\ud800"}',
         '{"clientId": "demo-aaaaaaaaaaaaa", "clientSecret": "ecs_0"}'],
    )  # fmt: skip
    def test_a_file_that_does_not_open_is_replaced(self, on_sqlite: Settings, cli: Cli, content: str | None) -> None:
        ensure_demo_merchant(load_settings())
        if content is None:
            on_sqlite.demo_credentials_file.unlink()
        else:
            on_sqlite.demo_credentials_file.write_text(content)
        assert ensure_demo_merchant(load_settings()) is True
        credentials = json.loads(on_sqlite.demo_credentials_file.read_bytes())
        clients = cli("merchants", "show", "DEMO", "--json").result["clients"]
        assert len(clients) == 2
        assert credentials["clientId"] in {client["clientId"] for client in clients}
        assert count(on_sqlite, "skus") == 12

    @pytest.mark.parametrize("secret", ["\ud800", "", None, ["x"], "ecs_" + "0" * 49])
    def test_a_secret_that_is_none_is_replaced(self, on_sqlite: Settings, secret: object) -> None:
        ensure_demo_merchant(load_settings())
        before = json.loads(on_sqlite.demo_credentials_file.read_bytes())
        on_sqlite.demo_credentials_file.write_text(json.dumps(before | {"clientSecret": secret}))
        assert ensure_demo_merchant(load_settings()) is True
        assert json.loads(on_sqlite.demo_credentials_file.read_bytes())["clientId"] != before["clientId"]

    @pytest.mark.parametrize("client_id", ["demo-aaaaaaaaaaaaa", [], {}, None])
    def test_a_client_id_that_is_another_ones_is_replaced(self, on_sqlite: Settings, client_id: object) -> None:
        ensure_demo_merchant(load_settings())
        before = json.loads(on_sqlite.demo_credentials_file.read_bytes())
        on_sqlite.demo_credentials_file.write_text(json.dumps(before | {"clientId": client_id}))
        assert ensure_demo_merchant(load_settings()) is True
        assert json.loads(on_sqlite.demo_credentials_file.read_bytes())["clientSecret"] != before["clientSecret"]

    def test_a_revoked_client_is_replaced(self, on_sqlite: Settings, cli: Cli) -> None:
        ensure_demo_merchant(load_settings())
        before = json.loads(on_sqlite.demo_credentials_file.read_bytes())
        cli("credentials", "revoke", before["clientId"])
        ensure_demo_merchant(load_settings())
        assert json.loads(on_sqlite.demo_credentials_file.read_bytes())["clientId"] != before["clientId"]

    def test_another_pepper_means_another_secret(self, on_sqlite: Settings) -> None:
        ensure_demo_merchant(load_settings())
        before = on_sqlite.demo_credentials_file.read_bytes()
        on_sqlite.peppers_file.write_text(new_peppers(utc_now()))
        ensure_demo_merchant(load_settings())
        assert on_sqlite.demo_credentials_file.read_bytes() != before

    @pytest.mark.parametrize("has_file", [True, False])
    def test_a_disabled_one_stays_disabled_and_gets_nothing(
        self, on_sqlite: Settings, cli: Cli, *, has_file: bool
    ) -> None:
        ensure_demo_merchant(load_settings())
        cli("merchants", "disable", "DEMO")
        if not has_file:
            on_sqlite.demo_credentials_file.unlink()
        assert ensure_demo_merchant(load_settings()) is False
        assert on_sqlite.demo_credentials_file.exists() is has_file
        merchant = cli("merchants", "show", "DEMO", "--json").result
        assert (merchant["status"], len(merchant["clients"])) == ("disabled", 1)

    def test_what_cannot_be_written_is_not_registered_either(self, on_sqlite: Settings, cli: Cli) -> None:
        on_sqlite.demo_credentials_file.mkdir()
        with pytest.raises(UnwritableError, match=r"demo-credentials\.json cannot be written"):
            ensure_demo_merchant(load_settings())
        assert cli("merchants", "list", "--json").result == {"merchants": []}
        assert count(on_sqlite, "skus") == 0


def count(settings: Settings, table: str) -> int:
    connection = sqlite3.connect(settings.data_dir / "ecross.db")
    number: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - a name from above
    connection.close()
    return number

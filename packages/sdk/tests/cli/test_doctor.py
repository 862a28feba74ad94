"""What is looked at, what is said of it, and what could not be looked at."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ecross.cli.doctor import Check, Origin, check_cache, check_clock, check_connection, check_origin
from ecross.testing import Answer, FakeServer, Merchant, rate_limited

Cli = Callable[..., Any]
TlsServer = Callable[..., Origin]


def states(result: Any) -> dict[str, str]:
    return {check["name"].split()[0]: check["status"] for check in result["checks"]}


def of(result: Any, name: str) -> dict[str, Any]:
    return next(check for check in result["checks"] if check["name"].split()[0] == name)


ALL_OK = dict.fromkeys(
    ("configuration", "name", "connection", "clock", "credentials", "token", "cache", "protection"), "ok"
)


def test_where_all_is_well_each_check_says_so_and_no_secret_is_shown(
    cli: Cli, told: Merchant, ecross_server: FakeServer
) -> None:
    ended = cli("doctor")
    assert (ended.code, ended.err) == (0, "")
    assert "what to do" not in ended.out
    assert told.client_secret not in ended.out
    assert "eyJ" not in ended.out
    assert "ok       token: for ACME, good for 7 h 5" in ended.out
    assert "folder 0700, files 0600; key in the key file." in ended.out
    result = cli("doctor", "--json").result
    assert result["ok"] is True
    assert states(result) == ALL_OK
    settings = {row["name"]: (row["value"], row["source"]) for row in result["settings"]}
    assert settings["auth URL"] == (ecross_server.url, "environment variable ECROSS_BASE_URL")
    assert settings["client secret"] == ("(hidden)", "environment variable ECROSS_CLIENT_SECRET")
    assert "profile" not in settings


def test_a_profile_and_a_cache_of_its_own_are_shown_with_their_sources(
    cli: Cli, told: Merchant, ecross_server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[profiles.one]\nclient_id = "{told.client_id}"\nbase_urls = {{ auth = "{ecross_server.url}" }}\n'
        f'client_secret = "{told.client_secret}"\n'
    )
    config.chmod(0o600)
    for name in ("BASE_URL", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"ECROSS_{name}")
    monkeypatch.setenv("ECROSS_CONFIG_FILE", str(config))
    monkeypatch.setenv("ECROSS_CACHE_DIR", str(tmp_path / "tokens"))
    result = cli("doctor", "--profile", "one", "--json").result
    rows = {row["name"]: (row["value"], row["source"]) for row in result["settings"]}
    assert rows == {
        "auth URL": (ecross_server.url, "profile one"),
        "client id": (told.client_id, "profile one"),
        "client secret": ("(hidden)", "configuration file (profile one)"),
        "cache directory": (str(tmp_path / "tokens"), "environment variable ECROSS_CACHE_DIR"),
        "profile": ("one", "argument"),
    }


def test_without_a_configuration_the_rest_is_skipped(cli: Cli) -> None:
    ended = cli("doctor", "--json")
    assert ended.code == 3
    ended = cli("doctor")
    assert "failed   configuration: You are not logged in." in ended.out
    assert "skipped  credentials: no configuration to check it with\n" in ended.out
    assert "ok       cache: " in ended.out
    assert ended.out.endswith("No setting was told.\n")


def test_offline_it_says_what_could_not_be_checked(cli: Cli, told: Merchant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECROSS_BASE_URL", f"https://{'a' * 64}.example")
    ended = cli("doctor")
    assert ended.code == 5
    assert "the name is not known" in ended.out
    assert "connection" in ended.out
    assert ended.out.count("skipped") == 4
    assert told.client_secret not in ended.out


def test_a_server_that_does_not_listen_is_told(cli: Cli, told: Merchant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECROSS_BASE_URL", "http://127.0.0.1:9")
    ended = cli("doctor")
    assert ended.code == 5
    assert "failed   connection 127.0.0.1:9: no connection: Connection refused\n" in ended.out
    assert "what to do: check that the server runs" in ended.out
    assert told.client_secret not in ended.out


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("answer", "code", "advice"),
    [
        (Answer(401, {"message": "Incorrect username or password."}), 3, "ecross login"),
        (rate_limited(3600), 4, "share one cache"),
        (Answer(200, {}), 6, "leads to an e-CROSS server"),
    ],
)
def test_credentials_that_give_no_token_end_it_with_the_code_of_their_fault(
    cli: Cli, ecross_server: FakeServer, answer: Any, code: int, advice: str
) -> None:
    ecross_server.script("/token", answer)
    ended = cli("doctor")
    assert ended.code == code
    assert "failed   credentials: " in ended.out
    assert advice in ended.out
    assert "skipped  token: none was given" in ended.out


@pytest.mark.usefixtures("told")
def test_a_token_that_is_no_jwt_is_as_good(cli: Cli, ecross_server: FakeServer) -> None:
    ecross_server.script("/token", Answer(200, {"token": "opaque", "tokenType": "Bearer", "expiresIn": 600}))
    assert of(cli("doctor", "--json").result, "token")["detail"].startswith("good for 9 min")


class TestClock:
    @pytest.mark.parametrize(("seconds", "said"), [(7200, "behind the server's"), (-7200, "ahead of the server's")])
    def test_that_is_wrong_is_a_warning(self, ecross_server: FakeServer, seconds: int, said: str) -> None:
        ecross_server.advance(seconds)
        check = check_clock(ecross_server.url)
        assert check.status == "warning"
        assert said in check.detail
        assert check.fix is not None

    def test_that_cannot_be_compared_is_skipped(self, ecross_server: FakeServer) -> None:
        ecross_server.script("/", Answer(200, {}, {"Date": "soon"}))
        assert check_clock(ecross_server.url) == Check("clock", "skipped", "the server does not tell the time")
        with ecross_server.outage():
            assert check_clock(ecross_server.url).detail.startswith("the server did not answer (")


class TestCache:
    def test_in_memory_is_a_warning(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
        (tmp_path / "file").touch()
        cache, protection = check_cache()
        assert (cache.status, protection.status) == ("warning", "warning")
        assert cache.detail.startswith("in memory only: ")
        assert "ECROSS_CACHE_DIR" in str(cache.fix)

    def test_open_to_others_is_a_fault(
        self, cli: Cli, told: Merchant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        tmp_path.chmod(0o755)
        monkeypatch.setenv("ECROSS_CACHE_DIR", str(tmp_path))
        ended = cli("doctor")
        assert ended.code == 2
        assert f"failed   cache: The folder {tmp_path}" in ended.out
        assert told.client_secret not in ended.out


def test_behind_a_proxy_the_proxy_sees_to_names_and_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:password@proxy.example:3128")
    name, connection = check_origin(Origin("https", "e.example", 443))
    assert (name.status, connection.status) == ("skipped", "skipped")
    assert "password" not in name.detail + connection.detail
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert next(check_origin(Origin("https", "127.0.0.1", 443))).status == "ok"


@pytest.fixture
def tls_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsServer]:
    """Starts a server that only shakes hands, with a certificate of so many days."""
    with contextlib.ExitStack() as closing:

        def start(days: int, *, is_trusted: bool = True) -> Origin:
            files = make_certificate(tmp_path, days)
            if is_trusted:
                monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*files)
            listening = closing.enter_context(socket.create_server(("127.0.0.1", 0)))
            thread = threading.Thread(target=shake_hands, args=(listening, context))
            closing.callback(thread.join, 10)
            thread.start()
            return Origin("https", "127.0.0.1", listening.getsockname()[1])

        yield start


def shake_hands(listening: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listening.accept()
    with contextlib.suppress(OSError), connection, context.wrap_socket(connection, server_side=True) as tls:
        tls.recv(1)


def make_certificate(folder: Path, days: int) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days, minutes=5))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


class TestCertificate:
    def test_its_end_is_told(self, tls_server: TlsServer) -> None:
        check = check_connection(tls_server(90), "connection")
        assert check.status == "ok"
        assert check.detail.startswith("TLSv1.3, certificate good until ")
        assert check.detail.endswith("(90 d 0 h)")

    def test_that_ends_soon_is_a_warning(self, tls_server: TlsServer) -> None:
        check = check_connection(tls_server(3), "connection")
        assert check.status == "warning"
        assert check.detail.endswith("(3 d 0 h)")

    def test_of_a_stranger_is_a_fault(self, tls_server: TlsServer) -> None:
        check = check_connection(tls_server(90, is_trusted=False), "connection")
        assert (check.status, check.exit_code) == ("failed", 5)
        assert check.detail == "the certificate is not trusted: self-signed certificate"


def test_a_server_that_speaks_no_tls_is_a_fault(ecross_server: FakeServer) -> None:
    port = int(ecross_server.url.rpartition(":")[2])
    check = check_connection(Origin("https", "127.0.0.1", port), "connection")
    assert check.status == "failed"
    assert "no connection: " in check.detail


@pytest.mark.parametrize(
    ("url", "origin"),
    [("https://e.example/base", "e.example:443"), ("http://localhost", "localhost:80"), ("https://[::1]:8", "::1:8")],
)
def test_a_server_is_its_scheme_host_and_port(url: str, origin: str) -> None:
    assert str(Origin.of(url)) == origin


@pytest.mark.filterwarnings("ignore::ecross.CredentialExpiryWarning")
@pytest.mark.parametrize(("days", "status"), [(1, "warning"), (31, "ok")])
def test_a_secret_that_ends_is_told_and_in_time_warned_of(told: Merchant, cli: Cli, days: int, status: str) -> None:
    told.rotate_secret(retire_old_in=days * 86400)
    ended = cli("doctor", "--json")
    assert ended.code == 0
    check = next(each for each in json.loads(ended.out)["checks"] if each["name"] == "credentials")
    assert check["status"] == status
    assert "but its secret ends at 20" in check["detail"]
    assert (check["fix"] is None) == (status == "ok")

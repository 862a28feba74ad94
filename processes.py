"""The server and its commands as processes, as people start them; and certificates for them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ecross_server.kit.clock import utc_now
from ecross_server.settings import CONFIG_VARIABLE, variable
from forking import ForkedProcess, run_forked

START_SECONDS = 60.0
LIMITS = [variable(f"token_{name}_limit") for name in ("volume", "failure", "address")]
TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For calls without TLS: to read the usual certificates for each of them takes longer than the call."""


@dataclass
class ServerProcess:
    """The real command `ecross-server serve`, answering."""

    process: subprocess.Popen[bytes]
    url: str
    data_dir: Path
    environment: dict[str, str]
    log_file: Path
    banner: str
    """What it printed when it was ready: with `--json` an object, else the sentences for people."""

    def run(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run another command on the same data folder."""
        return run_command(*arguments, environment=self.environment, stdin=stdin)

    def json(self, *arguments: str) -> Any:
        """What another command prints with `--json`."""
        ended = self.run(*arguments, "--json")
        assert ended.returncode == 0, ended.stderr.decode()
        return json.loads(ended.stdout)

    def log_lines(self) -> list[dict[str, Any]]:
        """What the server has logged."""
        lines = self.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def token(self, credentials: dict[str, str], **headers: str) -> httpx2.Response:
        """Ask for a token, on a connection of its own: the kernel gives each to any of the workers."""
        body = {name: credentials[name] for name in ("clientId", "clientSecret")}
        return httpx2.post(f"{self.url}/token", json=body, headers=headers, verify=TRUSTS_NOBODY)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        """Call the server."""
        return httpx2.get(self.url + path, verify=TRUSTS_NOBODY, **options)

    def skus(self, token: str) -> httpx2.Response:
        """List SKUs."""
        return self.get("/ext/merchant/skus", headers={"Authorization": f"Bearer {token}"})

    @property
    def facts(self) -> dict[str, Any]:
        """What it said of itself with `--json`."""
        content: dict[str, Any] = json.loads(self.banner)
        return content

    def metrics(self) -> dict[str, float]:
        """The samples of its metrics, by name and labels as they are written; started with METRICS_PORT=auto."""
        text = httpx2.get(self.facts["metricsUrl"], verify=TRUSTS_NOBODY).text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(START_SECONDS)


def command() -> str:
    """The installed command."""
    return str(Path(sys.executable).with_name("ecross-server"))


def run_command(
    *arguments: str, environment: dict[str, str], stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run `ecross-server` to its end."""
    return run_forked([command(), *arguments], env=environment, stdin=stdin)


def in_every_process(is_so: Callable[[], bool]) -> bool:
    """Whether it is so in both of two processes: the kernel gives each new connection to either of them."""
    return all(is_so() for _ in range(8))


@pytest.fixture
def make_pair(tmp_path: Path) -> Callable[[str], tuple[Path, Path]]:
    """Makes a certificate of 127.0.0.1 that signs itself, and its key, in files of that name."""

    def make(file_name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        now = utc_now()
        address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
        certificate = (
            x509.CertificateBuilder(
                name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1)
            )
            .add_extension(address, critical=False)
            .sign(key, hashes.SHA256())
        )
        certificate_file, key_file = tmp_path / f"{file_name}.pem", tmp_path / f"{file_name}.key"
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.touch(0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate_file, key_file

    return make


@pytest.fixture
def tls_files(make_pair: Callable[[str], tuple[Path, Path]]) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    return make_pair("certificate")


@pytest.fixture
def wait_for() -> Callable[[Callable[[], object]], None]:
    """Waits until what it is given is true; connections that fail meanwhile count as false."""

    def wait(is_so: Callable[[], object], seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx2.TransportError, OSError):
                if is_so():
                    return
            time.sleep(0.02)
        pytest.fail(f"not so within {seconds} seconds")

    return wait


StartServer = Callable[..., ServerProcess]


@pytest.fixture
def command_environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a command that works on a data folder of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ECROSS_SERVER_")}
    # Many servers run at once: without metrics and jobs, unless a test asks (METRICS_PORT=auto, JOB_PROCESSES=1).
    ours = {"DATA_DIR": str(tmp_path / "served"), "METRICS_PORT": "0", "JOB_PROCESSES": "0"}
    return inherited | {f"ECROSS_SERVER_{name}": value for name, value in ours.items()}


@pytest.fixture
def start_server(tmp_path: Path, command_environment: dict[str, str]) -> Iterator[StartServer]:
    """Starts `ecross-server serve` on a free port and waits until it answers; stops it after the test."""
    started: list[ServerProcess] = []

    def start(
        *arguments: str,
        as_json: bool = True,
        program: str | None = None,
        preexec_fn: Callable[[], None] | None = None,
        **variables: str,
    ) -> ServerProcess:
        # Limits that only their own tests reach, which set them, here or in a file.
        limits = {} if CONFIG_VARIABLE in variables else dict.fromkeys(LIMITS, "1000000/minute")
        environment = command_environment | limits | variables
        log_file = tmp_path / f"server-{len(started)}.log"
        with log_file.open("wb") as log:
            process = ForkedProcess(
                [program or command(), "serve", "--port", "0", *(["--json"] * as_json), *arguments],
                env=environment, stdout=subprocess.PIPE, stderr=log, preexec_fn=preexec_fn,
            )  # fmt: skip
        assert process.stdout is not None
        announced = b""
        deadline = time.monotonic() + START_SECONDS
        last = b"}\n" if as_json else b"Stop with Ctrl-C.\n"
        while not announced.endswith(last):
            line = process.stdout.readline()
            if not line or time.monotonic() > deadline:
                process.kill()
                process.wait()
                pytest.fail(f"the server did not start: {log_file.read_text()}")
            announced += line
        banner = announced.decode()
        facts = json.loads(banner) if as_json else {"url": re.findall(r"https?://\S+", banner)[0]}
        data_dir = Path(environment["ECROSS_SERVER_DATA_DIR"])
        server = ServerProcess(process, facts["url"], data_dir, environment, log_file, banner)
        started.append(server)
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop()
        if server.process.stdout is not None:
            server.process.stdout.close()

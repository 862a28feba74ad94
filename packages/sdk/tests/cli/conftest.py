"""The command run in this process, as a process, and on a terminal; nothing of the person's own who runs the tests."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ecross._keyring import system_keyring
from ecross.cli.main import run
from ecross.testing import FakeServer, Merchant
from forking import run_forked

COMMAND = str(Path(sys.executable).with_name("ecross"))


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> Any:
        """What it printed with `--json`."""
        assert (self.code, self.err) == (0, "")
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """How it failed with `--json`: the object alone on standard error, nothing on standard output."""
        assert not self.out
        content = json.loads(self.err)
        assert list(content) == ["error"]
        error: dict[str, Any] = content["error"]
        return error


Cli = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _nothing_of_the_persons_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.upper().startswith(("ECROSS_", "XDG_", "SSL_", "COLUMNS", "NO_COLOR", "FORCE_COLOR")) or (
            name.lower().endswith("_proxy")
        ):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    system_keyring.cache_clear()  # one that was found to hang is not asked again


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command in this process."""

    def run_and_read(*arguments: str) -> Ended:
        capsys.readouterr()
        code = run(list(arguments))
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return run_and_read


@pytest.fixture
def merchant(ecross_server: FakeServer) -> Merchant:
    """The merchant ACME of the fake server."""
    return ecross_server.add_merchant("ACME")


@pytest.fixture
def told(ecross_server: FakeServer, merchant: Merchant, monkeypatch: pytest.MonkeyPatch) -> Merchant:
    """ACME's credentials in the environment."""
    monkeypatch.setenv("ECROSS_BASE_URL", ecross_server.url)
    monkeypatch.setenv("ECROSS_CLIENT_ID", merchant.client_id)
    monkeypatch.setenv("ECROSS_CLIENT_SECRET", merchant.client_secret)
    return merchant


@pytest.fixture
def run_cli() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs the real command; with redirections, as a process of a shell."""

    def run_process(
        *arguments: str, redirections: str = "", stdin: bytes = b"", stdout: int = subprocess.PIPE, **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        if not redirections:
            return run_forked([COMMAND, *arguments], env=os.environ | variables, stdin=stdin, stdout=stdout)
        return subprocess.run(
            ["sh", "-c", f'exec "$@" {redirections}', "sh", COMMAND, *arguments],
            input=stdin, stdout=stdout, stderr=subprocess.PIPE, env=os.environ | variables, check=False, timeout=60,
        )  # fmt: skip

    return run_process


class Terminal:
    """The real command on a terminal."""

    def __init__(self, *arguments: str, columns: int = 200, controls: bool = True, **variables: str) -> None:
        self.screen = ""
        self._ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        # With the terminal as the controlling one, as in a person's shell; or as somewhere where there is none.
        setup = "import os, sys, fcntl, termios\nos.setsid()\n"
        if controls:
            setup += "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        setup += "os.execv(sys.argv[1], sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", setup, COMMAND, *arguments],
            env=os.environ | {"TERM": "xterm"} | variables, stdin=its, stdout=its, stderr=its,
        )  # fmt: skip
        os.close(its)

    def read_until(self, text: str) -> None:
        """Wait until the screen shows the text."""
        while text not in self.screen:
            chunk = os.read(self._ours, 65536)
            self.screen += chunk.decode().replace("\r\n", "\n")

    def type(self, text: str) -> None:
        """Type, as a person would."""
        os.write(self._ours, text.encode())

    def end(self) -> tuple[int, str]:
        """Wait for the end: the exit code, and all that was on the screen."""
        with contextlib.suppress(OSError):  # how Linux says that the terminal has no other end any more
            while chunk := os.read(self._ours, 65536):
                self.screen += chunk.decode().replace("\r\n", "\n")
        return self.process.wait(20), self.screen

    def close(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


OnTerminal = Callable[..., Terminal]


@pytest.fixture
def on_terminal() -> Iterator[OnTerminal]:
    """Starts the real command on a terminal."""
    started: list[Terminal] = []

    def start(*arguments: str, **options: Any) -> Terminal:
        started.append(Terminal(*arguments, **options))
        return started[-1]

    yield start
    for terminal in started:
        terminal.close()


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[bytes], None]]:
    """Puts bytes on the standard input of commands in this process."""
    with contextlib.ExitStack() as opened:

        def put(content: bytes) -> None:
            file = tmp_path / "standard-input"
            file.write_bytes(content)
            monkeypatch.setattr(sys, "stdin", opened.enter_context(file.open(encoding="utf-8")))

        yield put

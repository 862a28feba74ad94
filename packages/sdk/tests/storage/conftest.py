"""Keyrings to test with, and nothing of the person's own who runs the tests."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from keyring.backend import KeyringBackend

from ecross._keyring import Keyring
from forking import ForkedProcess

FILE_BACKEND = '''
import fcntl, json, os, pathlib
from keyring.backend import KeyringBackend

class Keyring(KeyringBackend):
    """A store that all processes share, as an operating system's; its file counts what was ever set."""
    priority = 9
    path = pathlib.Path(os.environ["TEST_KEYRING_FILE"])

    def _change(self, change):
        with open(self.path, "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            content = json.loads(file.read() or "{}")
            result = change(content)
            file.truncate(0)
            file.write(json.dumps(content))
            file.flush()
        return result

    def get_password(self, service, username):
        return self._change(lambda content: content.get(service + "/" + username))

    def set_password(self, service, username, password):
        def change(content):
            content[service + "/" + username] = password
            content["sets"] = content.get("sets", 0) + 1
        self._change(change)

    def delete_password(self, service, username):
        self._change(lambda content: content.pop(service + "/" + username))
'''


class Store(KeyringBackend):
    """A keyring in memory that gives back what it was given."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of the library
        self.content: dict[tuple[str, str], str] = {}
        self.calls = 0

    def get_password(self, service: str, username: str) -> str | None:
        self.calls += 1
        return self.content.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.calls += 1
        self.content[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.content[service, username]


class LyingStore(Store):
    """Takes everything and keeps nothing."""

    def set_password(self, service: str, username: str, password: str) -> None:
        del service, username, password
        self.calls += 1


class FailingStore(Store):
    """Breaks, and tells what it was given while it does."""

    def get_password(self, service: str, username: str) -> str | None:
        self.calls += 1
        raise RuntimeError(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise RuntimeError(f"{service} {username} {password}")


class HangingStore(Store):
    """Waits for somebody to unlock it."""

    def __init__(self) -> None:
        super().__init__()
        self.unlocked = threading.Event()

    def get_password(self, service: str, username: str) -> str | None:
        self.unlocked.wait(60)
        return super().get_password(service, username)


class ChangingStore(Store):
    """Something else than a text: a backend's fault."""

    def get_password(self, service: str, username: str) -> Any:
        del service, username
        return b"bytes"


@pytest.fixture(autouse=True)
def _nothing_of_the_persons_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("ECROSS_", "XDG_", "GIT_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def keyring(store: Store) -> Keyring:
    return Keyring(lambda: store)


def _not_installed() -> object:
    raise ImportError("No module named 'keyring'")


@pytest.fixture
def no_keyring() -> Keyring:
    return Keyring(_not_installed)


@pytest.fixture
def hanging_store() -> Iterator[HangingStore]:
    store = HangingStore()
    yield store
    store.unlocked.set()


@pytest.fixture
def shared_keyring(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """The environment of processes that share a keyring, and the file that shows what was set in it."""
    folder = tmp_path / "backend"
    folder.mkdir()
    (folder / "shared_test_keyring.py").write_text(FILE_BACKEND)
    file = tmp_path / "keyring.json"
    variables = {
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        "PYTHON_KEYRING_BACKEND": "shared_test_keyring.Keyring",
        "TEST_KEYRING_FILE": str(file),
    }
    return os.environ | variables, file


Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Starts Python processes with pipes; none of them outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        process = ForkedProcess(
            [sys.executable, "-c", script, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def lying_store() -> Store:
    return LyingStore()


@pytest.fixture
def failing_store() -> Store:
    return FailingStore()


@pytest.fixture
def changing_store() -> Store:
    return ChangingStore()

"""The fixture in a merchant's own test run: a plain folder, with no more than the installed package."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

USES = """
from ecross import Client

def test_a_token(ecross_server):
    with Client(**ecross_server.client_options()) as client:
        assert client.access_token().value

def test_another_server(ecross_server):
    assert ecross_server.requests == []
    assert ecross_server.url.startswith("http://127.0.0.1:")
"""

LEAVES_ANSWERS = """
from ecross.testing import unauthorized

def test_that_asks_for_less_than_it_scripted(ecross_server):
    ecross_server.script("POST /token", unauthorized(), unauthorized())
    ecross_server.script("/tokn", unauthorized())

def test_that_drops_them(ecross_server):
    ecross_server.script("/token", unauthorized())
    ecross_server.clear_scripts()
"""

LOOKS_AROUND = """
import sys

def test_what_is_loaded():
    ours = sorted(name for name in sys.modules if name.startswith("ecross"))
    assert ours == ["ecross", "ecross.testing", "ecross.testing.pytest_plugin"]
    assert not {"httpx2", "cryptography", "keyring", "asyncio"} & set(sys.modules)
"""


# Of this repository's own tests. Without them, what is loaded is what the plugin loads; and they take long.
OTHER_PLUGINS = [f"-pno:{each.name}" for each in entry_points(group="pytest11") if each.name != "ecross"]


def run_pytest(folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    """Run a merchant's tests."""
    (folder / "test_shop.py").write_text(tests)
    command = [sys.executable, "-W", "error", "-m", "pytest", "-W", "error", "-pno:cacheprovider", *OTHER_PLUGINS]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_the_fixture_is_there_without_any_word_and_without_a_warning(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, USES)

    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 passed" in run.stdout
    assert "warning" not in run.stdout


def test_scripted_answers_that_nobody_asked_for_are_an_error(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, LEAVES_ANSWERS)

    assert run.returncode == 1
    assert "2 passed, 1 error" in run.stdout
    assert "Scripted answers that nobody asked for: 2 for POST /token, 1 for /tokn." in run.stdout


def test_a_run_that_does_not_use_it_loads_nothing_of_the_client(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, LOOKS_AROUND)

    assert run.returncode == 0, run.stdout + run.stderr

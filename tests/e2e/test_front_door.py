"""The front door: `make` and the script that makes the environment. Nothing is downloaded here."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]

ANY_PYTHON = """#!/bin/sh
# Stands for a Python: answers what the script asks before it installs anything.
case "$*" in
    *python_version*) echo {version} ;;
    *version_info*) exit {too_old} ;;
    *ensurepip*) exit {lacks_venv} ;;
    "-m venv "*) echo "venv $3" >>"$PYTHON_LOG"; {make_venv} ;;
    "-m pip "*) echo "pip $*" >>"$PYTHON_LOG"; exit {pip} ;;
    *) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that the front door needs."""
    folder = tmp_path / "a check out"
    for name in (
        "scripts",
        "requirements",
        "Makefile",
        "packages/server/pyproject.toml",
        "packages/sdk/pyproject.toml",
    ):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target)
        else:
            shutil.copy(ROOT / name, target)
    return folder


@pytest.fixture
def python_at(tmp_path: Path) -> Callable[..., Path]:
    """Lays a stand-in for a Python somewhere."""

    def lay(
        path: Path, *, version: str = "3.11.9", too_old: int = 0, lacks_venv: int = 0, make_venv: str = "", pip: int = 0
    ) -> Path:
        if not make_venv:  # like the real one, it makes the folder with a Python of its own in it
            make_venv = 'mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && : >"$3/pyvenv.cfg"'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            ANY_PYTHON.format(version=version, too_old=too_old, lacks_venv=lacks_venv, make_venv=make_venv, pip=pip)
        )
        path.chmod(0o755)
        (tmp_path / "python.log").touch()
        return path

    return lay


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Only what a bare machine has, and no Python: the tools are linked by their names."""
    tools = tmp_path / "bare"
    tools.mkdir()
    for name in ("sh", "make", "cat", "cksum", "dirname", "expand", "ls", "mkdir", "cp", "mv", "rm", "sed", "pwd"):
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    return {"PATH": str(tools), "PYTHON_LOG": str(tmp_path / "python.log"), "HOME": str(tmp_path)}


@pytest.fixture
def run(checkout: Path, environment: dict[str, str], tmp_path: Path) -> Run:
    def run_command(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = f"{tmp_path / 'found'}:{environment['PATH']}"
        return subprocess.run(
            command, cwd=checkout, env=environment | {"PATH": path} | variables, capture_output=True, text=True,
            check=False, timeout=30,
        )  # fmt: skip

    return run_command


@pytest.fixture
def python_log(tmp_path: Path) -> Callable[[], list[str]]:
    """What the stand-ins were told to do."""
    return lambda: [
        line for line in (tmp_path / "python.log").read_text().splitlines() if not line.endswith("--version")
    ]


def refusal(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 1
    assert ended.stdout == ""
    *notes, last = ended.stderr.splitlines()
    assert not any("Traceback" in note for note in notes)
    assert last.startswith("error: ")
    return last


class TestPython:
    def test_without_any_it_says_what_is_needed(self, run: Run) -> None:
        assert refusal(run("scripts/environment.sh", "serve")) == (
            "error: Python 3.11 or newer is needed (none found); install it, or name one: "
            "make serve PYTHON=/path/to/python3.11"
        )

    def test_one_that_is_too_old_is_named_with_its_version(
        self, run: Run, python_at: Callable[..., Path], tmp_path: Path, checkout: Path
    ) -> None:
        python_at(tmp_path / "found" / "python3", version="3.9.2", too_old=1)
        python_at(tmp_path / "found" / "python3.11", version="3.10.1", too_old=1)
        message = refusal(run("scripts/environment.sh", "dev"))
        assert "(python3 is 3.9.2, python3.11 is 3.10.1)" in message
        assert not (checkout / ".venv").exists()

    def test_a_newer_one_beside_it_is_found(
        self, run: Run, python_at: Callable[..., Path], tmp_path: Path, python_log: Callable[[], list[str]]
    ) -> None:
        python_at(tmp_path / "found" / "python3", version="3.9.2", too_old=1)
        python_at(tmp_path / "found" / "python3.12", version="3.12.1")
        ended = run("scripts/environment.sh", "serve")
        assert ended.returncode == 0
        assert "with Python 3.12.1 (once" in ended.stderr
        assert python_log()[0] == "venv .venv"

    def test_one_can_be_named(self, run: Run, python_at: Callable[..., Path], tmp_path: Path) -> None:
        python_at(tmp_path / "found" / "python3")
        named = python_at(tmp_path / "my pythons" / "python3.13", version="3.13.0")
        assert "with Python 3.13.0 (once" in run("scripts/environment.sh", "serve", PYTHON=str(named)).stderr
        message = refusal(run("scripts/environment.sh", "dev", PYTHON="/nowhere/python3"))
        assert "(none found at /nowhere/python3)" in message

    def test_one_without_venv_says_what_to_install(
        self, run: Run, python_at: Callable[..., Path], tmp_path: Path, checkout: Path
    ) -> None:
        python_at(tmp_path / "found" / "python3", lacks_venv=1)
        message = refusal(run("scripts/environment.sh", "serve"))
        assert message == (
            "error: python3 (3.11.9) lacks the venv module; install it (Debian and Ubuntu: apt-get install "
            "python3-venv) and try again"
        )
        assert not (checkout / ".venv").exists()

    def test_make_ends_with_the_same_sentence(self, run: Run, python_at: Callable[..., Path], tmp_path: Path) -> None:
        python_at(tmp_path / "found" / "python3", version="3.9.2", too_old=1)
        for target in ("serve", "check", "migrate"):
            ended = run("make", target)
            assert ended.returncode == 2
            assert "error: Python 3.11 or newer is needed (python3 is 3.9.2)" in ended.stderr
            assert "Traceback" not in ended.stderr


class TestEnvironment:
    @pytest.fixture(autouse=True)
    def _python(self, python_at: Callable[..., Path], tmp_path: Path) -> None:
        python_at(tmp_path / "found" / "python3")

    def test_it_is_made_once(self, run: Run, python_log: Callable[[], list[str]]) -> None:
        assert run("scripts/environment.sh", "serve").returncode == 0
        assert [line.split()[0] for line in python_log()] == ["venv", "pip", "pip"]
        assert all(" --require-hashes " in line or " -e " in line for line in python_log()[1:])
        again = run("scripts/environment.sh", "serve")
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
        assert len(python_log()) == 3

    def test_what_it_was_made_from_is_watched(
        self, run: Run, python_log: Callable[[], list[str]], checkout: Path
    ) -> None:
        run("scripts/environment.sh", "serve")
        with (checkout / "requirements" / "serve.txt").open("a") as file:
            file.write("# another\n")
        assert run("scripts/environment.sh", "serve").returncode == 0
        assert [line.split()[0] for line in python_log()] == ["venv", "pip", "pip", "pip", "pip"]

    def test_each_use_is_made_on_its_own(self, run: Run, python_log: Callable[[], list[str]]) -> None:
        run("scripts/environment.sh", "serve")
        run("scripts/environment.sh", "dev")
        assert [line for line in python_log() if line.startswith("venv")] == ["venv .venv"]
        assert "requirements/dev.txt" in python_log()[3]

    def test_a_half_made_one_is_made_again(
        self, run: Run, python_at: Callable[..., Path], tmp_path: Path, python_log: Callable[[], list[str]],
        checkout: Path,
    ) -> None:  # fmt: skip
        python_at(tmp_path / "found" / "python3", pip=1)
        assert "installing the pinned packages failed" in refusal(run("scripts/environment.sh", "serve"))
        (checkout / ".venv" / "left over").touch()
        python_at(tmp_path / "found" / "python3")
        ended = run("scripts/environment.sh", "serve")
        assert ended.returncode == 0
        assert ended.stderr.startswith("The environment in .venv was left half made; making it again.\n")
        assert [line.split()[0] for line in python_log()] == ["venv", "pip", "venv", "pip", "pip"]
        assert not (checkout / ".venv" / "left over").exists()

    def test_one_that_was_stopped_in_its_first_moment_is_made_again(
        self, run: Run, python_at: Callable[..., Path], tmp_path: Path, checkout: Path
    ) -> None:
        python_at(tmp_path / "found" / "python3", make_venv='mkdir -p "$3/bin"; exit 1')
        assert "the environment could not be made" in refusal(run("scripts/environment.sh", "serve"))
        python_at(tmp_path / "found" / "python3")
        assert run("scripts/environment.sh", "serve").returncode == 0
        assert (checkout / ".venv" / "pyvenv.cfg").exists()

    def test_one_whose_python_is_gone_is_made_again(self, run: Run, checkout: Path) -> None:
        run("scripts/environment.sh", "serve")
        (checkout / ".venv" / "bin" / "python").unlink()
        assert run("scripts/environment.sh", "serve").returncode == 0
        assert (checkout / ".venv" / "bin" / "python").exists()

    def test_one_that_was_moved_with_its_folder_is_made_again(
        self, run: Run, checkout: Path, python_log: Callable[[], list[str]]
    ) -> None:
        run("scripts/environment.sh", "serve")
        moved = checkout.with_name("moved")
        checkout.rename(moved)
        shutil.copytree(moved, checkout)
        ended = run(str(moved / "scripts" / "environment.sh"), "serve")
        assert (ended.returncode, [line for line in python_log() if line.startswith("venv")]) == (0, ["venv .venv"] * 2)

    @pytest.mark.parametrize("with_config", [False, True])
    def test_a_foreign_one_is_left_alone(self, run: Run, checkout: Path, *, with_config: bool) -> None:
        theirs = checkout / ".venv" / "theirs"
        theirs.parent.mkdir()
        theirs.touch()
        if with_config:
            (checkout / ".venv" / "pyvenv.cfg").touch()
        message = refusal(run("scripts/environment.sh", "serve"))
        assert message == "error: .venv is there but was not made by make; move it away and try again"
        assert theirs.exists()

    def test_a_file_in_its_place_is_left_alone(self, run: Run, checkout: Path) -> None:
        (checkout / ".venv").write_text("theirs")
        assert ".venv is there but" in refusal(run("scripts/environment.sh", "serve"))
        assert (checkout / ".venv").read_text() == "theirs"

    def test_a_failing_installation_says_so(
        self, run: Run, python_at: Callable[..., Path], tmp_path: Path, checkout: Path
    ) -> None:
        python_at(tmp_path / "found" / "python3", pip=1)
        message = refusal(run("scripts/environment.sh", "dev"))
        assert message.startswith("error: installing the pinned packages failed (the reason is above)")
        assert not list((checkout / ".venv").glob(".ready-*"))


class TestMake:
    def test_help_lists_every_public_command(self, run: Run) -> None:
        ended = run("make", "help")
        assert (ended.returncode, ended.stderr) == (0, "")
        listed = [line.split()[1] for line in ended.stdout.splitlines()]
        public = {
            "serve", "test", "check", "pictures", "bench", "bench-peers", "openapi", "migrate",
            "requirements", "clean", "help",
        }  # fmt: skip
        assert set(listed) == public
        assert len(listed) == len(public)
        assert all(len(line.split(maxsplit=2)[2]) > 10 for line in ended.stdout.splitlines())
        assert max(map(len, ended.stdout.splitlines())) <= 80
        assert run("make").stdout == ended.stdout

    def test_every_public_command_can_be_made(self, run: Run) -> None:
        for line in run("make", "help").stdout.splitlines():
            ended = run("make", "--dry-run", line.split()[1])
            assert ended.returncode == 0, ended.stderr

    def test_what_is_no_command_is_told(self, run: Run) -> None:
        assert run("make", "no-such-thing").returncode == 2

    def test_every_script_can_be_run(self) -> None:
        for path in [*(ROOT / "scripts").glob("*.sh"), ROOT / ".ci" / "run"]:
            assert stat.S_IMODE(path.stat().st_mode) & 0o111
            assert subprocess.run(["sh", "-n", path], check=False).returncode == 0
            assert os.access(path, os.X_OK)

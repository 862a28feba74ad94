"""Documentation that cannot lie: the guides' and the README's commands run, and print what is said."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pyotp
import pytest

from ecross_server.settings import CONFIG_VARIABLE, Settings, variable

if TYPE_CHECKING:
    from processes import ServerProcess, StartServer

pytestmark = pytest.mark.unmeasured

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)\)|(?:src|srcset)=\"([^\":]+)\"")
PAGES = sorted(path for path in ROOT.rglob("*.md") if not {".venv", "node_modules"} & set(path.parts))


def steps(page: Path) -> list[tuple[str, str | None]]:
    """Each command block of the page, with what it is said to print."""
    found: list[tuple[str, str | None]] = []
    for kind, content in BLOCK.findall(page.read_text()):
        if kind == "sh":
            found.append((content, None))
        else:
            found[-1] = (found[-1][0], content)
    return found


def as_pattern(expected: str) -> str:
    """What is said to be printed, however it is spaced; three dots stand for anything."""
    return r"\s+".join(re.escape(word).replace(r"\.\.\.", ".*") for word in expected.split())


COMMAND_GUIDES = (
    "first-calls", "keys-and-peppers", "audit-trail", "production", "cron-and-containers", "sales-channels",
    "rotate-a-secret", "a-secret-leaked", "register-a-merchant", "limit-a-credential",
)  # fmt: skip


@pytest.mark.parametrize("page", ["README.md", *(f"docs/guides/{name}.md" for name in COMMAND_GUIDES)])
def test_the_commands_of_a_page_run_and_print_what_it_says(
    page: str, start_server: StartServer, tmp_path: Path, stand_ins: Path
) -> None:
    run_commands(page, start_server("--demo"), reader_folder(tmp_path), stand_ins)


@pytest.mark.parametrize(
    "page",
    [
        f"docs/guides/{name}.md"
        for name in ("verify-tokens", "five-minutes", "keep-stock-right", "integrate-your-catalog")
    ],
)
def test_the_commands_of_a_page_run_and_then_its_programs_as_one(
    page: str, start_server: StartServer, tmp_path: Path, stand_ins: Path
) -> None:
    server = start_server("--demo")
    folder = reader_folder(tmp_path)
    run_commands(page, server, folder, stand_ins)
    programs = PROGRAM.findall((ROOT / page).read_text())
    assert programs
    program = folder / "program.py"
    program.write_text("\n".join(programs))
    command = [sys.executable, "-W", "error", str(program)]
    ended = subprocess.run(
        command,
        cwd=folder,
        env=reader_environment(server, folder, stand_ins),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr


def test_the_files_of_a_page_are_a_project_whose_tests_pass(tmp_path: Path) -> None:
    page = ROOT / "docs/guides/testing-your-integration.md"
    for program in PROGRAM.findall(page.read_text()):
        first, _, rest = program.partition("\n")
        with (tmp_path / first.removeprefix("# ")).open("a") as file:
            file.write(rest)
    ((commands, expected),) = steps(page)
    # The plugins of this repository's own tests take long, and have no business in a reader's.
    others = [f"-pno:{each.name}" for each in entry_points(group="pytest11") if each.name != "ecross"]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTEST_ADDOPTS": shlex.join(["-Werror", "-pno:cacheprovider", *others]),
    }

    ended = subprocess.run(
        ["bash", "-ec", commands],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert expected is not None
    assert re.search(as_pattern(expected), ended.stdout, re.DOTALL), ended.stdout


def test_an_operator_enrolls_and_administers_as_the_page_says(
    start_server: StartServer, tmp_path: Path, stand_ins: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = start_server("--admin-port", str(port), ECROSS_SERVER_PUBLIC_URL="http://127.0.0.1:8000")
    folder = reader_folder(tmp_path)

    def enroll_first(commands: str) -> str:
        if "operators token" in commands:
            invitation = json.loads((folder / "invitation.json").read_text())["invitationToken"]
            enroll(reader_environment(server, folder, stand_ins), invitation)
        return commands.replace("http://127.0.0.1:8001/admin", server.facts["adminUrl"])

    run_commands("docs/guides/operators.md", server, folder, stand_ins, enroll_first)


def enroll(environment: dict[str, str], invitation: str) -> None:
    """Use an invitation as a program does that reads the seed when it is shown."""
    process = subprocess.Popen(
        ["ecross-server", "operators", "enroll"], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(f"{invitation}\nfour words make one\n")
        process.stdin.flush()
        seed = next(line.split()[-1] for line in process.stderr if line.startswith("Or by hand: "))
        process.stdin.write(f"{pyotp.TOTP(seed).now()}\n")
        process.stdin.close()
        assert process.wait(30) == 0, process.stderr.read()


def reader_folder(tmp_path: Path) -> Path:
    """The folder in which a reader follows a page."""
    folder = tmp_path / "reader"
    folder.mkdir()
    return folder


def reader_environment(server: ServerProcess, folder: Path, programs: Path) -> dict[str, str]:
    """A reader's environment: with a home and no keyring of the person's own who runs the tests."""
    inherited = {
        name: value
        for name, value in server.environment.items()
        if not name.startswith("XDG_") and (not name.startswith("ECROSS_") or name.startswith("ECROSS_SERVER_"))
    }
    return inherited | {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{inherited['PATH']}",
        "HOME": str(folder),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }


def run_commands(
    page: str,
    server: ServerProcess,
    folder: Path,
    programs: Path,
    prepare: Callable[[str], str] = lambda commands: commands,
) -> None:
    """Run the page's commands one after the other, and look at what they print."""
    (folder / "var").symlink_to(server.data_dir)
    listed = steps(ROOT / page)
    assert listed
    for commands, expected in listed:
        ended = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", prepare(commands).replace("http://127.0.0.1:8000", server.url)],
            cwd=folder,
            env=reader_environment(server, folder, programs),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == 0, f"{commands}\n{ended.stderr}"
        if expected is not None:
            assert re.search(as_pattern(expected), ended.stdout, re.DOTALL), f"{commands}\n{ended.stdout}"


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs/guides/configuration.md").read_text()
    for name in [CONFIG_VARIABLE, *map(variable, Settings.model_fields)]:
        assert f"`{name}`" in text
    documented = set(re.findall(r"`(ECROSS_SERVER_[A-Z_]+)`", text))
    assert documented == {CONFIG_VARIABLE, *map(variable, Settings.model_fields)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in targets(page):
        assert (page.parent / target).exists(), target


def targets(page: Path) -> list[str]:
    return ["".join(found) for found in LINK.findall(page.read_text())]


def test_every_picture_is_shown_by_a_guide() -> None:
    guides = ROOT / "docs/guides"
    shown = {guides / target for page in guides.glob("*.md") for target in targets(page)}
    assert set((guides / "pictures").iterdir()) <= shown


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs/decisions"
    listed = (folder / "README.md").read_text()
    for record in folder.glob("0*.md"):
        assert f"({record.name})" in listed
        assert record.read_text().startswith(f"# {record.name[:4]} ")

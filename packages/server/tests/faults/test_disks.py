"""The disk under the data folder is full, or cannot be written to: tokens go on, acts are refused whole."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from packages.server.tests.faults.conftest import Served

Run = Callable[..., Any]
WaitFor = Callable[..., None]
STALE_SECONDS: Final = 6.0
"""After so long, a registry that cannot be read anew would have shown."""

RECOVERED_SECONDS: Final = 3.0

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount"),
    pytest.mark.unmeasured,
]

ACTS = [
    ["merchants", "register", "BETA", "--name", "Beta"],
    ["credentials", "issue", "ACME"],
    ["keys", "rotate"],
    ["keys", "rotate", "--drop-old"],
    ["peppers", "rotate"],
    ["merchants", "disable", "ACME"],
]


@pytest.fixture
def backend() -> str:
    """The database that lies in the data folder."""
    return "sqlite"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own in the place of the test's folder: for the data folder and the log."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", tmp_path], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("nothing may be mounted here")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


@pytest.fixture
def served(disk: Path, request: pytest.FixtureRequest) -> Served:
    """A server whose data folder and log lie on the small disk."""
    del disk  # mounted before anything is laid there
    started: Served = request.getfixturevalue("serve")("--workers", "2")
    return started


def fill(folder: Path) -> Path:
    """Take all the room there is; the file that takes it."""
    file = folder / "filling"
    with file.open("wb", buffering=0) as stream:
        for size in (65536, 4096, 1):
            try:
                while stream.write(b"x" * size):
                    pass
            except OSError:
                continue
    return file


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Mounted upon itself, a folder can be made read-only also while files in it are open for writing."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def state(folder: Path, run: Run) -> list[Any]:
    """All that acts change."""
    files = [(folder / name).read_bytes() for name in ("signing-keys.json", "peppers.json")]
    credentials = run("credentials", "list").said["credentials"]
    return [*files, run("merchants", "list").said, [each["clientId"] for each in credentials]]


def refuse_all_acts(folder: Path, run: Run) -> None:
    """Every act is refused in a sentence, and changes nothing."""
    before = state(folder, run)
    for arguments in ACTS:
        ended = run(*arguments)
        assert ended.code == 5, (arguments, ended)
        assert ended.said["error"]["code"] in {"unwritable", "database_away"}
    assert state(folder, run) == before
    left = {entry.name for entry in folder.iterdir()}
    assert not any(name.startswith(".") and not name.endswith(".lock") for name in left)


def allow_all_acts(run: Run) -> None:
    """Every act is done."""
    for arguments in ACTS:
        ended = run(*arguments)
        assert ended.code == 0, (arguments, ended)


def test_on_a_full_disk_tokens_go_on_acts_are_refused_and_all_is_written_when_there_is_room(
    served: Served, disk: Path, run: Run, wait_for: WaitFor
) -> None:
    server = served.server
    issued = 0

    def ask(times: int) -> bool:
        nonlocal issued
        statuses = [served.ask().status_code for _ in range(times)]
        issued += times
        return statuses == [200] * times

    assert ask(10)
    token = served.ask().json()["token"]
    wait_for(lambda: served.backlog() == 0)
    filling = fill(disk)
    wait_for(lambda: ask(50) and (served.backlog() or 0) >= 50)
    refuse_all_acts(server.data_dir, run)
    assert ask(10)
    assert server.skus(token).status_code == 200
    assert served.ready() == 200
    wait_for(lambda: (served.metric("ecross_log_lines_lost_total") or 0) > 0)
    filling.unlink()
    wait_for(lambda: served.backlog() == 0, RECOVERED_SECONDS)
    assert served.metric("ecross_audit_lost_records_total") == 0
    allow_all_acts(run)
    assert server.stop() == 0
    assert len(set(served.told_of())) == issued + 1
    assert server.json("audit", "verify")["ok"]


def test_on_a_disk_that_becomes_read_only_tokens_go_on_and_acts_are_refused(
    served: Served, run: Run, wait_for: WaitFor
) -> None:
    server = served.server
    token = served.ask().json()["token"]
    wait_for(lambda: served.backlog() == 0)
    statuses = []
    with read_only(server.data_dir):
        deadline = time.monotonic() + STALE_SECONDS
        while time.monotonic() < deadline:
            statuses.append(served.ask().status_code)
            assert server.skus(token).status_code == 200
            time.sleep(0.1)
        assert set(statuses) == {200}
        refuse_all_acts(server.data_dir, run)
        assert served.ready() == 200
    allow_all_acts(run)
    assert server.stop() == 0
    assert len(set(served.told_of())) == len(statuses) + 1
    assert server.json("audit", "verify")["ok"]


def test_on_a_folder_that_cannot_be_written_to_serve_says_so_and_reading_goes_on(served: Served, run: Run) -> None:
    server = served.server
    assert server.stop() == 0
    with read_only(server.data_dir):
        ended = server.run("serve", "--port", "0", "--json")
        assert (ended.returncode, ended.stdout) == (5, b"")
        error = json.loads(ended.stderr)["error"]
        assert error["code"] == "unwritable"
        assert f"{server.data_dir} cannot be written to: Read-only file system." in error["message"]
        assert run("merchants", "list").code == 0
    assert run("merchants", "list").code == 0

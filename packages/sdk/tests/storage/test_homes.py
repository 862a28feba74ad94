import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecross._private_files import folder_of_user


def test_the_folder_is_where_the_system_wants_it(tmp_path: Path) -> None:
    assert folder_of_user(lambda: tmp_path / "home" / ".cache") == tmp_path / "home" / ".cache"
    assert folder_of_user(lambda: tmp_path / "elsewhere") == tmp_path / "elsewhere"


def test_a_user_without_a_home_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find() -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setenv("HOME", str(tmp_path / "missing"))

    assert folder_of_user(find) is None
    assert folder_of_user(lambda: Path("relative")) is None
    assert folder_of_user(lambda: tmp_path / "missing" / ".cache") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_folders_closed_to_the_user_are_no_error(tmp_path: Path) -> None:
    script = """if True:
        import os, pathlib, sys
        import ecross._private_files as files
        from ecross._private_files.git import find_git
        from ecross._private_files.locks import try_lock
        closed = sys.argv[1]
        os.setgid(1234)
        os.setuid(1234)
        os.environ["HOME"] = closed + "/home"
        print(files.folder_of_user(lambda: pathlib.Path(closed, "home", ".cache")), find_git({"PATH": closed + "/bin"}))
        try:
            try_lock(pathlib.Path(closed, "home", "a.lock"), files.current_system())
        except files.PrivateFileError as error:
            print(error)
    """
    (tmp_path / "closed" / "home").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)

    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "closed"], check=True, capture_output=True, text=True
    )

    assert run.stdout == f"None None\nThe lock {tmp_path}/closed/home/a.lock cannot be used: Permission denied.\n"

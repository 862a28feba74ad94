import os
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from ecross._private_files import GitExposureWarning, warn_if_git_may_take
from ecross._private_files.git import find_git, is_ignored

HAS_GIT = find_git(os.environ) is not None
needs_git = pytest.mark.skipif(not HAS_GIT, reason="git is not there")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A work tree, made by git where it is there."""
    made = tmp_path / "tree"
    made.mkdir()
    if HAS_GIT:
        subprocess.run(["git", "init", "--quiet", made], check=True)
    else:
        (made / ".git").mkdir()
    return made


@pytest.fixture
def make_git(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """An environment whose git is a script."""

    def make(script: str) -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "git").chmod(0o755)
        return {"PATH": str(folder)}

    return make


def warnings_of(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_if_git_may_take(path, environ)
    assert all(one.category is GitExposureWarning for one in caught)
    return [str(one.message) for one in caught]


@needs_git
def test_a_file_in_a_work_tree_that_does_not_ignore_it_is_warned_of_once(tree: Path) -> None:
    path = tree / "cache" / "key"

    assert warnings_of(path) == [
        f"{path} lies in the git work tree {tree}, which does not ignore it. Move it out, or add it to .gitignore."
    ]
    assert warnings_of(path) == []


@needs_git
@pytest.mark.parametrize("pattern", ["cache/", "key", "/cache/*", "*"])
def test_an_ignored_file_is_not_warned_of(tree: Path, pattern: str) -> None:
    (tree / ".gitignore").write_text(f"{pattern}\n")
    (tree / "cache").mkdir()

    assert warnings_of(tree / "cache" / "key") == []


@needs_git
def test_a_file_that_is_ignored_and_then_not_is_warned_of(tree: Path) -> None:
    (tree / ".gitignore").write_text("cache/*\n!cache/key\n")

    assert len(warnings_of(tree / "cache" / "key")) == 1


@needs_git
def test_the_link_to_a_work_tree_leads_into_it(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)

    assert len(warnings_of(tmp_path / "link" / "key")) == 1


def test_outside_of_any_work_tree_nothing_is_said(tmp_path: Path) -> None:
    assert warnings_of(tmp_path / "cache" / "key") == []


def test_the_file_of_a_linked_work_tree_counts_as_one(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /nowhere\n")

    assert len(warnings_of(tmp_path / "key")) == 1


@pytest.mark.parametrize("search_path", ["", ".", "bin:", "/nowhere"])
def test_without_a_git_that_can_be_trusted_it_is_taken_that_nothing_is_ignored(tree: Path, search_path: str) -> None:
    (tree / ".gitignore").write_text("*\n")

    assert len(warnings_of(tree / "key", {"PATH": search_path})) == 1


def test_a_program_in_the_work_tree_is_not_run(
    tree: Path, make_git: Callable[[str], dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_git(f"touch {tmp_path}/ran")
    monkeypatch.chdir(tmp_path)

    assert find_git({"PATH": "bin:."}) is None
    assert not is_ignored(tree / "key", tree, {"PATH": "bin:."})
    assert not (tmp_path / "ran").exists()


@needs_git
def test_the_configuration_of_a_strangers_work_tree_runs_nothing(tree: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    hook = tree / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    for name in ("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "alias.check-ignore"):
        subprocess.run(["git", "-C", tree, "config", name, f"!{hook}" if "alias" in name else hook], check=True)
    subprocess.run(["git", "-C", tree, "config", "core.hooksPath", tree], check=True)
    os.link(hook, tree / "post-index-change")
    subprocess.run(["git", "-C", tree, "-c", "core.fsmonitor=", "-c", "core.hooksPath=", "add", "hook"], check=True)
    subprocess.run(["git", "-C", tree, "status"], check=True, capture_output=True)
    assert mark.exists()  # so the trap works
    mark.unlink()

    assert len(warnings_of(tree / "key")) == 1

    assert not mark.exists()


@needs_git
def test_variables_of_git_lead_nowhere_else(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["git", "init", "--quiet", other], check=True)
    (other / ".git" / "info").mkdir(exist_ok=True)
    (other / ".git" / "info" / "exclude").write_text("*\n")

    assert not is_ignored(tree / "key", tree, os.environ | {"GIT_DIR": str(other / ".git")})


@pytest.mark.parametrize(("script", "says"), [("exit 0", True), ("exit 1", False), ("exit 128", False)])
def test_only_a_plain_yes_of_git_is_one(
    tree: Path, make_git: Callable[[str], dict[str, str]], script: str, *, says: bool
) -> None:
    assert is_ignored(tree / "key", tree, make_git(script)) is says


def test_a_git_that_hangs_is_left(tree: Path, make_git: Callable[[str], dict[str, str]]) -> None:
    assert not is_ignored(tree / "key", tree, make_git("exec /bin/sleep 60"), deadline_seconds=0.1)


def test_a_git_that_cannot_run_says_nothing(tree: Path, make_git: Callable[[str], dict[str, str]]) -> None:
    environment = make_git("")
    (Path(environment["PATH"]) / "git").write_bytes(b"\x7fELF nothing")

    assert not is_ignored(tree / "key", tree, environment)

"""Fetches the peers into `.peers/`: npm's packages, and an environment of its own for Authlib.

Exact versions stand in `package.json` and `requirements.txt`. What npm's packages need in turn is taken as of one
day, so that it stays the same without a lock file, which would hold addresses of a registry.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.processes import ProcessFailedError

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE.parents[1] / ".peers"
PYTHON: Final = FOLDER / ".venv" / "bin" / "python"
AS_OF: Final = "2026-11-18"
"""What was released later is not taken: most bad releases are found and withdrawn within a week."""

NPM: Final = ("npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", f"--before={AS_OF}")
LIMIT_SECONDS: Final = 600
NODE_PACKAGES: Final = ("@node-oauth/oauth2-server", "express", "jsonwebtoken", "oidc-provider", "koa", "jose")
PYTHON_PACKAGES: Final = ("authlib", "joserfc", "flask", "werkzeug", "gunicorn", "gunicorn-h1c", "cryptography")


def install() -> None:
    """Fetch what is not there yet, and put the servers' code beside it.

    Raises:
        ProcessFailedError: if a tool is missing, or fails.
    """
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise ProcessFailedError(f"{tool} is not on the PATH; two of the peers need it.")
    FOLDER.mkdir(exist_ok=True)
    wanted = "\n".join([*NPM, _read("package.json"), sys.version, _read("requirements.txt")])
    stamp = FOLDER / "installed"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(FOLDER)
        FOLDER.mkdir()
        shutil.copy(HERE / "package.json", FOLDER)
        _run(*NPM)
        _run(sys.executable, "-m", "venv", str(FOLDER / ".venv"))
        pip = (str(PYTHON), "-m", "pip", "--disable-pip-version-check", "-qq", "install")
        _run(*pip, "--no-deps", "--require-hashes", "-r", str(HERE / "requirements.txt"))
        stamp.write_text(wanted, encoding="utf-8")
    # node looks for packages beside the code that asks for them.
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, FOLDER)


def versions() -> dict[str, str]:
    """What is installed, by name."""
    found = {"node": _run("node", "--version").strip().removeprefix("v")}
    for name in NODE_PACKAGES:
        found[name] = json.loads((FOLDER / "node_modules" / name / "package.json").read_bytes())["version"]
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", _read("requirements.txt"), re.MULTILINE))
    return found | {name: pinned[name] for name in PYTHON_PACKAGES}


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _run(*command: str) -> str:
    ended = subprocess.run(
        command,
        cwd=FOLDER,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )
    if ended.returncode:
        raise ProcessFailedError(f"{' '.join(command[:3])} ... failed:\n{(ended.stdout + ended.stderr)[-2000:]}")
    return ended.stdout

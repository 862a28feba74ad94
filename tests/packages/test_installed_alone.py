"""Each package as a user gets it: built, and installed with the libraries it declares and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from processes import ServerProcess, StartServer

ROOT = Path(__file__).parents[2]
SDK, SERVER = ROOT / "packages" / "sdk", ROOT / "packages" / "server"

USE_CLIENT = """if True:
    import json, sys
    import ecross, ecross.testing

    url, client_id, client_secret = json.load(sys.stdin)
    for name in ecross.__all__:
        getattr(ecross, name)
    with ecross.Client(client_id=client_id, client_secret=client_secret, base_url=url) as client:
        merchants = [sku.merchant_id for sku in client.skus.list()]
    print(json.dumps({"merchants": merchants, "home": ecross.__file__}))
"""


class Built(NamedTuple):
    """A package's two files."""

    wheel: Path
    sdist: Path


def build(source: Path, target: Path) -> Built:
    """The source distribution, and the wheel that is built from what that holds."""
    run = [sys.executable, "-m", "hatchling", "build", "-d", str(target), "-t"]
    subprocess.run([*run, "sdist"], cwd=source, check=True, capture_output=True)
    (sdist,) = target.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(target / "unpacked", filter="data")
    (unpacked,) = (target / "unpacked").iterdir()
    subprocess.run([*run, "wheel"], cwd=unpacked, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    return Built(wheel, sdist)


def declared(wheel: Path, extras: Iterable[str] = ()) -> list[Requirement]:
    """What the wheel's own metadata asks for."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    requirements = map(Requirement, metadata.get_all("Requires-Dist") or [])
    return [one for one in requirements if _is_wanted(one, extras)]


def closure(requirements: Iterable[Requirement]) -> dict[str, Distribution]:
    """The distributions of this environment that satisfy the requirements, with all that those need themselves."""
    found: dict[str, Distribution] = {}
    left = list(requirements)
    while left:
        requirement = left.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        there = distribution(name)
        assert requirement.specifier.contains(there.version, prereleases=True), requirement
        if name in found and not requirement.extras:
            continue
        found[name] = there
        left += [one for one in map(Requirement, there.requires or []) if _is_wanted(one, requirement.extras)]
    return found


def _is_wanted(requirement: Requirement, extras: Iterable[str]) -> bool:
    return any(requirement.marker is None or requirement.marker.evaluate({"extra": extra}) for extra in ["", *extras])


def install(wheels: list[Path], libraries: dict[str, Distribution], target: Path) -> Path:
    """A new environment with the wheels and links to the libraries' files; its folder of commands."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target)], check=True)
    (packages,) = target.glob("lib/python*/site-packages")
    for library in libraries.values():
        tops = {file.parts[0] for file in library.files or [] if file.parts[0] not in {"..", "__pycache__"}}
        for top in tops:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(library.locate_file(top))))
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(target), "install", "--quiet", "--no-index", "--no-deps",
         "--no-compile", "--disable-pip-version-check", *map(str, wheels)],
        check=True,
    )  # fmt: skip
    return target / "bin"


@pytest.fixture(scope="module")
def client_package(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(SDK, tmp_path_factory.mktemp("sdk"))


@pytest.fixture(scope="module")
def server_package(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(SERVER, tmp_path_factory.mktemp("server"))


def sources(package: Path) -> set[str]:
    """What `src` holds, as the names that it has in a wheel."""
    files = (path for path in (package / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(package / "src")) for path in files}


@pytest.mark.parametrize(("name", "package"), [("client_package", SDK), ("server_package", SERVER)])
def test_the_files_of_a_package_are_its_source_and_nothing_else(
    name: str, package: Path, request: pytest.FixtureRequest
) -> None:
    built: Built = request.getfixturevalue(name)

    with zipfile.ZipFile(built.wheel) as archive:
        inside = {file for file in archive.namelist() if ".dist-info/" not in file}
    with tarfile.open(built.sdist) as archive:
        top = {file.split("/")[1] for file in archive.getnames()}

    assert inside == sources(package)
    assert f"{'ecross' if package == SDK else 'ecross_server'}/py.typed" in inside
    assert top == {"src", "pyproject.toml", "PKG-INFO", ".gitignore", "README.md", "LICENSE"}


def test_the_client_needs_four_libraries(client_package: Built) -> None:
    assert {one.name for one in declared(client_package.wheel)} == {
        "cryptography", "filelock", "httpx2", "platformdirs"
    }  # fmt: skip


def test_the_client_alone_asks_a_real_server(client_package: Built, start_server: StartServer, tmp_path: Path) -> None:
    libraries = closure(declared(client_package.wheel))
    programs = install([client_package.wheel], libraries, tmp_path / "alone")
    server = start_server("--demo")

    told = use_client(programs, server)

    assert set(told["merchants"]) == {"DEMO"}
    assert Path(told["home"]).is_relative_to(tmp_path / "alone")
    assert not {"keyring", "pydantic", "requests", "rich", "typer"} & set(libraries)


def test_the_server_alone_makes_all_it_needs_and_answers_the_client(
    client_package: Built, server_package: Built, start_server: StartServer, tmp_path: Path
) -> None:
    libraries = closure([*declared(server_package.wheel), *declared(client_package.wheel)])
    del libraries["ecross"]
    programs = install([client_package.wheel, server_package.wheel], libraries, tmp_path / "alone")

    server = start_server("--demo", program=str(programs / "ecross-server"))
    told = use_client(programs, server)

    assert set(told["merchants"]) == {"DEMO"}
    assert server.get("/docs").status_code == server.get("/openapi.json").status_code == 200
    assert not {"psycopg", "pytest", "redis"} & set(libraries)


def use_client(programs: Path, server: ServerProcess) -> dict[str, Any]:
    """Run a program that uses the client in that environment; what it says."""
    merchant = json.loads((server.data_dir / "demo-credentials.json").read_text())
    ended = subprocess.run(
        [str(programs / "python"), "-I", "-X", "dev", "-W", "error", "-c", USE_CLIENT],
        input=json.dumps([server.url, merchant["clientId"], merchant["clientSecret"]]),
        env={"ECROSS_CACHE_DIR": str(server.data_dir / "cache"), "PATH": os.defpath},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer

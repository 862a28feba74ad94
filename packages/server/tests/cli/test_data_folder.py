"""What the first start puts into the data folder, and that later ones leave it alone."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import create_engine, inspect

from ecross_server import migrations
from ecross_server.cli.setup import check_files
from ecross_server.kit.errors import DomainError
from ecross_server.kit.private_files import write_private_file
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from conftest import Register

pytestmark = pytest.mark.measured

Cli = Callable[..., Any]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("command", [["migrate"], ["merchants", "register", "ACME", "--name", "Acme"]])
def test_all_is_made_for_its_owner_alone(cli: Cli, tmp_path: Path, command: list[str]) -> None:
    assert cli(*command).code == 0
    folder = tmp_path / "data"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    made = {"ecross.db", "signing-keys.json", "peppers.json"} | (
        {"audit-head.json"} if "register" in command else set()
    )
    made |= {".in-use.lock", ".ecross.db.turn.lock", ".ecross.db.next.lock"}
    assert {path.name for path in folder.iterdir()} == made
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_folders_on_the_way_are_made_too(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECROSS_SERVER_DATA_DIR", str(tmp_path / "a" / "b" / "data"))
    assert cli("migrate").code == 0
    assert stat.S_IMODE((tmp_path / "a" / "b" / "data").stat().st_mode) == 0o700


def test_keys_and_peppers_are_256_bits_of_chance(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = set()
    for number in range(2):
        folder = tmp_path / f"data-{number}"
        monkeypatch.setenv("ECROSS_SERVER_DATA_DIR", str(folder))
        cli("migrate")
        [key] = json.loads((folder / "signing-keys.json").read_bytes())["keys"]
        [pepper] = json.loads((folder / "peppers.json").read_bytes())["peppers"]
        made |= {base64.urlsafe_b64decode(key["k"] + "=="), base64.urlsafe_b64decode(pepper["value"])}
    assert len(made) == 4
    assert {len(value) for value in made} == {32}


@pytest.mark.parametrize("command", [["migrate"], ["merchants", "register", "OTHER", "--name", "Other"]])
def test_lost_peppers_are_not_made_anew_under_secrets_that_need_the_old_ones(
    cli: Cli, prepared: Settings, register: Register, command: list[str]
) -> None:
    register("ACME")
    kept = prepared.peppers_file.read_bytes()
    prepared.peppers_file.unlink()
    ended = cli(*command, "--json")
    assert (ended.code, ended.error["code"]) == (4, "lost_peppers")
    assert str(prepared.peppers_file) in ended.error["message"]
    assert not prepared.peppers_file.exists()
    write_private_file(prepared.peppers_file, kept.decode())
    assert cli(*command).code == 0


@pytest.mark.parametrize("command", [["migrate"], ["merchants", "register", "OTHER", "--name", "Other"]])
def test_a_database_that_is_gone_is_not_made_anew_as_long_as_something_tells_of_it(
    cli: Cli, on_sqlite: Settings, command: list[str]
) -> None:
    assert cli("merchants", "register", "ACME", "--name", "Acme").code == 0
    file = on_sqlite.data_dir / "ecross.db"
    file.rename(on_sqlite.data_dir / "elsewhere.db")
    ended = cli(*command, "--json")
    assert (ended.code, ended.error["code"]) == (5, "lost_database")
    assert str(file) in ended.error["message"]
    assert not file.exists()
    on_sqlite.audit_witness_file.unlink()
    assert cli(*command).code == 0
    listed = cli("merchants", "list", "--json").result["merchants"]
    assert "ACME" not in {merchant["merchantId"] for merchant in listed}


def test_peppers_are_made_anew_while_no_secret_needs_them(cli: Cli, prepared: Settings) -> None:
    prepared.peppers_file.unlink()
    assert cli("migrate").code == 0
    assert prepared.peppers_file.exists()


def test_what_is_there_stays_as_it_is(cli: Cli, tmp_path: Path) -> None:
    cli("migrate")
    before = contents(tmp_path / "data")
    assert cli("migrate").code == 0
    assert contents(tmp_path / "data") == before


def test_a_missing_file_is_made_again_and_the_others_stay(cli: Cli, tmp_path: Path) -> None:
    cli("migrate")
    before = contents(tmp_path / "data")
    (tmp_path / "data" / "signing-keys.json").unlink()
    cli("migrate")
    after = contents(tmp_path / "data")
    assert {name for name in before if before[name] != after[name]} == {"signing-keys.json"}


def test_migrating_prints_the_revision(cli: Cli) -> None:
    assert cli("migrate").out == f"The database is at revision {migrations.REVISIONS[-1]}.\n"
    assert cli("migrate", "--json").result == {"revision": migrations.REVISIONS[-1]}


def test_an_empty_database_gets_its_schema(
    cli: Cli, empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ECROSS_SERVER_DATABASE_URL", empty_database_url)
    assert cli("migrate").code == 0
    assert cli("merchants", "list", "--json").result == {"merchants": []}
    engine = create_engine(empty_database_url)
    assert {"merchants", "clients", "secrets", "skus"} <= set(inspect(engine).get_table_names())
    engine.dispose()
    assert not (tmp_path / "data" / "ecross.db").exists()


def test_a_dangling_link_is_not_written_through(cli: Cli, tmp_path: Path) -> None:
    cli("migrate")
    keys = tmp_path / "data" / "signing-keys.json"
    keys.unlink()
    keys.symlink_to(tmp_path / "elsewhere.json")
    cli("migrate")
    assert not (tmp_path / "elsewhere.json").exists()


class TestCheckFiles:
    def test_good_ones_pass(self, on_sqlite: Settings, tls_files: tuple[Path, Path]) -> None:
        check_files(on_sqlite)
        check_files(with_tls(on_sqlite, *tls_files))

    @pytest.mark.parametrize("name", ["signing_keys_file", "peppers_file"])
    @pytest.mark.parametrize(
        "content", ["", '{"keys": [{"kty": "oct", "k', "null", "{}", '{"keys": [], "peppers": []}']
    )
    def test_a_half_written_file_is_refused_by_its_name(self, on_sqlite: Settings, name: str, content: str) -> None:
        path = getattr(on_sqlite, name)
        path.write_text(content)
        with pytest.raises(DomainError, match=path.name) as caught:
            check_files(on_sqlite)
        assert caught.value.code == "unsafe_file"

    def test_a_key_of_another_certificate_is_refused(
        self, on_sqlite: Settings, tls_files: tuple[Path, Path], other_key: Path
    ) -> None:
        with pytest.raises(DomainError, match="key values mismatch"):
            check_files(with_tls(on_sqlite, tls_files[0], other_key))

    def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(
        self, on_sqlite: Settings, tls_files: tuple[Path, Path], locked_key: Path
    ) -> None:
        with pytest.raises(DomainError, match="the key without a passphrase"):
            check_files(with_tls(on_sqlite, tls_files[0], locked_key))

    def test_files_that_are_none_are_refused(self, on_sqlite: Settings, tmp_path: Path) -> None:
        junk = tmp_path / "junk.pem"
        junk.write_text("junk")
        with pytest.raises(DomainError, match="ECROSS_SERVER_TLS_CERT_FILE and ECROSS_SERVER_TLS_KEY_FILE"):
            check_files(with_tls(on_sqlite, junk, junk))
        with pytest.raises(DomainError, match="No such file or directory"):
            check_files(with_tls(on_sqlite, tmp_path / "none.pem", junk))


def with_tls(settings: Settings, certificate: Path, key: Path) -> Settings:
    return settings.model_copy(update={"tls_cert_file": certificate, "tls_key_file": key})


@pytest.fixture
def other_key(tmp_path: Path) -> Path:
    path = tmp_path / "other.pem"
    path.write_bytes(pem(serialization.NoEncryption()))
    return path


@pytest.fixture
def locked_key(tmp_path: Path) -> Path:
    path = tmp_path / "locked.pem"
    path.write_bytes(pem(serialization.BestAvailableEncryption(b"passphrase")))
    return path


def pem(encryption: serialization.KeySerializationEncryption) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)

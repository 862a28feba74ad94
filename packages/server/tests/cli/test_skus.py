"""`ecross-server skus import`."""

from __future__ import annotations

import codecs
import contextlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ecross_server.cli.skus import BATCH, LONGEST_LINE
from ecross_server.kit.database import Database
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from conftest import Register

Cli = Callable[..., Any]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "skus.jsonl"


def sku(number: int, **others: Any) -> bytes:
    return json.dumps({"skuId": f"S{number}", "productId": "P1", "name": f"SKU {number}", **others}).encode()


def kept(database: Database) -> list[tuple[str, str, str]]:
    with database.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT merchant_id, sku_id, name FROM skus ORDER BY number").all()
    return [(row[0], row[1], row[2]) for row in rows]


@pytest.mark.usefixtures("prepared")
class TestImport:
    def test_good_lines_are_kept(self, cli: Cli, register: Register, database: Database, file: Path) -> None:
        register("ACME")
        register("BETA")
        file.write_bytes(sku(1) + b"\n" + sku(2) + b"\n")
        assert cli("skus", "import", "ACME", str(file), "--json").result == {"imported": 2, "refused": []}
        assert kept(database) == [("ACME", "S1", "SKU 1"), ("ACME", "S2", "SKU 2")]

    def test_people_read_how_many(self, cli: Cli, register: Register, file: Path) -> None:
        register("ACME")
        for count, sentence in ((0, "0 SKUs"), (1, "1 SKU"), (2, "2 SKUs")):
            file.write_bytes(b"\n".join(map(sku, range(count))))
            ended = cli("skus", "import", "ACME", str(file))
            assert (ended.code, ended.out, ended.err) == (0, f"Imported {sentence} of ACME.\n", "")

    def test_bad_lines_are_refused_with_their_numbers_while_good_ones_stay(
        self, cli: Cli, register: Register, database: Database, file: Path
    ) -> None:
        register("ACME")
        file.write_bytes(
            b"\n"
            + sku(1)
            + b"\r\n\r\n  \t \n{\n"
            + sku(2, weight=-1, main="yes")
            + b"\n"
            + sku(3)  # no newline at the end
        )
        ended = cli("skus", "import", "ACME", str(file), "--json")
        assert (ended.code, ended.err) == (4, "")
        out = json.loads(ended.out)
        assert out["imported"] == 2
        assert [row["line"] for row in out["refused"]] == [5, 6]
        assert [fault["path"] for fault in out["refused"][0]["errors"]] == [""]
        assert {fault["path"] for fault in out["refused"][1]["errors"]} == {"weight", "main"}
        assert all(fault["message"] for row in out["refused"] for fault in row["errors"])
        assert [row[1] for row in kept(database)] == ["S1", "S3"]

    def test_people_read_each_refused_line_beside_the_result(self, cli: Cli, register: Register, file: Path) -> None:
        register("ACME")
        file.write_bytes(sku(1) + b"\n[]\n" + sku(2, name=""))
        ended = cli("skus", "import", "ACME", str(file))
        assert (ended.code, ended.out) == (4, "Imported 1 SKU of ACME.\n")
        second, third = ended.err.splitlines()
        assert second.startswith("line 2 refused: ")
        assert third.startswith("line 3 refused: name: ")

    def test_no_refusal_repeats_a_value_or_disturbs_a_terminal(self, cli: Cli, register: Register, file: Path) -> None:
        register("ACME")
        key = "\u009b31m\u202e"
        file.write_text(json.dumps({"skuId": "topsecret value", "images": ["topsecret"], key: 1, "weight": {key: 1}}))
        ended = cli("skus", "import", "ACME", str(file))
        assert ended.code == 4
        assert "topsecret" not in ended.err
        assert "\x9b" not in ended.err
        assert all(line.isprintable() for line in ended.err.splitlines())

    def test_more_than_a_batch_is_kept_whole(
        self, cli: Cli, register: Register, database: Database, file: Path
    ) -> None:
        register("ACME")
        for count in (BATCH, 2 * BATCH + 1):
            file.write_bytes(b"\n".join(map(sku, range(count))))
            assert cli("skus", "import", "ACME", str(file), "--json").result == {"imported": count, "refused": []}
            assert [row[1] for row in kept(database)] == [f"S{number}" for number in range(count)]

    def test_a_second_import_updates(self, cli: Cli, register: Register, database: Database, file: Path) -> None:
        register("ACME")
        for name in ("first", "second"):
            file.write_bytes(sku(1, name=name) + b"\n" + sku(2))
            assert cli("skus", "import", "ACME", str(file), "--json").result["imported"] == 2
        assert kept(database) == [("ACME", "S1", "second"), ("ACME", "S2", "SKU 2")]

    def test_a_byte_order_mark_is_no_part_of_the_first_line(
        self, cli: Cli, register: Register, database: Database, file: Path
    ) -> None:
        register("ACME")
        file.write_bytes(codecs.BOM_UTF8 + sku(1) + b"\n" + codecs.BOM_UTF8 + sku(2))
        ended = cli("skus", "import", "ACME", str(file), "--json")
        assert [row["line"] for row in json.loads(ended.out)["refused"]] == [2]
        assert [row[1] for row in kept(database)] == ["S1"]

    def test_an_unknown_merchant_is_not_found(self, cli: Cli, file: Path) -> None:
        file.write_bytes(sku(1))
        ended = cli("skus", "import", "NOBODY", str(file), "--json")
        assert (ended.code, ended.error["code"]) == (3, "merchant_not_found")

    def test_a_file_that_cannot_be_read_is_told_in_a_sentence(
        self, cli: Cli, register: Register, tmp_path: Path
    ) -> None:
        register("ACME")
        for path, reason in ((tmp_path / "none.jsonl", "No such file or directory"), (tmp_path, "Is a directory")):
            ended = cli("skus", "import", "ACME", str(path), "--json")
            assert (ended.code, ended.error["code"]) == (5, "unreadable_file")
            assert ended.error["message"] == f"The file {path} cannot be read: {reason}."


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_line_that_is_too_long_is_refused_as_one(cli: Cli, on_sqlite: Settings, file: Path, end: bytes) -> None:
    longest = sku(1).ljust(LONGEST_LINE)
    file.write_bytes(longest + b"\r\n" + longest + b" \n" + sku(3).ljust(3 * LONGEST_LINE) + b"\n" + sku(4) + end)
    ended = cli("skus", "import", "ACME", str(file), "--json")
    message = f"longer than {LONGEST_LINE} bytes"
    assert json.loads(ended.out) == {
        "imported": 2,
        "refused": [{"line": number, "errors": [{"path": "", "message": message}]} for number in (2, 3)],
    }
    with contextlib.closing(Database(on_sqlite.database_url.get_secret_value())) as database:
        assert [row[1] for row in kept(database)] == ["S1", "S4"]


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("junk", [b"\xff\xfe{\x00}\x00", b"\x00", b"\xc3", b"nul", b'{"a":1,"a":2}', b"[" * 100_000])
def test_what_is_no_json_is_refused(cli: Cli, file: Path, junk: bytes) -> None:
    file.write_bytes(sku(1) + b"\n" + junk + b"\n" + sku(2))
    ended = cli("skus", "import", "ACME", str(file), "--json")
    assert ended.code == 4
    out = json.loads(ended.out)
    assert (out["imported"], [row["line"] for row in out["refused"]]) == (2, [2])


RunCli = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.mark.usefixtures("acme")
def test_lines_can_come_from_standard_input(run_cli: RunCli) -> None:
    ended = run_cli("skus", "import", "ACME", "-", "--json", stdin=sku(1) + b"\n" + sku(2))
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert json.loads(ended.stdout) == {"imported": 2, "refused": []}


@pytest.mark.usefixtures("acme")
def test_a_closed_standard_input_is_told_in_a_sentence(run_cli: RunCli) -> None:
    ended = run_cli("skus", "import", "ACME", "-", redirections="<&-")
    assert (ended.returncode, ended.stdout) == (5, b"")
    assert ended.stderr == b"error: Standard input is closed.\n"


@pytest.mark.usefixtures("acme")
def test_a_file_named_like_standard_input_can_be_named_by_its_folder(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").write_bytes(sku(1))
    assert cli("skus", "import", "ACME", "./-", "--json").result["imported"] == 1

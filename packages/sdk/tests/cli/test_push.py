"""`ecross catalog push` and `ecross stock push`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecross.testing import PASS, FakeServer, Merchant, server_error, slow
from forking import ForkedProcess

Cli = Callable[..., Any]
SKUS = "/ext/merchant/skus"
STOCK = "/ext/inventories/"


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """Three SKUs of two products."""
    file = tmp_path / "catalog.csv"
    file.write_text("skuId;productId;name\n1;A;Mug\n2;B;Cup\n3;A;Mug, large\n", encoding="utf-8")
    return file


def test_a_catalog_is_pushed_and_told_of(cli: Cli, told: Merchant, catalog: Path) -> None:
    ended = cli("catalog", "push", str(catalog))

    assert (ended.code, ended.err) == (0, "")
    lines = [line.split(maxsplit=1) for line in ended.out.splitlines()]
    assert lines[:3] == [
        ["sent", "2 products, 3 SKUs"], ["unchanged", "0 products, 0 SKUs"], ["refused", "0 products"]
    ]  # fmt: skip
    assert lines[3][0] == "took"
    assert len(told.skus) == 3
    assert cli("catalog", "push", str(catalog)).out.splitlines()[1].split(maxsplit=1)[1] == "2 products, 3 SKUs"


def test_stock_is_pushed_from_standard_input(cli: Cli, told: Merchant, send: Callable[[bytes], None]) -> None:
    send(b'{"skuId": "1", "quantity": 3}\n')

    ended = cli("stock", "push", "-")

    assert ended.out.split()[:3] == ["sent", "1", "record"]
    assert told.inventories[0]["quantity"] == 3


@pytest.mark.usefixtures("told")
def test_there_is_nothing_to_push_on_a_closed_standard_input(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)

    assert "closed" in cli("stock", "push", "-", "--json").error["message"]


def test_a_dry_run_sends_nothing(cli: Cli, told: Merchant, catalog: Path) -> None:
    cli("catalog", "push", str(catalog))
    catalog.write_text("skuId,productId,name,ean\n1,A,Mug,\n2,B,Cup,1\n", encoding="utf-8")

    ended = cli("catalog", "push", str(catalog), "--dry-run")

    assert ended.code == 6
    told_lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert told_lines[0] == "would be sent 1 product, 1 SKU"
    assert "would be deleted 1 SKU" in told_lines
    assert told_lines[-1].startswith("refused: line 3, product B: ean must be")
    assert len(told.skus) == 3


def test_refusals_are_told_by_line(cli: Cli, told: Merchant, catalog: Path) -> None:
    told.put_sku({"skuId": "9", "productId": "Z", "name": "n"})
    catalog.write_text("skuId,productId,name\n1,A,\n2,B,Cup\nsecret\n3,,n\n", encoding="utf-8")
    ended = cli("catalog", "push", str(catalog))

    assert ended.code == 6
    assert ended.out.splitlines()[-3:] == [
        "refused: line 4: has 1 cells, the header has 3",
        "refused: line 5: productId is missing",
        "refused: line 2, product A: name Field required",
    ]
    assert "secret" not in ended.out + ended.err
    assert "not in the file 1 product of the server, left alone" in " ".join(ended.out.split())


def test_the_report_for_programs(cli: Cli, catalog: Path, told: Merchant) -> None:
    del told
    catalog.write_text("skuId,productId,name\n1,A,\n2,B,Cup\n", encoding="utf-8")

    ended = cli("catalog", "push", str(catalog), "--json")

    report = json.loads(ended.out)
    assert (ended.code, ended.err) == (6, "")
    assert report.pop("seconds") > 0
    assert report.pop("skusPerSecond") > 0
    assert report == {
        "dryRun": False,
        "stoppedBy": None,
        "products": {"sent": 1, "unchanged": 0, "refused": 1, "failed": 0, "leftOver": 0, "absent": 0},
        "skus": {"sent": 1, "unchanged": 0, "removed": 0},
        "refusals": [{"key": "A", "faults": [{"line": 2, "path": "name", "message": "Field required"}]}],
        "failures": [],
    }


def test_a_server_that_is_away_is_told_by_the_exit_code(
    cli: Cli, told: Merchant, catalog: Path, ecross_server: FakeServer
) -> None:
    del told
    many = "".join(f"{number},P{number},n\n" for number in range(15))
    catalog.write_text(f"skuId,productId,name\n{many}", encoding="utf-8")
    ecross_server.script(SKUS, PASS, *[server_error(500)] * 10)

    ended = cli("catalog", "push", str(catalog), "--workers", "1")

    ecross_server.clear_scripts()

    assert ended.code == 5
    assert "failed: product P0: " in ended.out
    assert "left over" in ended.out
    assert ended.out.splitlines()[-1].endswith("The same command goes on from here.")


def test_so_many_refusals_are_printed_and_the_rest_counted(
    cli: Cli, told: Merchant, catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del told
    monkeypatch.setattr("ecross._bulk.tally.MOST_LISTED", 1)
    catalog.write_text("skuId,productId,name\n1\n2\n3\n", encoding="utf-8")

    ended = cli("catalog", "push", str(catalog))

    assert ended.out.splitlines()[-1] == "... and 2 more, which are not listed."


@pytest.mark.usefixtures("told")
def test_a_file_that_is_not_there_is_a_usage_error(cli: Cli, tmp_path: Path) -> None:
    ended = cli("catalog", "push", str(tmp_path / "none.csv"), "--json")

    assert ended.code == 2
    assert "cannot be read" in ended.error["message"]


def test_a_person_sees_how_far_it_is(on_terminal: Callable[..., Any], told: Merchant, catalog: Path) -> None:
    del told
    many = "".join(f"{number},P{number},n\n" for number in range(30))
    catalog.write_text(f"skuId,productId,name\n{many}", encoding="utf-8")
    terminal = on_terminal("catalog", "push", str(catalog))

    code, screen = terminal.end()

    assert code == 0
    for text in ("31 lines read", "0 entries compared", "1 of 30 done", "30 of 30 done"):
        assert text in screen
    assert screen.rindex("\033[K") < screen.index("sent")


def test_refusals_are_counted_on_the_way(on_terminal: Callable[..., Any], told: Merchant, catalog: Path) -> None:
    del told
    catalog.write_text("skuId,productId,name\n1,A,\n", encoding="utf-8")

    assert "1 of 1 done, 1 refused" in on_terminal("catalog", "push", str(catalog)).end()[1]


def start_push(catalog: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = Path(sys.executable).with_name("ecross")
    return ForkedProcess(
        [str(command), "catalog", "push", str(catalog), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_ctrl_c_ends_with_a_report_and_the_next_push_goes_on(
    cli: Cli,
    told: Merchant,
    catalog: Path,
    ecross_server: FakeServer,
    wait_for: Callable[[Callable[[], object]], None],
) -> None:
    many = "".join(f"{number},P{number},n\n" for number in range(40))
    catalog.write_text(f"skuId,productId,name\n{many}", encoding="utf-8")
    ecross_server.script(SKUS, *[slow(0.1)] * 41)
    process = start_push(catalog, "--workers", "1", "--json")
    wait_for(lambda: len(told.skus) > 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    ecross_server.clear_scripts()

    report = json.loads(out)
    assert (process.returncode, err) == (130, b"")
    assert report["stoppedBy"] == "It was stopped."
    assert report["products"]["sent"] + report["products"]["leftOver"] == 40
    assert 3 < report["products"]["sent"] < 40
    assert cli("catalog", "push", str(catalog), "--json").result["products"]["unchanged"] == report["products"]["sent"]


def test_a_second_ctrl_c_does_not_wait(
    told: Merchant, catalog: Path, ecross_server: FakeServer, wait_for: Callable[[Callable[[], object]], None]
) -> None:
    del told
    ecross_server.script(SKUS, slow(30))
    process = start_push(catalog)
    wait_for(lambda: ecross_server.count(SKUS))
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    process.communicate()

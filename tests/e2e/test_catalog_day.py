"""A merchant's day with a catalog of 10,000 SKUs in nine scripts, on real processes and both databases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.catalogs import json_line, products
from ecross import Client, FileCache
from forking import ForkedProcess, run_forked

if TYPE_CHECKING:
    from processes import ServerProcess, StartServer

pytestmark = pytest.mark.unmeasured

HIDDEN = {"localizedListPriceWithTaxes", "localizedSalePriceWithTaxes"}
SKUS = {"sqlite": 10_000, "postgresql": 1_000}
OPTIONS = {"ECROSS_SERVER_PAGE_SIZE": "1000", "ECROSS_SERVER_LOG_FORMAT": "json"}


@pytest.fixture
def server(start_server: StartServer, request: pytest.FixtureRequest) -> ServerProcess:
    """A server of two workers, with pages large enough to be read quickly."""
    options = dict(OPTIONS)
    if "backend" in request.fixturenames:
        options["ECROSS_SERVER_DATABASE_URL"] = request.getfixturevalue("database_url")
    return start_server("--workers", "2", **options)


Connect = Callable[[str], Client]
WaitFor = Callable[[Callable[[], object]], None]


@pytest.fixture
def credentials(server: ServerProcess, wait_for: WaitFor) -> Callable[[str], dict[str, str]]:
    """Registers a merchant and gives its first credentials, once both workers know them."""

    def register(merchant: str) -> dict[str, str]:
        issued: dict[str, str] = server.json("merchants", "register", merchant, "--name", merchant)
        # Each connection is taken by one of the two, nobody knows by which.
        wait_for(lambda: all(server.token(issued).status_code == 200 for _ in range(12)))
        return issued

    return register


@pytest.fixture
def connect(server: ServerProcess, credentials: Callable[[str], dict[str, str]], tmp_path: Path) -> Connect:
    """A client of a new merchant."""

    def make(merchant: str) -> Client:
        issued = credentials(merchant)
        return Client(
            client_id=issued["clientId"], client_secret=issued["clientSecret"], base_url=server.url,
            token_cache=FileCache(tmp_path / "cache"),
        )  # fmt: skip

    return make


def write(path: Path, catalog: Iterable[dict[str, Any]]) -> Path:
    """The catalog as a file, its lines in no order."""
    lines = [json_line(sku) for sku in catalog]
    Random(7).shuffle(lines)  # noqa: S311 - no secret
    path.write_text("".join(lines), encoding="utf-8")
    return path


def shown(client: Client) -> dict[str, dict[str, Any]]:
    """What the server shows of all SKUs, by id, as it was sent."""
    added = {"id", "merchantId", "merchantProductId", "localizationStatus", "salesChannelStatus", "lastUpdateDate"}
    return {
        sku.sku_id: {name: value for name, value in sku.raw.items() if name not in added} for sku in client.skus.list()
    }


def moved(client: Client) -> set[str | None]:
    """The products of which a SKU is not where new ones begin."""
    return {sku.product_id for sku in client.skus.list() if sku.localization_status != "PENDING_LOCALIZATION"}


def expected(catalog: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What it has to show."""
    exact = json.loads(json.dumps(list(catalog)), parse_float=Decimal)
    return {sku["skuId"]: {name: value for name, value in sku.items() if name not in HIDDEN} for sku in exact}


@pytest.mark.timeout(300)  # beside other tests, on a small machine
def test_a_catalog_is_pushed_changed_cut_stocked_and_read_back(backend: str, connect: Connect, tmp_path: Path) -> None:
    catalog = [sku for product in products(SKUS[backend]) for sku in product]
    file = tmp_path / "catalog.jsonl"
    with connect("ACME") as acme, connect("OTHER") as other:
        other.catalog.sync([sku | {"name": "Other's"} for sku in catalog[:50]])
        report = acme.catalog.sync(write(file, catalog))
        count = report.sent
        assert (report.skus_sent, report.is_whole) == (SKUS[backend], True)
        assert shown(acme) == expected(catalog)

        changed = [sku for sku in catalog if not sku["skuId"].endswith("07-03")]
        for sku in changed[::500]:
            sku["name"] += " ✓"
            sku["localizedListPriceWithTaxes"] += 1
        touched = {sku["productId"] for sku in changed[::500]}
        touched |= {sku["productId"] for sku in catalog if sku["skuId"].endswith("07-03")}
        report = acme.catalog.sync(write(file, changed))
        # What the server moves on meanwhile is sent once more.
        assert len(touched) <= report.sent <= len(touched) + len(moved(acme))
        assert report.sent + report.unchanged == count
        assert report.skus_removed == len(catalog) - len(changed) > 0
        assert shown(acme) == expected(changed)
        report = acme.catalog.sync(write(file, changed))
        assert report.is_whole
        assert report.sent <= len(moved(acme))

        stock = [{"skuId": sku["skuId"], "quantity": number % 50} for number, sku in enumerate(changed[:200])]
        assert acme.inventory.sync(stock).sent == 200
        stock[7]["quantity"] = 1000
        assert acme.inventory.sync(stock).sent == 1
        records = {record.sku_id: record.quantity for record in acme.inventory.list()}
        assert records == {record["skuId"]: record["quantity"] for record in stock}
        assert [sku["name"] for sku in shown(other).values()] == ["Other's"] * 50
        assert list(other.inventory.list()) == []


def test_a_killed_push_is_gone_on_with(
    server: ServerProcess,
    credentials: Callable[[str], dict[str, str]],
    tmp_path: Path,
    wait_for: WaitFor,
) -> None:
    catalog = [sku for product in products(1600) for sku in product]
    issued = credentials("ACME")
    environment = os.environ | {
        "ECROSS_BASE_URL": server.url, "ECROSS_CLIENT_ID": issued["clientId"],
        "ECROSS_CLIENT_SECRET": issued["clientSecret"], "ECROSS_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }  # fmt: skip
    file = write(tmp_path / "catalog.jsonl", catalog)
    command = [str(Path(sys.executable).with_name("ecross")), "catalog", "push", str(file), "--json"]

    def taken() -> int:
        return sum(line.get("method") == "POST" and "skus" in line["path"] for line in server.log_lines())

    process = ForkedProcess(command, env=environment, stdout=subprocess.PIPE)
    wait_for(lambda: taken() > 70)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = taken()

    ended = run_forked(command, env=environment)
    assert ended.returncode == 0, ended.stderr.decode()

    counts = json.loads(ended.stdout)["products"]
    total = len({sku["productId"] for sku in catalog})
    assert counts["sent"] == total - counts["unchanged"]
    with Client(
        client_id=issued["clientId"], client_secret=issued["clientSecret"], base_url=server.url,
        token_cache=FileCache(tmp_path / "cache"),
    ) as client:  # fmt: skip
        assert shown(client) == expected(catalog)
        # But for what was taken since it was last saved, what was under way, and what the server moved on.
        assert before - 60 - len(moved(client)) <= counts["unchanged"] <= before + 8
    assert not list((tmp_path / "cache").glob("*.spool*"))

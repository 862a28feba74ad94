"""`ecross-server channels` and `ecross-server reviews`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ecross_server.app.events import subscribe_domains
from ecross_server.app.jobs import make_kinds
from ecross_server.jobs.tasks import Runner
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.publication.models import Feed
from ecross_server.settings import Settings

Cli = Callable[..., Any]

SKU = {
    "skuId": "1", "productId": "P", "name": "USB charger", "description": "Charges fast.\nTwo ports.",
    "images": ["https://img.test/1.jpeg"],
}  # fmt: skip


@pytest.fixture
def acme(cli: Cli) -> str:
    """A registered merchant."""
    cli("merchants", "register", "ACME", "--name", "Acme", "--no-credentials")
    return "ACME"


@pytest.fixture
def work(database: Database, prepared: Settings) -> Callable[[], None]:
    """Has all that is due soon done, as the process that runs jobs does."""
    subscribe_domains(database)
    # A changed product is looked at a second later: others of its merchant may have come by then.
    soon = timedelta(seconds=2)
    runner = Runner(database, make_kinds(prepared), worker="w", clock=lambda: utc_now() + soon)

    def work() -> None:
        while runner.run_due():
            pass

    return work


@pytest.fixture
def send(cli: Cli, tmp_path: Path) -> Callable[..., None]:
    """Imports a SKU."""

    def send(**changes: Any) -> None:
        file = tmp_path / "skus.jsonl"
        file.write_text(json.dumps(SKU | changes))
        assert cli("skus", "import", "ACME", str(file)).code == 0

    return send


@pytest.mark.usefixtures("prepared")
class TestChannels:
    def test_ecom_is_listed_from_the_start(self, cli: Cli, prepared: Settings) -> None:
        (channel,) = cli("channels", "list", "--json").result["channels"]
        assert channel == {
            "channelId": "ECOM", "name": "E-commerce", "country": "BR", "currency": "BRL", "isOpen": True,
            "createdAt": "2026-11-25T00:00:00.000Z", "feed": str(prepared.feeds_folder / "ECOM.jsonl"),
            "connected": 0, "disconnected": 0,
        }  # fmt: skip
        lines = cli("channels", "list").out.splitlines()
        assert lines[0].split() == ["ID", "NAME", "COUNTRY", "CURRENCY", "MERCHANTS", "FEED"]
        assert lines[1].split()[:5] == ["ECOM", "E-commerce", "BR", "BRL", "all"]

    def test_add_prints_the_channel(self, cli: Cli) -> None:
        options = ("--name", "Loja", "--country", "MX", "--currency", "MXN")
        out = cli("channels", "add", "LOJA", *options, "--json").result
        assert list(out) == ["channelId", "name", "country", "currency", "isOpen", "createdAt", "feed"]
        assert (out["channelId"], out["isOpen"]) == ("LOJA", False)
        assert cli("channels", "add", "LOJA", *options, "--json").error["code"] == "channel_exists"
        assert cli("channels", "add", "SHOP", *options).out.splitlines() == [
            "Added SHOP (Loja).", "Let a merchant sell there: ecross-server channels connect ACME SHOP",
        ]  # fmt: skip

    def test_a_wrong_one_is_told_by_its_fields(self, cli: Cli) -> None:
        ended = cli("channels", "add", "loja", "--name", "x", "--country", "Brasil", "--currency", "BRL", "--json")
        assert (ended.code, [it["path"] for it in ended.error["errors"]]) == (2, ["id", "country"])

    def test_connect_and_disconnect(self, cli: Cli, acme: str) -> None:
        for review in (True, False):
            flags = ["--review"] * review
            assert cli("channels", "connect", acme, "ECOM", *flags, "--json").result == {
                "merchantId": "ACME", "channelId": "ECOM", "connected": True, "needsReview": review,
            }  # fmt: skip
        assert cli("channels", "list", "--merchant", acme, "--json").result["connections"] == [
            {"merchantId": "ACME", "channelId": "ECOM", "connected": True, "needsReview": False}
        ]
        out = cli("channels", "disconnect", acme, "ECOM", "--json").result
        assert (out["connected"], out["needsReview"]) == (False, False)
        assert cli("channels", "list", "--merchant", acme, "--json").result == {"connections": []}

    def test_people_are_told_in_sentences(self, cli: Cli, acme: str) -> None:
        assert cli("channels", "connect", acme, "ECOM", "--review").out == "ACME sells on ECOM, after reviews.\n"
        assert cli("channels", "list", "--merchant", acme).out.split() == [
            "MERCHANT", "CHANNEL", "REVIEW", "ACME", "ECOM", "yes",
        ]  # fmt: skip
        assert cli("channels", "connect", acme, "ECOM").out == "ACME sells on ECOM.\n"
        assert cli("channels", "list", "--merchant", acme).out.split()[-1] == "no"
        assert cli("channels", "disconnect", acme, "ECOM").out.startswith("ACME sells on ECOM no more.")
        assert "sells on no channel" in cli("channels", "list", "--merchant", acme).out
        assert cli("channels", "list").out.splitlines()[1].split()[4:7] == ["all", "but", "1"]
        cli("channels", "add", "LOJA", "--name", "Loja", "--country", "MX", "--currency", "MXN")
        assert cli("channels", "list").out.splitlines()[2].split()[4] == "0"
        assert "written anew" in cli("channels", "refresh", "ECOM").out

    def test_unknown_ones_are_not_found(self, cli: Cli, acme: str) -> None:
        assert cli("channels", "connect", acme, "LOJA", "--json").error["code"] == "channel_not_found"
        assert cli("channels", "refresh", "LOJA").code == 3
        assert cli("channels", "disconnect", "NOBODY", "ECOM").code == 3
        assert cli("channels", "list", "--merchant", "NOBODY").code == 3

    def test_refresh_has_a_lost_feed_written(self, cli: Cli, work: Callable[[], None]) -> None:
        out = cli("channels", "refresh", "ECOM", "--json").result
        work()
        assert [json.loads(line) for line in Path(out["feed"]).read_text().splitlines()][-1] == {"revision": 0}

    def test_after_a_restore_a_feed_counts_as_not_written(
        self, cli: Cli, work: Callable[[], None], database: Database, tmp_path: Path
    ) -> None:
        def taken() -> int:
            with database.read() as session:
                return session.get_one(Feed, "ECOM").taken_revision

        cli("channels", "refresh", "ECOM")
        work()
        assert taken() == 0
        database.close()  # nobody else may be there
        for act in ("backup", "restore"):
            assert cli(act, str(tmp_path / "backup"), *(["--force"] * (act == "restore"))).code == 0
        assert taken() == -1


@pytest.mark.usefixtures("prepared", "acme")
class TestReviews:
    def test_what_waits_is_listed_and_decided(
        self, cli: Cli, work: Callable[[], None], send: Callable[..., None]
    ) -> None:
        cli("channels", "connect", "ACME", "ECOM", "--review")
        send()
        assert cli("reviews", "list").out == "No review is waiting.\n"
        work()
        (review,) = cli("reviews", "list", "--json").result["reviews"]
        assert list(review) == [
            "reviewId", "merchantId", "skuId", "productId", "name", "status", "askedAt", "decidedAt", "decidedBy",
            "reason",
        ]  # fmt: skip
        assert (review["status"], review["decidedAt"], review["decidedBy"]) == ("waiting", None, None)
        assert cli("reviews", "list", "--merchant", "ACME").out.splitlines()[1].split()[1:5] == [
            "ACME", "1", "USB", "charger",
        ]  # fmt: skip
        out = cli("reviews", "approve", str(review["reviewId"]), "--json").result
        assert (out["status"], out["decidedBy"][:9], out["reason"]) == ("approved", "operator:", None)
        again = cli("reviews", "deny", str(review["reviewId"]), "--reason", "no", "--json")
        assert (again.code, again.error["code"]) == (4, "review_closed")
        work()
        assert cli("reviews", "show", "ACME", "1", "--json").result["status"] == "READY_FOR_SALES_CHANNEL"
        assert "approved" in cli("reviews", "show", "ACME", "1").out

    def test_a_denial_is_told_with_its_reason(
        self, cli: Cli, work: Callable[[], None], send: Callable[..., None]
    ) -> None:
        cli("channels", "connect", "ACME", "ECOM", "--review")

        def ask(name: str) -> str:
            send(name=name)
            work()
            (review,) = cli("reviews", "list", "--json").result["reviews"]
            return str(review["reviewId"])

        assert cli("reviews", "deny", ask("One title"), "--reason", "A brand").out.startswith("Denied 1 of ACME.")
        number = ask("Another title")
        assert cli("reviews", "approve", number).out.startswith("Approved 1 of ACME.")
        out = cli("reviews", "list", "--status", "denied", "--json").result["reviews"]
        assert [(it["name"], it["reason"]) for it in out] == [("One title", "A brand")]
        ended = cli("reviews", "deny", number, "--reason", " ", "--json")
        assert (ended.code, ended.error["errors"][0]["path"]) == (2, "reason")

    def test_why_something_is_denied_is_shown(
        self, cli: Cli, work: Callable[[], None], send: Callable[..., None]
    ) -> None:
        send(name="Vape pen", description=None)
        work()
        out = cli("reviews", "show", "ACME", "1", "--json").result
        assert list(out) == ["merchantId", "skuId", "status", "rulesVersion", "judgedAt", "reasons", "reviews"]
        assert (out["status"], out["rulesVersion"], out["reviews"]) == ("DENIED_REGULATORY", "2026-11-25", [])
        assert [(it["code"], it["country"]) for it in out["reasons"]] == [("electronic_cigarettes", "BR")]
        shown = cli("reviews", "show", "ACME", "1").out
        assert "electronic cigarettes may not be sold" in shown
        send()
        work()
        assert "The rules found nothing wrong." in cli("reviews", "show", "ACME", "1").out
        send(images=[])
        work()
        assert cli("reviews", "show", "ACME", "1").out.splitlines()[-1].split()[:3] == ["images", "missing", "all"]

    def test_what_nobody_looked_at_is_not_found(self, cli: Cli) -> None:
        assert cli("reviews", "show", "ACME", "1", "--json").error["code"] == "not_judged"
        assert cli("reviews", "approve", "1", "--json").error["code"] == "review_not_found"

    def test_recheck_takes_one_merchant_or_all(self, cli: Cli, work: Callable[[], None]) -> None:
        cli("merchants", "register", "OTHER", "--name", "Other", "--no-credentials")
        assert cli("reviews", "recheck", "--json").result == {"merchants": ["ACME", "OTHER"]}
        assert cli("reviews", "recheck").out == "The SKUs of 2 merchants are looked at again.\n"
        assert cli("reviews", "recheck", "--merchant", "ACME").out == "The SKUs of 1 merchant are looked at again.\n"
        assert cli("reviews", "recheck", "--merchant", "NOBODY").code == 3
        work()
        records = cli("audit", "list", "--json").result["records"]
        assert [it["merchantId"] for it in records if it["action"] == "reviews.recheck"] == [
            "ACME", "OTHER", "ACME", "OTHER", "ACME",
        ]  # fmt: skip

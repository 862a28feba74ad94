"""What the rules that come with the server find, and how a version of them is chosen and refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecross_server.catalog.schemas import read_sku
from ecross_server.kit.errors import ConflictError
from ecross_server.localization import rules
from ecross_server.localization.errors import UnusableRulesError
from ecross_server.localization.rules import Content, Opinion, Reason, ReviewStatus, RuleBook, Verdict
from ecross_server.localization.service import BOOKS, load_rule_books

(BOOK,) = load_rule_books()
GOOD = Content(
    "USB charger type C", "Charges fast.\nHas two ports.", "850440", ["https://img.test/1.jpeg"], {"size": "2 m"}
)
DEMO = Path(__file__).parents[2] / "src/ecross_server/cli/demo_skus.jsonl"


def content(**changes: Any) -> Content:
    return Content(**{name: changes.get(name, getattr(GOOD, name)) for name in Content.__dataclass_fields__})


def judge(it: Content, *countries: str, book: RuleBook = BOOK, **options: Any) -> Verdict:
    usual: dict[str, Any] = {"is_judged_before": False, "needs_review": False, "opinion": Opinion()}
    return rules.judge(book, it, countries=countries or ("BR",), **usual | options)


def found(it: Content, *countries: str) -> tuple[str, set[tuple[str, str]]]:
    verdict = judge(it, *countries)
    return verdict.status, {(reason.field, reason.code) for reason in verdict.reasons}


class TestContent:
    def test_the_published_example_passes(self) -> None:
        assert judge(GOOD) == Verdict("READY_FOR_SALES_CHANNEL")

    @pytest.mark.parametrize("line", DEMO.read_bytes().splitlines(), ids=range(12))
    def test_the_demo_passes(self, line: bytes) -> None:
        sku = read_sku(line)
        its = Content(sku.name, sku.description, sku.hs_code, sku.images, sku.sale_channel_data or {}, siblings=3)
        assert judge(its) == Verdict("READY_FOR_SALES_CHANNEL")

    @pytest.mark.parametrize(
        ("changes", "field", "code"),
        [
            ({"name": "a"}, "name", "too_short"),
            ({"name": "- a . -"}, "name", "too_short"),
            ({"name": "a" * 251}, "name", "too_long"),
            ({"name": "Test product"}, "name", "placeholder"),
            ({"name": "  TODO! "}, "name", "placeholder"),
            ({"name": "LOREM  ipsum dolor"}, "name", "placeholder"),
            ({"name": "t\u200best"}, "name", "placeholder"),
            ({"description": None}, "description", "missing"),
            ({"description": " \n"}, "description", "missing"),
            ({"description": "Nice"}, "description", "too_short"),
            ({"description": "N/A"}, "description", "placeholder"),
            ({"description": "Here: insert text here."}, "description", "placeholder"),
            ({"images": []}, "images", "missing"),
            ({"hs_code": "610910", "data": {}}, "size", "missing"),
            ({"hs_code": "640411", "data": {"size": ""}}, "size", "missing"),
            ({"siblings": 2, "data": {"brand": "B"}}, "size", "variant_not_told"),
        ],
    )
    def test_what_is_incomplete_or_wrong_is_denied(self, changes: dict[str, Any], field: str, code: str) -> None:
        assert found(content(**changes)) == ("REVIEW_DENIED", {(field, code)})

    @pytest.mark.parametrize(
        "changes",
        [
            {"name": "Çay"},
            {"name": "雨傘", "description": "純棉毛巾 柔軟"},
            {"name": "\uff35 \uff33 \uff22"},
            {"name": "Tester of contests"},
            {"name": "a" * 250},
            {"description": "x" * 5},
            {"siblings": 2, "data": {"color": "silver"}},
            {"hs_code": None, "data": {}},
            {"hs_code": "640699", "data": {}},
            {"hs_code": "621410", "data": {}},
        ],
    )
    def test_what_is_unusual_passes(self, changes: dict[str, Any]) -> None:
        assert found(content(**changes)) == ("READY_FOR_SALES_CHANNEL", set())

    def test_what_a_version_does_not_need_may_be_missing(self) -> None:
        lenient = BOOK.content.model_copy(update={"description_needed": False, "image_needed": False})
        book = BOOK.model_copy(update={"content": lenient})
        assert judge(content(description=None, images=[]), book=book) == Verdict("READY_FOR_SALES_CHANNEL")

    @pytest.mark.parametrize(
        ("name", "codes"),
        [
            ("Зарядное устройство", ["no_latin_letters"]),
            ("充電器 123", ["no_latin_letters"]),
            ("充電器 USB", []),
            ("\uff35 \uff33 \uff22", []),
        ],
    )
    def test_a_version_may_need_latin_letters(self, name: str, codes: list[str]) -> None:
        strict = BOOK.content.model_copy(update={"title_needs_latin_letters": True})
        verdict = judge(content(name=name), book=BOOK.model_copy(update={"content": strict}))
        assert [reason.code for reason in verdict.reasons] == codes

    def test_all_that_is_wrong_is_told(self) -> None:
        status, reasons = found(content(name="x" * 300, description="", images=[]))
        assert status == "REVIEW_DENIED"
        assert reasons == {("name", "too_long"), ("description", "missing"), ("images", "missing")}


class TestForbidden:
    @pytest.mark.parametrize(
        ("changes", "code", "field"),
        [
            ({"hs_code": "930200"}, "arms", "HS code"),
            ({"name": "Hunting ammunition"}, "arms", "name"),
            ({"data": {"size": "S", "category": "Casa/Munições"}}, "arms", "category"),
            ({"hs_code": "360410"}, "explosives", "HS code"),
            ({"name": "CANNABIS seeds"}, "narcotics", "name"),
            ({"hs_code": "010620"}, "live_animals", "HS code"),
            ({"name": "Live-bait: 50 worms"}, "live_animals", "name"),
            ({"hs_code": "05071000"}, "protected_species", "HS code"),
            ({"hs_code": "490700"}, "money", "HS code"),
            ({"hs_code": "284410"}, "radioactive", "HS code"),
            ({"hs_code": "12079100"}, "poppy_seeds", "HS code"),
            ({"hs_code": "240220"}, "tobacco", "HS code"),
            ({"name": "Cigarro de palha"}, "tobacco", "name"),
            ({"name": "E-cigarette"}, "electronic_cigarettes", "name"),
            ({"name": "Cigarro eletronico"}, "electronic_cigarettes", "name"),
            ({"hs_code": "300490"}, "medicines", "HS code"),
            ({"hs_code": "630900"}, "used_clothing", "HS code"),
        ],
    )
    def test_what_may_not_be_sold_is_denied(self, changes: dict[str, Any], code: str, field: str) -> None:
        status, reasons = found(content(**changes))
        assert status == "DENIED_REGULATORY"
        assert (field, code) in reasons

    @pytest.mark.parametrize(
        "name",
        [
            "Charger for the cigarette lighter",
            "Water pistol",
            "Pistola",
            "Armchair",
            "Sofa, tobacco brown",
            "Vapes2000",
        ],
    )
    def test_what_only_sounds_alike_passes(self, name: str) -> None:
        assert found(content(name=name)) == ("READY_FOR_SALES_CHANNEL", set())

    def test_a_forbidden_word_beside_an_exception_counts(self) -> None:
        assert found(content(name="Cigarette lighter with cigarettes"))[0] == "DENIED_REGULATORY"

    def test_what_one_country_allows_is_ready_with_the_reasons_of_the_others(self) -> None:
        verdict = judge(content(name="Vape pen"), "BR", "CA")
        assert verdict.status == "READY_FOR_SALES_CHANNEL"
        assert {reason.country for reason in verdict.reasons} == {"BR", "MX"}

    def test_what_no_country_allows_is_denied_with_the_reasons_of_these(self) -> None:
        verdict = judge(content(name="Vape pen"), "BR", "MX")
        assert verdict.status == "DENIED_REGULATORY"
        assert judge(content(name="Vape pen"), "CA").status == "READY_FOR_SALES_CHANNEL"
        assert {reason.country for reason in judge(content(name="Vape pen"), "MX").reasons} == {"MX"}

    def test_the_law_comes_before_the_text(self) -> None:
        assert found(content(name="Firearm", images=[]))[0] == "DENIED_REGULATORY"

    @given(st.text(max_size=60))
    def test_no_text_is_too_strange(self, text: str) -> None:
        assert judge(content(name=text, description=text, data={"category": text})).status


class TestReviews:
    def test_nobody_is_asked_where_nobody_sells(self) -> None:
        verdict = rules.judge(BOOK, GOOD, countries=(), is_judged_before=False, needs_review=True, opinion=Opinion())
        assert verdict == Verdict("LOCALIZATION_SKIPPED")

    @pytest.mark.parametrize(
        ("options", "status", "asks"),
        [
            ({}, "PENDING_LOCALIZATION", True),
            ({"opinion": Opinion(ReviewStatus.WAITING)}, "PENDING_LOCALIZATION", True),
            ({"opinion": Opinion(ReviewStatus.SUPERSEDED)}, "PENDING_LOCALIZATION", True),
            ({"opinion": Opinion(ReviewStatus.APPROVED)}, "READY_FOR_SALES_CHANNEL", False),
            ({"opinion": Opinion(ReviewStatus.DENIED, "ugly")}, "REVIEW_DENIED", False),
            ({"opinion": Opinion(ReviewStatus.DENIED, "ugly"), "needs_review": False}, "REVIEW_DENIED", False),
            ({"is_judged_before": True}, "READY_FOR_SALES_CHANNEL", False),
        ],
    )
    def test_a_person_is_asked_once(self, options: dict[str, Any], status: str, asks: bool) -> None:  # noqa: FBT001
        verdict = judge(GOOD, **{"needs_review": True} | options)
        assert (verdict.status, verdict.asks) == (status, asks)

    def test_nobody_is_asked_about_what_the_rules_deny(self) -> None:
        assert not judge(content(images=[]), needs_review=True).asks


class TestReasons:
    def test_they_survive_being_kept(self) -> None:
        for reason in (Reason("name", "code", "why"), Reason("", "code", "why", "BR")):
            assert Reason.from_json(reason.to_json()) == reason

    def test_they_are_described_within_bounds(self) -> None:
        assert rules.described([Reason("a", "c", "is x"), Reason("", "c", "y")]) == "a: is x; y"
        assert len(rules.described([Reason("a", "c", "x" * 600)])) == rules.LONGEST_REASON


class TestBooks:
    @pytest.fixture
    def write(self, tmp_path: Path) -> Callable[..., Path]:
        """Writes a version of the rules, changed, into a folder."""

        def write(version: str = "2026-11-25", old: str = "", new: str = "", name: str | None = None) -> Path:
            text = (BOOKS / "2026-11-25.toml").read_text(encoding="utf-8")
            text = text.replace("version = 2026-11-25", f"version = {version}").replace(old or "\0", new)
            (tmp_path / (name or f"{version}.toml")).write_text(text, encoding="utf-8")
            return tmp_path

        return write

    def test_the_newest_that_is_in_force_counts(self, write: Callable[..., Path]) -> None:
        write("2026-12-24", "shortest_title = 2", "shortest_title = 30")
        books = load_rule_books(write("2026-11-25"))
        assert [book.version for book in books] == [date(2026, 11, 25), date(2026, 12, 24)]
        for day, version in ((date(2026, 1, 1), 25), (date(2026, 12, 23), 25), (date(2026, 12, 24), 24)):
            assert rules.book_in_force(books, day).version.day == version
        old, new = (judge(GOOD, book=book).status for book in books)
        assert (old, new) == ("READY_FOR_SALES_CHANNEL", "REVIEW_DENIED")

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("shortest_title = 2", "shortest_title = 0", "content.shortest_title"),
            ("shortest_title = 2", "shortest_tittle = 2", "content.shortest_tittle"),
            ('hs_codes = ["93"]', 'hs_codes = ["x"]', "forbidden.0.hs_codes.0"),
            ('hs_codes = ["120791"]', "", "needs hs_codes or words"),
            ("[content]", "[content", "it is no TOML"),
        ],
    )
    def test_what_cannot_be_used_is_told(self, write: Callable[..., Path], old: str, new: str, reason: str) -> None:
        with pytest.raises(UnusableRulesError, match=r"2026-11-25\.toml cannot be used") as caught:
            load_rule_books(write("2026-11-25", old, new))
        assert reason in caught.value.message
        assert isinstance(caught.value, ConflictError)

    def test_a_file_is_named_by_its_version(self, write: Callable[..., Path]) -> None:
        with pytest.raises(UnusableRulesError, match="its version is 2026-11-25"):
            load_rule_books(write(name="2026-11-26.toml"))

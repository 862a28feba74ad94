"""Pure decisions: what the rules of a version find of a SKU, and where that leaves it."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ecross_server.catalog.rules import (
    DENIED_REGULATORY,
    LOCALIZATION_SKIPPED,
    PENDING_LOCALIZATION,
    READY_FOR_SALES_CHANNEL,
    REVIEW_DENIED,
)

EVERYWHERE: Final = ""
"""The country of a reason that holds in all of them."""

LONGEST_REASON: Final = 500

TEXTS_KEPT: Final = 64
"""Of so many the words are remembered: SKUs of a product tell the same of much."""

WORD_CHARACTERS: Final = re.compile(r"[^\W_]+")
LATIN: Final = re.compile(r"[A-Za-z]")


class ReviewStatus(StrEnum):
    """Where a review stands. One whose SKU has changed or gone is superseded: nobody need decide it."""

    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class SkusJudged:
    """It was decided where these SKUs, which are locked, stand, or some are gone. Told to whoever subscribed."""

    merchant_id: str
    skus: Sequence[Any]  # rows of the catalog
    at: datetime


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a SKU is not shown: which field, which rule, in words, and in which country if not in all."""

    field: str
    code: str
    message: str
    country: str = EVERYWHERE

    def to_json(self) -> dict[str, str]:
        """As it is kept."""
        kept = {"field": self.field, "code": self.code, "message": self.message}
        return kept | ({"country": self.country} if self.country else {})

    @classmethod
    def from_json(cls, kept: Mapping[str, str]) -> Reason:
        """What `to_json` gave."""
        return cls(**kept)


@dataclass(frozen=True, slots=True)
class Content:
    """What is looked at of a SKU. `siblings` is how many SKUs its product has."""

    name: str
    description: str | None
    hs_code: str | None
    images: Sequence[str]
    data: Mapping[str, Any]
    siblings: int = 1


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a person said of the same content before; `None` where nobody was asked."""

    status: ReviewStatus | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a SKU stands, why, and whether a person has to be asked."""

    status: str
    reasons: tuple[Reason, ...] = ()
    asks: bool = False


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Country = Annotated[str, Field(pattern="^[A-Z]{2}$")]
HsPrefix = Annotated[str, Field(pattern="^[0-9]{2,10}$")]
Phrase = Annotated[str, Field(min_length=2)]


class ContentRules(_Table):
    """What a SKU must tell shoppers."""

    shortest_title: int = Field(ge=1)
    longest_title: int = Field(ge=1)
    shortest_description: int = Field(ge=0)
    title_needs_latin_letters: bool
    description_needed: bool
    image_needed: bool
    variants_need: tuple[Annotated[str, Field(pattern="^(size|color)$")], ...]
    size_needed_for: tuple[HsPrefix, ...]
    placeholders: tuple[Phrase, ...]
    placeholder_parts: tuple[Phrase, ...]

    def is_placeholder(self, text: str) -> bool:
        """Whether the text only stands where another one should."""
        plain = plain_words(text)
        return plain in self._wholes or self._parts.search(plain) is not None

    @functools.cached_property
    def _wholes(self) -> frozenset[str]:
        return frozenset(map(plain_words, self.placeholders))

    @functools.cached_property
    def _parts(self) -> re.Pattern[str]:
        return any_of(self.placeholder_parts)


class Forbidden(_Table):
    """What may not be sold, everywhere or to some countries."""

    code: Annotated[str, Field(pattern="^[a-z_]+$")]
    message: Annotated[str, Field(min_length=1, max_length=200)]
    countries: tuple[Country, ...] = ()
    hs_codes: tuple[HsPrefix, ...] = ()
    words: tuple[Phrase, ...] = ()
    unless: tuple[Phrase, ...] = ()

    @model_validator(mode="after")
    def _forbids_something(self) -> Forbidden:
        if not self.hs_codes and not self.words:
            raise ValueError("a rule needs hs_codes or words")
        return self

    def finds_in(self, plain: str) -> bool:
        """Whether one of the words is among plain words; what is among the exceptions does not count."""
        if self._words.search(plain) is None:
            return False
        return self._words.search(self._unless.sub(" ", plain)) is not None

    @functools.cached_property
    def _words(self) -> re.Pattern[str]:
        return any_of(self.words)

    @functools.cached_property
    def _unless(self) -> re.Pattern[str]:
        return any_of(self.unless)


class RuleBook(_Table):
    """The rules of one version, which is the day from which they are in force."""

    version: date
    content: ContentRules
    forbidden: tuple[Forbidden, ...]


def book_in_force(books: Collection[RuleBook], day: date) -> RuleBook:
    """The newest rules that are in force on the day; the oldest ones before any are."""
    begun = [book for book in books if book.version <= day]
    return max(begun, key=lambda book: book.version) if begun else min(books, key=lambda book: book.version)


def judge(
    book: RuleBook,
    content: Content,
    *,
    countries: Collection[str],
    is_judged_before: bool,
    needs_review: bool,
    opinion: Opinion,
) -> Verdict:
    """Where a SKU that is to be sold to these countries stands.

    A person is asked if it is needed, for what the rules let pass and nobody has let pass before.
    """
    if not countries:
        return Verdict(LOCALIZATION_SKIPPED)
    forbidden = tuple(find_forbidden(book, content))
    denied = [one for one in forbidden if one.country in countries or one.country == EVERYWHERE]
    open_countries = {it for it in countries if not any(one.country in {EVERYWHERE, it} for one in denied)}
    if not open_countries:
        return Verdict(DENIED_REGULATORY, tuple(denied))
    wrong = tuple(find_wrong_content(book.content, content))
    if wrong:
        return Verdict(REVIEW_DENIED, wrong)
    if opinion.status is ReviewStatus.DENIED:
        return Verdict(REVIEW_DENIED, (Reason("", "review", opinion.reason or ""),))
    if needs_review and not is_judged_before and opinion.status is not ReviewStatus.APPROVED:
        return Verdict(PENDING_LOCALIZATION, asks=True)
    return Verdict(READY_FOR_SALES_CHANNEL, forbidden)


def find_forbidden(book: RuleBook, content: Content) -> Iterator[Reason]:
    """Why the SKU may not be sold, in which countries."""
    texts = {"name": plain_words(content.name), "category": plain_words(content.data.get("category") or "")}
    for rule in book.forbidden:
        if field := _where_forbidden(rule, content.hs_code or "", texts):
            for country in rule.countries or (EVERYWHERE,):
                yield Reason(field, rule.code, rule.message, country)


def find_wrong_content(rules: ContentRules, content: Content) -> Iterator[Reason]:
    """What the SKU fails to tell shoppers."""
    yield from _wrong_title(rules, content.name)
    yield from _wrong_description(rules, content.description)
    if rules.image_needed and not content.images:
        yield Reason("images", "missing", "at least one is needed")
    data = content.data
    if (content.hs_code or "").startswith(rules.size_needed_for) and not data.get("size"):
        yield Reason("size", "missing", "is needed for clothing and shoes")
    needed = rules.variants_need
    if content.siblings > 1 and needed and not any(data.get(name) for name in needed):
        message = f"{' or '.join(needed)} must tell this SKU from the others of its product"
        yield Reason(needed[0], "variant_not_told", message)


def digest_of(values: Mapping[str, Any]) -> bytes:
    """What stands for a content: the same values give the same."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).digest()


def described(reasons: Sequence[Reason]) -> str:
    """Reasons in words, for the merchant."""
    text = "; ".join(f"{one.field}: {one.message}" if one.field else one.message for one in reasons)
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 1]}…"


@functools.lru_cache(maxsize=TEXTS_KEPT)
def plain_words(text: str) -> str:
    """The text's words in small letters without accents, with one space between, before and after them."""
    folded = text.lower()
    if not text.isascii():
        folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        # Marks and invisible characters would tear words apart.
        folded = "".join(one for one in folded if unicodedata.category(one) not in {"Mn", "Cf"})
    return f" {' '.join(WORD_CHARACTERS.findall(folded))} "


def any_of(phrases: Sequence[str]) -> re.Pattern[str]:
    """Finds any of the phrases among plain words; none finds nothing."""
    return re.compile("|".join(re.escape(plain_words(phrase)) for phrase in phrases) or r"(?!)")


def _where_forbidden(rule: Forbidden, hs_code: str, texts: Mapping[str, str]) -> str:
    if hs_code.startswith(rule.hs_codes):
        return "HS code"
    return next((field for field, plain in texts.items() if rule.finds_in(plain)), "")


def _wrong_title(rules: ContentRules, title: str) -> Iterator[Reason]:
    if rules.is_placeholder(title):
        yield Reason("name", "placeholder", "is a placeholder")
    elif sum(map(len, WORD_CHARACTERS.findall(title))) < rules.shortest_title:
        yield Reason("name", "too_short", f"must have at least {rules.shortest_title} letters or digits")
    elif rules.title_needs_latin_letters and not LATIN.search(unicodedata.normalize("NFKD", title)):
        yield Reason("name", "no_latin_letters", "must have Latin letters")
    if len(title) > rules.longest_title:
        yield Reason("name", "too_long", f"must not be longer than {rules.longest_title} characters")


def _wrong_description(rules: ContentRules, description: str | None) -> Iterator[Reason]:
    text = (description or "").strip()
    if not text:
        if rules.description_needed:
            yield Reason("description", "missing", "is needed")
    elif rules.is_placeholder(text):
        yield Reason("description", "placeholder", "is a placeholder")
    elif len(text) < rules.shortest_description:
        yield Reason("description", "too_short", f"must have at least {rules.shortest_description} characters")

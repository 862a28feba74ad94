"""What the server takes for a product, and how it says what is wrong with one: its paths, its sentences, its order.

Held against the server by `tests/contract`. The server alone decides; this tells beforehand what it will say.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from ecross.errors import FieldError

LONGEST_ID: Final = 128
LONGEST_TEXT: Final = 500
LONGEST_DESCRIPTION: Final = 50_000
LONGEST_CODE: Final = 32
LONGEST_ADDRESS: Final = 2048
MOST_IMAGES: Final = 100
MOST_ATTRIBUTES: Final = 200
MOST_SKUS: Final = 2000
MOST_FAULTS: Final = 1000
"""So many faults of one body are listed."""

MOST_DIGITS: Final = 15
MOST_DECIMALS: Final = 6

# Unicode's White_Space: what `\s` is to the server, which is not all that it is to `re`.
SPACE: Final = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
ID: Final = re.compile(f"[^{SPACE}/\\x00-\\x1f\\x7f-\\x9f]+")
ARTICLE_NUMBER: Final = re.compile(r"[0-9]{8}|[0-9]{12,13}")
BOOK_NUMBER: Final = re.compile(r"[0-9]+(?:-[0-9]+)*-?[0-9X]")
HS_CODE: Final = re.compile(r"(?!00)[0-9]{6,10}")
ADDRESS: Final = re.compile(r"https://[!-~]+")
HOST_NAME: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?P<top>[a-z](?:[a-z0-9-]{0,61}[a-z0-9]))")
LONGEST_HOST_NAME: Final = 253
INSIDE: Final = frozenset(
    {"arpa", "corp", "home", "internal", "intranet", "lan", "local", "localdomain", "localhost", "onion", "private"}
)
"""Names that end so mean something within a network or a machine only."""

ISBN_10, ISBN_13, SBN = 10, 13, 9  # so many digits each has

Check = Callable[[object, str], Iterator[FieldError]]
"""Gives the faults of a value, which stands at that path."""


class Field(NamedTuple):
    """A member of an object."""

    check: Check
    is_required: bool = False
    may_be_null: bool = True


def check_product(body: object) -> list[FieldError]:
    """The faults for which the server would refuse this body of an upsert, in its order; none if it would take it.

    `body` is what JSON stands for, with any kind of number: a list of objects as the wire spells them. No fault repeats
    a value.
    """
    if not isinstance(body, list):
        return [FieldError("", "Input should be an array of SKUs")]
    if not 1 <= len(body) <= MOST_SKUS:
        return [FieldError("", f"must hold 1 to {MOST_SKUS} SKUs")]
    faults = list(_check_across(body))
    for place, sku in enumerate(body):
        faults += _check_object(sku, str(place), SKU)
        if len(faults) >= MOST_FAULTS:
            break
    return faults[:MOST_FAULTS]


def _check_across(body: Sequence[object]) -> Iterator[FieldError]:
    """What one SKU makes a fault of another."""
    product_id: str | None = None
    seen: set[str] = set()
    has_main = False
    for place, sku in enumerate(body):
        if not isinstance(sku, Mapping):
            continue
        if isinstance(told := sku.get("productId"), str):
            product_id = told if product_id is None else product_id
            if told != product_id:
                yield FieldError(f"{place}.productId", "must be that of the first SKU")
        if isinstance(sku_id := sku.get("skuId"), str):
            if sku_id in seen:
                yield FieldError(f"{place}.skuId", "is that of a SKU before it")
            seen.add(sku_id)
        if sku.get("main") is True:
            if has_main:
                yield FieldError(f"{place}.main", "must be true for one SKU of a product alone")
            has_main = True


def _check_object(value: object, path: str, fields: Mapping[str, Field]) -> Iterator[FieldError]:
    if not isinstance(value, Mapping):
        yield FieldError(path, "Input should be an object")
        return
    for name, field in fields.items():
        place = f"{path}.{name}"
        if name not in value:
            if field.is_required:
                yield FieldError(place, "Field required")
        elif value[name] is not None or not field.may_be_null:
            yield from field.check(value[name], place)


def _object(fields: Mapping[str, Field]) -> Check:
    return lambda value, path: _check_object(value, path, fields)


def _list(entry: Check, *, most: int) -> Check:
    def check(value: object, path: str) -> Iterator[FieldError]:
        if not isinstance(value, (list, tuple)):
            yield FieldError(path, "Input should be a valid list")
        elif len(value) > most:
            yield FieldError(path, f"List should have at most {most} items after validation, not {len(value)}")
        else:
            for place, each in enumerate(value):
                yield from entry(each, f"{path}.{place}")

    return check


def _one(fault_of: Callable[[object], str | None]) -> Check:
    """Checks a value that has one fault at most."""

    def check(value: object, path: str) -> Iterator[FieldError]:
        if (fault := fault_of(value)) is not None:
            yield FieldError(path, fault)

    return check


def _text(*, least: int = 0, most: int | None = None, form: Callable[[str], str | None] | None = None) -> Check:
    def fault_of(value: object) -> str | None:
        if not isinstance(value, str):
            return "Input should be a valid string"
        if most is not None and len(value) > most:
            return f"String should have at most {most} characters"
        if len(value) < least:
            return "String should have at least 1 character"
        return None if form is None else form(value)

    return _one(fault_of)


def _number(*, is_positive: bool) -> Check:
    def fault_of(value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
            return "Input should be a number"
        number = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
        if not number.is_finite():
            return "Input should be a finite number"
        if (fault := _too_long(number)) is not None:
            return fault
        if is_positive:
            return None if number > 0 else "Input should be greater than 0"
        return None if number >= 0 else "Input should be greater than or equal to 0"

    return _one(fault_of)


def _too_long(number: Decimal) -> str | None:
    digits, decimals = _size(number)
    if digits > MOST_DIGITS:
        return f"Decimal input should have no more than {MOST_DIGITS} digits in total"
    if decimals > MOST_DECIMALS:
        return f"Decimal input should have no more than {MOST_DECIMALS} decimal places"
    if digits - decimals > MOST_DIGITS - MOST_DECIMALS:
        most = MOST_DIGITS - MOST_DECIMALS
        return f"Decimal input should have no more than {most} digits before the decimal point"
    return None


def _size(number: Decimal) -> tuple[int, int]:
    """How many digits a number takes when it is written out, and how many of them behind the point."""
    _, digits, exponent = number.as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    if not text or not isinstance(exponent, int):  # no exponent of a finite number is anything else
        return 1, 0
    exponent += len(digits) - len(text)
    if exponent >= 0:
        return len(text) + exponent, 0
    return max(len(text), -exponent), -exponent


def _truth(value: object) -> str | None:
    return None if isinstance(value, bool) else "Input should be a valid boolean"


def _without_nul(text: str) -> str | None:
    return "must not contain the NUL character" if "\0" in text else None


def id_fault(text: str) -> str | None:
    """What is wrong with the form of an id, if anything is."""
    return None if ID.fullmatch(text) else r"String should match pattern '^[^\s/\x00-\x1f\x7f-\x9f]+$'"


def _article_number(text: str) -> str | None:
    if ARTICLE_NUMBER.fullmatch(text):
        is_right = _has_check_digit(text)
    else:
        is_right = BOOK_NUMBER.fullmatch(text) is not None and _is_book_number(text.replace("-", ""))
    return None if is_right else "must be an EAN-8, EAN-13, UPC-A or ISBN with the right check digit"


def _has_check_digit(number: str) -> bool:
    """Whether the digits, weighted 1 and 3 in turn from the last one, make a multiple of ten."""
    return sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(reversed(number))) % 10 == 0


def _is_book_number(number: str) -> bool:
    if len(number) == ISBN_13:
        return number.startswith(("978", "979")) and number.isdigit() and _has_check_digit(number)
    if len(number) == SBN:  # an ISBN of before 1970
        number = f"0{number}"
    # Digits weighted 1 to 10 from the last one make a multiple of eleven; X is ten.
    weighted = ((10 if digit == "X" else int(digit)) * weight for weight, digit in enumerate(reversed(number), 1))
    return len(number) == ISBN_10 and sum(weighted) % 11 == 0


def _hs_code(text: str) -> str | None:
    return None if HS_CODE.fullmatch(text) else "must be an HS code of 6 to 10 digits"


def _address(text: str) -> str | None:
    return None if _is_public(text) else "must be an https address of a public host by its name"


def _is_public(address: str) -> bool:
    if not ADDRESS.fullmatch(address):
        return False
    try:
        parts = urlsplit(address)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        return False
    name = HOST_NAME.fullmatch(host)
    if name is None or len(host) > LONGEST_HOST_NAME or name["top"] in INSIDE:
        return False
    # Parsers differ on where the host ends if there is a user before it, or a backslash anywhere.
    return "@" not in parts.netloc and "\\" not in address


_ID: Final = Field(_text(least=1, most=LONGEST_ID, form=id_fault), is_required=True, may_be_null=False)
_TEXT: Final = _text(least=1, most=LONGEST_TEXT, form=_without_nul)
_MEASURE: Final = Field(_number(is_positive=True))
_PRICE: Final = Field(_number(is_positive=False))

ATTRIBUTE: Final[Mapping[str, Field]] = {
    "name": Field(_TEXT, is_required=True, may_be_null=False),
    "value": Field(_TEXT, is_required=True, may_be_null=False),
}
SALE_CHANNEL_DATA: Final[Mapping[str, Field]] = {
    "active": Field(_one(_truth)),
    "brand": Field(_TEXT),
    "size": Field(_TEXT),
    "color": Field(_TEXT),
    "category": Field(_TEXT),
    "attributes": Field(_list(_object(ATTRIBUTE), most=MOST_ATTRIBUTES)),
}
SKU: Final[Mapping[str, Field]] = {
    "skuId": _ID,
    "productId": _ID,
    "main": Field(_one(_truth), may_be_null=False),
    "name": Field(_TEXT, is_required=True, may_be_null=False),
    "description": Field(_text(most=LONGEST_DESCRIPTION, form=_without_nul)),
    "weight": _MEASURE,
    "height": _MEASURE,
    "width": _MEASURE,
    "length": _MEASURE,
    "ean": Field(_text(most=LONGEST_CODE, form=_article_number)),
    "hscode": Field(_text(form=_hs_code)),
    "localizedListPriceWithTaxes": _PRICE,
    "localizedSalePriceWithTaxes": _PRICE,
    "globalSaleChannelData": Field(_object(SALE_CHANNEL_DATA)),
    "images": Field(_list(_text(most=LONGEST_ADDRESS, form=_address), most=MOST_IMAGES), may_be_null=False),
}
"""The fields in the order in which the server looks at them."""

"""Reading of JSON from the API: what is there must be of its type, what is missing or null is `None`.

A newer server may add fields; they are let through. No error tells a value.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

T = TypeVar("T")

_MOST_DIGITS = 18
_NAMES: dict[type, str] = {str: "a string", bool: "true or false", list: "a list", dict: "an object"}


class UnexpectedFormError(Exception):
    """An answer that is not what the API promises; the message names the place."""


class WireObject:
    """One JSON object of an answer, and where in the answer it stands."""

    __slots__ = ("_members", "_place")

    def __init__(self, value: object, place: str = "") -> None:
        if not isinstance(value, dict):
            raise UnexpectedFormError(f"{place or 'the answer'} is not an object")
        self._members: Mapping[str, object] = value
        self._place = place

    @property
    def members(self) -> Mapping[str, object]:
        """All of it, as it came."""
        return self._members

    def text(self, name: str) -> str | None:
        """A string."""
        return self._typed(name, str)

    def required_text(self, name: str) -> str:
        """A string that must be there."""
        value = self.text(name)
        if value is None:
            raise self._unexpected(name, "is missing")
        return value

    def truth(self, name: str) -> bool | None:
        """True or false."""
        return self._typed(name, bool)

    def number(self, name: str) -> Decimal | None:
        """A number, exact."""
        value = self._members.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise self._unexpected(name, "is not a number")
        return Decimal(value)

    def whole_number(self, name: str) -> int | None:
        """A number without a fraction; JSON has one kind of number, so 3.0 is one."""
        value = self.number(name)
        if value is None:
            return None
        # Short ones alone: the exponent of a large one would take all memory.
        if value.adjusted() > _MOST_DIGITS or value != value.to_integral_value():
            raise self._unexpected(name, "is not a whole number")
        return int(value)

    def required_whole_number(self, name: str) -> int:
        """A number without a fraction that must be there."""
        value = self.whole_number(name)
        if value is None:
            raise self._unexpected(name, "is missing")
        return value

    def instant(self, name: str) -> datetime | None:
        """An ISO 8601 date and time; one without a zone is UTC, as the API shows all its times."""
        text = self.text(name)
        if text is None:
            return None
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            value = None
        if value is None:
            raise self._unexpected(name, "is not a date and time")
        return value if value.tzinfo else value.replace(tzinfo=UTC)

    def nested(self, name: str) -> "WireObject | None":
        """An object."""
        value = self._members.get(name)
        return None if value is None else WireObject(value, self._at(name))

    def entries(self, name: str) -> "Iterator[tuple[str, WireObject]]":
        """The names and objects of an object whose names are data; none if it is missing, null ones are left out."""
        members = self._typed(name, dict) or {}
        for index, (key, value) in enumerate(members.items()):
            if value is not None:
                yield key, WireObject(value, f"{self._at(name)}[{index}]")

    def objects(self, name: str) -> "Iterator[WireObject]":
        """The objects of a list; none if it is missing."""
        for index, value in enumerate(self._list(name)):
            yield WireObject(value, f"{self._at(name)}[{index}]")

    def required_objects(self, name: str) -> "Iterator[WireObject]":
        """The objects of a list that must be there."""
        if self._members.get(name) is None:
            raise self._unexpected(name, "is missing")
        return self.objects(name)

    def texts(self, name: str) -> tuple[str, ...]:
        """The strings of a list; none if it is missing."""
        values = self._list(name)
        if not all(isinstance(value, str) for value in values):
            raise self._unexpected(name, "is not a list of strings")
        return tuple(str(value) for value in values)

    def _list(self, name: str) -> list[object]:
        return self._typed(name, list) or []

    def _typed(self, name: str, kind: type[T]) -> T | None:
        value = self._members.get(name)
        if value is None or isinstance(value, kind):
            return value
        raise self._unexpected(name, f"is not {_NAMES[kind]}")

    def _at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name

    def _unexpected(self, name: str, fault: str) -> UnexpectedFormError:
        return UnexpectedFormError(f"{self._at(name)} {fault}")

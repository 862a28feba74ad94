"""Mappings that stay as they are."""

from typing import NoReturn, TypeVar

T = TypeVar("T")


class FrozenDict(dict[str, T]):
    """A dictionary that refuses to be changed, and can be copied, pickled and written as JSON as any other."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("this dictionary cannot be changed: make a dict of it")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type["FrozenDict[T]"], tuple[dict[str, T]]]:
        return type(self), (dict(self),)

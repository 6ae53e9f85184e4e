"""Dictionaries and lists that cannot be changed, for the properties of events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TypeError(
        "the properties of an event cannot be changed; change a copy: dict(event.properties)"
    )


class FrozenDict(dict[str, Any]):
    """A dictionary that refuses every change; see `frozen` for the values.

    Unlike `types.MappingProxyType`, it can be pickled, copied and written as JSON.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


class FrozenList(list[Any]):
    """A list that refuses every change."""

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenList, (list(self),)

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse


EMPTY = FrozenDict()


def frozen(values: Mapping[str, Any]) -> FrozenDict:
    """Return a copy of parsed JSON that refuses every change, also in its lists and objects."""
    result = FrozenDict(values)
    unfinished: list[FrozenDict | FrozenList] = [result]
    while unfinished:  # without recursion: the sender decides how deep the values are
        container = unfinished.pop()
        if isinstance(container, FrozenDict):
            for name, value in list(container.items()):
                if (copy := _copy(value)) is not None:
                    unfinished.append(copy)
                    dict.__setitem__(container, name, copy)
        else:
            for index, value in enumerate(container):
                if (copy := _copy(value)) is not None:
                    unfinished.append(copy)
                    list.__setitem__(container, index, copy)
    return result


def _copy(value: object) -> FrozenDict | FrozenList | None:
    if type(value) is dict:
        return FrozenDict(value)
    return FrozenList(value) if type(value) is list else None

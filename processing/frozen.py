"""A dictionary that cannot be changed, for the properties of events."""

from __future__ import annotations

from typing import Any, NoReturn


class FrozenDict(dict[str, Any]):
    """A dictionary that refuses every change.

    Unlike `types.MappingProxyType`, it can be pickled, copied and written as JSON.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            "the properties of an event cannot be changed; change a copy: dict(event.properties)"
        )

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


EMPTY = FrozenDict()

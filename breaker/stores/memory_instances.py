"""The registered instances of a circuit in the memory store."""

from __future__ import annotations

from breaker.registration import (
    INSTANCE_SECONDS,
    INSTANCES_MOST,
    KEPT_SECONDS,
    REGISTER_SECONDS,
    Poller,
    Seen,
)


class MemoryInstances:
    """The instances that poll a circuit, as `register.lua` stores them."""

    def __init__(self) -> None:
        self._seen_us: dict[str, int] = {}
        self._texts: dict[str, str] = {}

    def note(self, now: int, poller: Poller) -> None:
        """Note that an instance polls; `now` is the store's time in microseconds."""
        instance, text = poller
        seen = self._seen_us.get(instance)
        noted = seen is not None and 0 <= now - seen < _us(REGISTER_SECONDS)
        if noted and self._texts[instance] == text:
            return
        self._seen_us[instance], self._texts[instance] = now, text
        order = sorted(self._seen_us, key=lambda name: (self._seen_us[name], name))
        limit = now - _us(INSTANCE_SECONDS)
        for name in order[: -INSTANCES_MOST or None]:
            self._forget(name)
        for name in order[-INSTANCES_MOST:]:
            if self._seen_us[name] < limit:
                self._forget(name)

    def seen(self, now: int) -> tuple[float, list[Seen]]:
        """Return the store's time and the instances, the latest first; times are in seconds."""
        latest = max(self._seen_us.values(), default=0)
        if latest + _us(KEPT_SECONDS) <= now:
            self._seen_us.clear()
            self._texts.clear()
        order = sorted(self._seen_us.items(), key=lambda item: (item[1], item[0]), reverse=True)
        found = [Seen(name, at / 1_000_000, self._texts[name]) for name, at in order]
        return now / 1_000_000, found

    def _forget(self, name: str) -> None:
        del self._seen_us[name], self._texts[name]


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)

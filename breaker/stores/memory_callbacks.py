"""The approval callbacks of the memory store."""

from __future__ import annotations

from breaker.stores.base import CALLBACK_LIMIT, Callback


class MemoryCallbacks:
    """The callbacks by generation and address; times are microseconds of the store's clock."""

    def __init__(self) -> None:
        self._due: dict[tuple[int, str], tuple[int, int]] = {}

    def register(self, generation: int, url: str) -> bool:
        """See `CircuitStore.register_callback`."""
        key = (generation, url)
        if key not in self._due and len(self._due) >= CALLBACK_LIMIT:
            return False
        self._due.setdefault(key, (0, 0))
        return True

    def claim(self, now_us: int, passed: int, lease_seconds: float) -> list[Callback]:
        """Claim the due callbacks of generations up to `passed` until the lease ends."""
        claimed = [
            Callback(generation, url, attempts)
            for (generation, url), (due_us, attempts) in sorted(self._due.items())
            if generation <= passed and due_us <= now_us
        ]
        until_us = now_us + round(lease_seconds * 1_000_000)
        for callback in claimed:
            self._due[callback.generation, callback.url] = (until_us, callback.attempts)
        return claimed

    def settle(self, callback: Callback) -> None:
        """See `CircuitStore.settle_callback`."""
        self._due.pop((callback.generation, callback.url), None)

    def postpone(self, now_us: int, callback: Callback, delay_seconds: float) -> None:
        """See `CircuitStore.postpone_callback`."""
        key = (callback.generation, callback.url)
        if key in self._due:
            due_us = now_us + round(delay_seconds * 1_000_000)
            self._due[key] = (due_us, callback.attempts + 1)

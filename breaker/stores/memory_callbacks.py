"""The approval callbacks of the memory store."""

from __future__ import annotations

from dataclasses import dataclass, replace

from breaker.chain import FRESH_SECONDS, Waiting, WaitsFor, waiting_order
from breaker.stores.base import CALLBACK_LIMIT, Callback, Registration


@dataclass(frozen=True, slots=True)
class _Entry:
    """A registered callback; times are microseconds of the store's clock."""

    registered_us: int
    run: str
    waits_for: WaitsFor
    due_us: int = 0
    attempts: int = 0

    def is_fresh(self, now_us: int) -> bool:
        """Return whether the run still waits: a run registers again each half hour."""
        return not self.run or now_us - self.registered_us <= FRESH_SECONDS * 1_000_000


class MemoryCallbacks:
    """The callbacks by generation and address; times are microseconds of the store's clock."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, str], _Entry] = {}

    def register(self, now_us: int, registration: Registration) -> bool:
        """See `CircuitStore.register_callback`."""
        key = (registration.generation, registration.url)
        if registration.run:
            self._entries = {
                known: entry
                for known, entry in self._entries.items()
                if known == key or entry.run != registration.run
            }
        if key not in self._entries and len(self._entries) >= CALLBACK_LIMIT:
            return False
        known = self._entries.get(key)
        due_us, attempts = (known.due_us, known.attempts) if known else (0, 0)
        self._entries[key] = _Entry(
            now_us, registration.run, registration.waits_for, due_us, attempts
        )
        return True

    def has(self, generation: int) -> bool:
        """Return whether a callback of the generation is registered."""
        return any(known == generation for known, _ in self._entries)

    def waits(self, now_us: int, generation: int) -> bool:
        """Return whether a run of the generation still waits."""
        return any(
            known == generation and entry.is_fresh(now_us)
            for (known, _), entry in self._entries.items()
        )

    def forget(self, run: str) -> None:
        """See `CircuitStore.forget_run`."""
        self._entries = {key: entry for key, entry in self._entries.items() if entry.run != run}

    def claim(
        self, now_us: int, passed: int, superseded: int, lease_seconds: float
    ) -> list[Callback]:
        """Claim the due callbacks until the lease ends.

        Args:
            now_us: the time.
            passed: the latest generation that needs no approval any more.
            superseded: the latest generation whose app the run of a newer opening starts.
            lease_seconds: length of the claim.
        """
        until_us = now_us + round(lease_seconds * 1_000_000)
        self._entries = {
            key: entry for key, entry in self._entries.items() if entry.is_fresh(now_us)
        }
        claimed = []
        for (generation, url), entry in sorted(self._entries.items(), key=lambda item: item[0]):
            last = passed if entry.waits_for is WaitsFor.APPROVAL else superseded
            if generation <= last and entry.due_us <= now_us:
                claimed.append(Callback(generation, url, entry.attempts))
                self._entries[generation, url] = replace(entry, due_us=until_us)
        return claimed

    def settle(self, callback: Callback) -> None:
        """See `CircuitStore.settle_callback`."""
        self._entries.pop((callback.generation, callback.url), None)

    def postpone(self, now_us: int, callback: Callback, delay_seconds: float) -> None:
        """See `CircuitStore.postpone_callback`."""
        key = (callback.generation, callback.url)
        if (entry := self._entries.get(key)) is not None:
            due_us = now_us + round(delay_seconds * 1_000_000)
            self._entries[key] = replace(entry, due_us=due_us, attempts=callback.attempts + 1)

    def release_starts(self) -> int:
        """See `CircuitStore.release_starts`."""
        released = 0
        for key, entry in self._entries.items():
            if entry.waits_for is WaitsFor.START:
                self._entries[key] = replace(entry, waits_for=WaitsFor.APPROVAL, due_us=0)
                released += 1
        return released

    def waiting(self, now_us: int) -> tuple[Waiting, ...]:
        """Return the runs that wait, oldest registration first."""
        rows = [
            Waiting(
                generation, entry.run, entry.waits_for, entry.registered_us / 1e6, entry.attempts
            )
            for (generation, _), entry in self._entries.items()
            if entry.is_fresh(now_us)
        ]
        return tuple(sorted(rows, key=waiting_order))

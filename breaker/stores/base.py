"""What a store must do: each operation decides and writes in one atomic step."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from breaker.alerts.base import Outbox
from breaker.state import Change, Circuit, HistoryEntry, Permit, Rules

CALLBACK_LIMIT = 100
"""Callbacks that may wait for approval at a time."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Answer to somebody who wants to start.

    Attributes:
        change: the state the answer is based on.
        granted: whether the permit was given (CLOSED, or a free probe in HALF_OPEN).
        wait: seconds until a permit may be free again, when none was in HALF_OPEN.
    """

    change: Change
    granted: bool
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Callback:
    """An address to call once a generation is approved; `attempts` failed so far."""

    generation: int
    url: str
    attempts: int = 0


class CircuitStore(Outbox, Protocol):
    """Keeps one circuit. Every operation first lets the timer's transition happen if it is due.

    All raise `StoreUnavailableError` when the store cannot be asked.
    """

    @property
    def name(self) -> str:
        """The circuit's name."""
        ...

    async def snapshot(self, rules: Rules) -> Change:
        """The state now, with expired failures left out."""
        ...

    async def record_failure(
        self, rules: Rules, failure_id: str, error: str, permit: Permit
    ) -> Change:
        """Count one failure, once per id, and open the circuit if that is one too many.

        "ignored" if the permit is of another generation or the circuit is neither closed nor
        (for a probe) half-open.
        """
        ...

    async def record_successes(
        self, rules: Rules, report_id: str, count: int, permit: Permit
    ) -> Change:
        """Count successes (CLOSED, with a ratio rule; once per report id inside the window, for the
        latest `SUCCESS_REPORTS` ids) or one successful probe (HALF_OPEN).
        """
        ...

    async def acquire(self, rules: Rules, probe_id: str) -> Admission:
        """Give a permit; in HALF_OPEN a lease under `probe_id`. Repeating an id is harmless."""
        ...

    async def release(self, rules: Rules, permit: Permit) -> Change:
        """Take a probe's permit back; it counts neither way."""
        ...

    async def approve(self, rules: Rules, generation: int, by: str) -> Change:
        """Move that generation from OPEN to HALF_OPEN ("already", "stale", "isolated")."""
        ...

    async def close(self, rules: Rules, generation: int, by: str, reason: str) -> Change:
        """Close that generation by hand, whatever its state ("already", "stale")."""
        ...

    async def isolate(self, rules: Rules, by: str, reason: str) -> Change:
        """Open a new generation that stays until closed by hand ("already")."""
        ...

    async def restore(self, rules: Rules, known: Circuit) -> Change:
        """Put a later state back into a store that lost it ("ignored" if it has not)."""
        ...

    async def history(self, limit: int) -> list[HistoryEntry]:
        """The latest entries, newest first."""
        ...

    def changes(self, rules: Rules) -> AsyncGenerator[Circuit | None]:
        """States as they are pushed; None once (re)subscribed: ask, for pushes may be missed."""
        ...

    async def register_callback(self, rules: Rules, generation: int, url: str) -> bool:
        """Remember whom to call once that generation is approved; False if there are too many."""
        ...

    async def claim_callbacks(self, rules: Rules, lease_seconds: float) -> list[Callback]:
        """Callbacks of generations that went past OPEN, each claimed for `lease_seconds`."""
        ...

    async def settle_callback(self, rules: Rules, callback: Callback) -> None:
        """Forget a callback that was called (or is gone for good)."""
        ...

    async def postpone_callback(
        self, rules: Rules, callback: Callback, delay_seconds: float
    ) -> None:
        """Count a failed attempt; the callback is due again after the delay."""
        ...

    async def aclose(self) -> None:
        """Close what the store itself opened."""
        ...

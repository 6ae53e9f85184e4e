"""The protocol of a circuit store; each operation decides and writes in one atomic step."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from breaker.alerts.base import Outbox
from breaker.chain import ChainStatus, Step, WaitsFor
from breaker.notes import Report
from breaker.registration import Seen
from breaker.state import Change, Circuit, HistoryEntry, Permit, Rules

CALLBACK_LIMIT = 100
"""Greatest number of registered callbacks of one circuit."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The result of `CircuitStore.acquire`.

    Attributes:
        change: the state that the result is based on.
        granted: whether work may start (CLOSED, or a free probe in HALF_OPEN).
        wait: in HALF_OPEN without a free permit, seconds until the next lease expires; else None.
    """

    change: Change
    granted: bool
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """A callback to register.

    Attributes:
        generation: the generation whose approval the run waits for.
        url: the address to call.
        run: the workflow run; a registration replaces the run's earlier callbacks. Empty: unknown.
        waits_for: the decision that the run waits for.
    """

    generation: int
    url: str
    run: str = ""
    waits_for: WaitsFor = WaitsFor.APPROVAL


@dataclass(frozen=True, slots=True)
class Callback:
    """An address to call once a generation is approved, with the number of failed attempts."""

    generation: int
    url: str
    attempts: int = 0


class CircuitStore(Outbox, Protocol):
    """A store of one circuit. Each operation first makes the timer's transition if that is due.

    All operations raise `StoreUnavailableError` if the store does not answer, and
    `WritesRefusedError` if it takes no writes. A poll of such a store (`snapshot`, `report`) may
    return the state with `Change.refused` instead; then the store has noted nothing.
    """

    @property
    def name(self) -> str:
        """The circuit's name."""
        ...

    async def snapshot(self, rules: Rules) -> Change:
        """Return the current state, without expired failures; judge the standstill rule.

        This poll and `report` also register the instance, if the rules have a registration.
        """
        ...

    async def report(self, rules: Rules, report: Report) -> Change:
        """Note an instance's events, judge the standstill rule, and return the current state."""
        ...

    async def record_failure(
        self, rules: Rules, failure_id: str, error: str, permit: Permit
    ) -> Change:
        """Count one failure, and open the circuit if a rule is met.

        An id counts once inside the window, at its latest time. In HALF_OPEN, `PROBE_FAILURES`
        failed probes open the circuit. The outcome is "ignored" if the permit is of another
        generation, or the circuit is neither closed nor (for a probe) half-open.
        """
        ...

    async def record_successes(
        self, rules: Rules, report_id: str, count: int, permit: Permit
    ) -> Change:
        """Count successes (CLOSED, with a ratio rule) or one successful probe (HALF_OPEN).

        A report id counts once inside the window; a store keeps the latest `SUCCESS_REPORTS` ids.
        """
        ...

    async def acquire(self, rules: Rules, probe_id: str, key: str = "") -> Admission:
        """Acquire a permit; in HALF_OPEN a lease under `probe_id`. A repeated id is harmless.

        A key whose probe failed gets no lease while other keys ask.

        Args:
            rules: the circuit's rules.
            probe_id: id of the lease.
            key: token of the key to probe; empty if unknown.
        """
        ...

    async def release(self, rules: Rules, permit: Permit) -> Change:
        """Release a probe's permit without an outcome."""
        ...

    async def approve(self, rules: Rules, generation: int, by: str) -> Change:
        """Set a generation from OPEN to HALF_OPEN (else "already", "stale" or "isolated")."""
        ...

    async def close(self, rules: Rules, generation: int, by: str, reason: str) -> Change:
        """Close a generation by hand, from any state (else "already" or "stale")."""
        ...

    async def isolate(self, rules: Rules, by: str, reason: str, seconds: float = 0.0) -> Change:
        """Isolate the circuit in a new generation, for `seconds`; 0 means until `close`.

        If the circuit was closed, it is closed again at the end. Otherwise the end is a new opening
        with its own generation and alert, so that somebody is asked. The new reason and end replace
        those of an isolated circuit; if neither has an end, nothing changes ("already").
        """
        ...

    async def restore(self, rules: Rules, known: Circuit) -> Change:
        """Restore a lost state ("ignored" if the store's state is as late or later)."""
        ...

    async def history(self, limit: int) -> list[HistoryEntry]:
        """Return the latest `limit` entries, newest first."""
        ...

    async def registered(self, rules: Rules) -> tuple[float, list[Seen]]:
        """Return the store's time and the registered instances, the latest first.

        The instances of a dependency's circuit are those that poll the app's dependencies. The
        time is in seconds since the epoch.
        """
        ...

    async def names(self) -> frozenset[str]:
        """Return the names of the apps' own circuits that have registered instances."""
        ...

    def changes(self, rules: Rules) -> AsyncGenerator[Circuit | None]:
        """Yield each pushed state; yield None after subscribing, because pushes may be missed.

        On None the caller takes a snapshot.
        """
        ...

    async def register_callback(self, rules: Rules, registration: Registration) -> bool:
        """Register a callback and return True; return False if `CALLBACK_LIMIT` is reached.

        The first registration of a generation that needs an approval is in the history.
        """
        ...

    async def claim_callbacks(self, rules: Rules, lease_seconds: float) -> list[Callback]:
        """Claim the due callbacks, each for `lease_seconds`; forget runs that wait no more.

        A callback that waits for an approval is due once its generation has left OPEN. A callback
        that waits for a start is due after `release_starts`, or once a newer generation is open.
        """
        ...

    async def settle_callback(self, rules: Rules, callback: Callback) -> None:
        """Remove a callback that was called, or whose receiver is gone."""
        ...

    async def postpone_callback(
        self, rules: Rules, callback: Callback, delay_seconds: float
    ) -> None:
        """Count a failed attempt; the callback is due again after the delay."""
        ...

    async def release_starts(self, rules: Rules) -> int:
        """Make the callbacks that wait for a start due; return their number."""
        ...

    async def forget_run(self, rules: Rules, run: str) -> None:
        """Remove the callbacks of a workflow run that waits no more."""
        ...

    async def note_step(self, rules: Rules, step: Step) -> bool:
        """Put a step on record, also in the history; return False if a later one is on record.

        The same step is recorded once.
        """
        ...

    async def chain(self, rules: Rules) -> ChainStatus:
        """Return what is on record of the chain, without runs that wait no more.

        A named run whose registration is older than `FRESH_SECONDS` waits no more.
        """
        ...

    async def repeat_opened(self, rules: Rules, after_seconds: float, most_seconds: float) -> bool:
        """Add the `opened` alert of the current generation to the outbox again, if nobody asked.

        Nobody has asked if the circuit is open and no run of its generation waits. The
        first repeat is due `after_seconds` after the opening. Each later pause is as long as the
        time since the opening, at most `most_seconds`. Without an undelivered alert only.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections that the store opened."""
        ...

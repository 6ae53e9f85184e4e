"""The events that join a list whose dependency is away: above a share, their lane waits."""

from __future__ import annotations

from breaker import Key
from processing.batch.dependency import FailedDependency
from processing.batch.run import BatchRun
from processing.dependencies.scope import Scope
from processing.errors import DependencyUnavailableError
from processing.event import Event
from processing.monitoring.reasons import Why
from processing.parking.event import ListKey


class Joining:
    """The joining of one lane's events to the list of their key.

    Args:
        run: the invocation.
        scope: the dependencies of the lane's events; None if the app has none.
        circuit_key: the key by which circuits know the lane's events.
        key: the name of the list.
    """

    def __init__(self, run: BatchRun, scope: Scope | None, circuit_key: Key, key: ListKey) -> None:
        self._run = run
        self._scope = scope
        self._circuit_key = circuit_key
        self._key = key
        self._taken = 0

    async def take(self, event: Event, count: int) -> int:
        """Return how many of the next events may join the list now; 0 after a wait.

        Events that need a dependency whose circuit is not closed count for the share of refused
        events. When the share is reached, the lane waits for a change of the circuit.

        Args:
            event: the first of these events.
            count: number of events.

        Raises:
            DependencyUnavailableError: the lane has waited for `hold_seconds`; the batch fails.
            ShutdownError: the instance is shutting down.
            BaseException: the error that halted the invocation.
        """
        self._taken = 0
        name, share = self._needs(), self._run.budgets.refused
        if name is None:
            return count
        needed = await self._find(name)
        if needed is not None and needed.admits:
            return count
        if needed is None or self._is_let_through(needed):
            share.note_refused(count)
            self._taken = count
            return count
        self._taken = share.take(count)
        if not self._taken:
            await self._wait(event, needed)
        return self._taken

    def joined(self, count: int) -> None:
        """Note how many of the events have joined the list; the others do not count."""
        self._run.budgets.refused.note_refused(min(count, self._taken) - self._taken)
        self._taken = 0

    def _needs(self) -> str | None:
        """Return what the list waits for; None: no open circuit, as far as it is known."""
        name = self._run.budgets.waits_for.get(self._key)
        if name is None and self._run.parking is not None:
            # Another process has deferred the key.
            name = self._run.parking.claim.latest_needs.get(self._key)
        return name

    def _is_let_through(self, needed: FailedDependency) -> bool:
        """Return whether the events may join because the circuit gives permits to replays.

        One batch of each half-open state ends so. The claim of the next one wakes the keys.
        """
        if not needed.is_half_open or self._run.parking is None:
            return False
        place = needed.circuit.circuit.generation, self._run.parking.claim.owner
        known = self._run.budgets.let_through.get(needed.name)
        if known is None or known[0] != place[0]:
            self._run.budgets.let_through[needed.name] = known = place
        return known == place

    async def _find(self, name: str) -> FailedDependency | None:
        circuit = await self._scope.find(name) if self._scope is not None and name else None
        if self._scope is None or circuit is None:
            return None
        return FailedDependency(self._run, self._scope, circuit, name, self._circuit_key)

    async def _wait(self, event: Event, needed: FailedDependency) -> None:
        run, hold = self._run, self._run.hold
        error = DependencyUnavailableError(
            f"the circuit of {needed.name} is open, and almost all events of the last minute need "
            "it; the partition holds",
            dependency=needed.name,
        )
        run.parts.watch.waits(event.source, event, Why.DEPENDENCY, error)
        if hold.keep_timed_out():
            raise DependencyUnavailableError(
                f"event {event.id} was kept for "
                f"{hold.seconds:g} s; the batch fails, and the event is redelivered with it"
            ) from error
        await needed.wait_for_change(needed.circuit.circuit, hold.keep_remaining())
        if not hold.keep_timed_out():  # else the reason stays until the event runs again
            run.parts.watch.settled(event.source, event)

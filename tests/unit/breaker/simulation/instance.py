"""One instance of the simulated fleet, with its real circuit breaker."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from opentelemetry.metrics import NoOpMeter

from breaker import BreakerSettings, CircuitBreaker, CircuitOpenError, Key, Permit
from breaker.state import Circuit, CircuitEvent, CircuitState, Rules
from breaker.stores.memory import MemoryCircuitStore
from tests.unit.breaker.simulation.world import SECOND, World, us

PUSH_US = 2_000
_SOON_US = 5 * SECOND
ERROR = "ConnectionError: down"


def done[T](coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    coroutine.close()
    raise AssertionError("the call suspended")


class SharedStore(MemoryCircuitStore):
    """The real memory store, which reports each change of state to the fleet."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(name, now_us=world.now_us)
        self.pushed: Callable[[Circuit], None] = lambda _circuit: None
        self.openings: list[str] = []

    def may_open_soon(self, rules: Rules) -> bool:
        """Return whether a poll without notes can make a difference.

        The standstill rule is met at the earliest one window after the first failed attempt and
        after the last success. Running keys are reported for a few seconds before that. All other
        polls would only cost the simulation time.
        """
        if self._record.state is not CircuitState.CLOSED:
            return True
        standstill = self._standstill
        attempts = standstill._attempts
        latest = max(attempts.first_us, standstill.success_us)
        return attempts.count > 0 and self._now_us() >= latest + rules.window_us - _SOON_US

    def _announce(
        self, rules: Rules, now: int, event: CircuitEvent, *, restored: bool, alert: bool
    ) -> None:
        super()._announce(rules, now, event, restored=restored, alert=alert)
        if event is CircuitEvent.OPENED:
            self.openings.append(self._record.reason)
        self.pushed(self._circuit(rules, now))


class Instance:
    """One instance: a real breaker that polls, and the lanes' way to the breaker.

    Args:
        world: the clock.
        store: the store that the fleet shares.
        settings: the rules.
        name: name of the instance.

    Attributes:
        stopping: the instance starts no further event and polls no more.
    """

    def __init__(
        self, world: World, store: SharedStore, settings: BreakerSettings, name: str
    ) -> None:
        self._world = world
        self.name = name
        self.breaker = CircuitBreaker(
            store, settings, clock=world, instance=name, meter=NoOpMeter("simulation")
        )
        self.stopping = False
        self._store = store
        self._rules = settings.rules(name)
        self._permit = Permit(0)
        self._waiters: list[Callable[[], None]] = []
        self._deferred: list[tuple[Key, float]] = []
        self._poll_us = us(settings.poll_seconds)
        done(self.breaker.refresh())
        world.after(world.rng.randrange(self._poll_us), self._poll)

    def _poll(self) -> None:
        if self.stopping:
            return
        for key, since in [each for each in self._deferred if not self.counts(each[1])]:
            self._deferred.remove((key, since))
            self.breaker.leave(key)
        if self._has_notes() or self._store.may_open_soon(self._rules):
            done(self.breaker.refresh())
        self._world.after(self._poll_us, self._poll)

    def _has_notes(self) -> bool:
        notes = self.breaker._notes
        return bool(notes._succeeded or notes._attempts)

    def defer(self, key: Key, since: float) -> None:
        """Report a deferred key as running, also between its replays, while its attempts count.

        Otherwise nothing would run in an outage in which all keys are deferred.
        """
        self.breaker.enter(key)
        self._deferred.append((key, since))

    def stop(self) -> None:
        """Stop polling and starting events."""
        self.stopping = True

    def learn(self, circuit: Circuit) -> None:
        """Take over a pushed state."""
        if not self.stopping:
            self.breaker._store.learn(circuit)
            self.breaker._learn(circuit)
            self._wake()

    def wait(self, action: Callable[[], None]) -> None:
        """Run an action at the next change of the circuit, or after a second while half-open."""
        if not self._waiters and self.breaker.circuit.state is CircuitState.HALF_OPEN:
            self._world.after(SECOND, self._wake)
        self._waiters.append(action)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for action in waiters:
            action()

    def admit(self, key: Key) -> Permit | None:
        """Return a permit to start an event of a key, or None."""
        circuit = self.breaker.circuit
        if circuit.admits:
            if circuit.generation != self._permit.generation:
                self._permit = Permit(circuit.generation)
            return self._permit
        if circuit.state is not CircuitState.HALF_OPEN:
            return None
        try:
            return done(self.breaker.try_acquire(key))
        except CircuitOpenError:
            return None

    def succeeded(self, seconds: float, permit: Permit) -> None:
        """Report the success of an event, whose last call took `seconds`."""
        self.breaker.note_success(seconds)
        if permit.probe_id is not None:
            done(self.breaker.record_successes(1, permit))

    def counts(self, deferred_at: float | None) -> bool:
        """Return whether failed attempts count for the standstill rule.

        The attempts of a replay count only while the fleet has had no success since the key was
        deferred.
        """
        last = self.breaker.circuit.last_success_at
        return deferred_at is None or last is None or last <= deferred_at

    def failed(self, event: str, permit: Permit, deferred_at: float | None) -> None:
        """Report an event whose attempts are exhausted, or that is deferred.

        A replay counts only as a probe.
        """
        if deferred_at is None or permit.probe_id is not None:
            done(self.breaker.record_failure(event, ERROR, permit))

    def poisoned(self, event: str, permit: Permit) -> None:
        """Report a poison event."""
        if permit.probe_id is not None:
            self.release(permit)
        elif self.breaker.settings.count_poison:
            done(self.breaker.record_failure(event, "PoisonEventError: bad", permit))

    def release(self, permit: Permit) -> None:
        """Release a permit without an outcome."""
        done(self.breaker.release(permit))

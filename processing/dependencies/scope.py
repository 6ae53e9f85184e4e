"""The scope of the running event: its dependencies' circuits, permits and tagged errors."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from breaker.errors import CircuitOpenError, StoreUnavailableError
from breaker.keys import Key
from breaker.state import CircuitState, Permit
from processing.dependencies.circuits import Circuits
from processing.dependencies.tags import Tags
from processing.errors import DependencyRefusedError

if TYPE_CHECKING:
    from breaker import CircuitBreaker

logger = logging.getLogger(__name__)


class ScopeOwner(Protocol):
    """A lane, a replay or a redrive, whose events run one after another."""

    def scope(self) -> Scope | None:
        """Return the scope of the running event; None if the app has no dependencies.

        The scope is built at the first call, because most events need none.
        """


_owner: ContextVar[ScopeOwner | None] = ContextVar("dependency_scope", default=None)


def enter_scope(owner: ScopeOwner) -> None:
    """Name the owner of the events that the current task runs, until another owner is named.

    Tasks that a handler creates inherit the owner.
    """
    _owner.set(owner)


def current_scope() -> Scope | None:
    """Return the scope of the running event; None outside of an event."""
    owner = _owner.get()
    return None if owner is None else owner.scope()


class Scope:
    """The dependencies of the event that one lane, replay or redrive runs now.

    The methods are called on the event loop. The owner calls `end` after each event for which
    `unsettled` is true, and `close` after its last event.

    Args:
        circuits: the circuits of the dependencies.
        key: the key of the owner's events.
        loop: the owner's event loop.
        probes: whether a block may acquire a probe's permit while its circuit is half-open.
        reports: whether successes are noted for the circuits' rules.
        runs: whether the key is noted as running in the circuits of its blocks.
        successes: receives the number of successes by name, for circuits with a failure ratio.
    """

    def __init__(
        self,
        circuits: Circuits,
        key: Key,
        loop: asyncio.AbstractEventLoop,
        *,
        probes: bool,
        reports: bool = True,
        runs: bool = True,
        successes: Counter[str] | None = None,
    ) -> None:
        self.loop = loop
        self.tags = Tags()
        self._circuits = circuits
        self._key = key
        self._may_probe = probes
        self._reports = reports
        self._runs = runs and reports
        self._successes = successes
        self._running: dict[str, CircuitBreaker] = {}
        self._generations: dict[str, int] = {}  # of each circuit, when a block was last entered
        self._probes: dict[str, Permit] = {}  # permits without an outcome
        self._probed: dict[str, int] = {}  # the generation in which the event had a permit
        self._closed = False

    @property
    def unsettled(self) -> bool:
        """Return whether the event has left permits or tags."""
        return bool(self._probes or self._probed or self.tags)

    @property
    def is_probe(self) -> bool:
        """Return whether the event holds a permit of a dependency's circuit."""
        return bool(self._probes)

    def hold(self, name: str, permit: Permit) -> None:
        """Give the event a permit that its owner has acquired; its next block uses the permit."""
        self._generations[name] = permit.generation
        if permit.probe_id is not None:
            self._probes[name] = permit
            self._probed[name] = permit.generation

    async def find(self, name: str) -> CircuitBreaker | None:
        """Return the circuit of a name; None if the name's failures count for the app."""
        return self._circuits.find(name) or await self._circuits.use(name)

    def admitting(self, name: str) -> CircuitBreaker | None:
        """Return the circuit if a block may start at once; threads may call this method, too."""
        circuit = self._circuits.find(name)
        return circuit if circuit is not None and self._admits(name, circuit) else None

    def begin(self, name: str, circuit: CircuitBreaker) -> None:
        """Note that a block starts, which `admitting` or `enter` admits."""
        self._generations[name] = circuit.circuit.generation
        if name not in self._running and not self._closed and self._runs:
            self._running[name] = circuit
            circuit.enter(self._key)

    async def enter(self, name: str) -> CircuitBreaker | None:
        """Start a block, and return the circuit that counts its outcome; None for the app's.

        Raises:
            DependencyRefusedError: the circuit is not closed, and the event is no probe.
        """
        circuit = await self.find(name)
        if circuit is None:
            return None
        if not self._admits(name, circuit):
            await self._acquire(name, circuit)
        self.begin(name, circuit)
        return circuit

    def leave(
        self, name: str, circuit: CircuitBreaker, seconds: float, error: BaseException | None
    ) -> Permit | None:
        """End a block.

        Args:
            name: the dependency.
            circuit: the result of `enter`.
            seconds: duration of the block.
            error: the error that left the block, if any.

        Returns:
            The permit of a probe that succeeded, for `record_success`; else None.
        """
        if error is not None:
            self.tags.add(error, name)
            return None
        self._generations.pop(name, None)
        if self._reports:
            circuit.note_success(seconds)
            if self._successes is not None and circuit.settings.failure_ratio is not None:
                self._successes[name] += 1
        return self._probes.pop(name, None)

    async def record_success(self, circuit: CircuitBreaker, permit: Permit) -> None:
        """Record that a probe succeeded; the record is written even if its caller is cancelled."""
        await asyncio.shield(_record_success(circuit, permit))

    async def succeed(self, name: str, circuit: CircuitBreaker, seconds: float) -> None:
        """End a block without an error, and record the success of a probe."""
        permit = self.leave(name, circuit, seconds, None)
        if permit is not None:
            await self.record_success(circuit, permit)

    async def succeeded(self, name: str) -> None:
        """Record the success of an event that had failed for a dependency, if it is a probe.

        The block of the dependency has used the permit, unless the handler has no block and names
        the dependency in its errors only.
        """
        circuit, permit = self._circuits.find(name), self._probes.pop(name, None)
        if circuit is not None and permit is not None:
            await self.record_success(circuit, permit)

    def is_away(self, name: str) -> bool:
        """Return whether a dependency has a circuit that is not closed."""
        circuit = self._circuits.find(name) if name else None
        return circuit is not None and not circuit.circuit.admits

    def take_permit(self, name: str, circuit: CircuitBreaker) -> Permit:
        """Return the permit with which a failure in a dependency is recorded.

        A probe's permit is the caller's from now on.
        """
        generation = self._generations.get(name, circuit.circuit.generation)
        return self._probes.pop(name, None) or Permit(generation)

    async def end(self) -> None:
        """End an event: release its permits, and forget its errors."""
        self.tags.clear()
        self._generations.clear()
        self._probed.clear()
        probes, self._probes = self._probes, {}
        for name, permit in probes.items():
            if (circuit := self._circuits.find(name)) is not None:
                await _release(circuit, permit)

    async def close(self) -> None:
        """End the last event of the owner."""
        self._closed = True
        running, self._running = self._running, {}
        for circuit in running.values():
            circuit.leave(self._key)
        if self.unsettled:
            await self.end()

    def _admits(self, name: str, circuit: CircuitBreaker) -> bool:
        known = circuit.circuit
        if known.admits:
            return True
        half_open = known.state is CircuitState.HALF_OPEN and not known.holding
        return half_open and self._probed.get(name) == known.generation

    async def _acquire(self, name: str, circuit: CircuitBreaker) -> None:
        """Acquire a probe's permit, or refuse the block."""
        known = circuit.circuit
        half_open = known.state is CircuitState.HALF_OPEN and not known.holding
        if not half_open or not self._may_probe:
            raise refusal(name, CircuitOpenError(known, known.retry_after))
        acquiring = asyncio.ensure_future(circuit.try_acquire(self._key))
        try:
            permit = await asyncio.shield(acquiring)
        except CircuitOpenError as error:
            raise refusal(name, error) from None
        except asyncio.CancelledError:
            await _release_when_acquired(circuit, acquiring)
            raise
        if self._closed or self._admits(name, circuit):
            # The owner has ended, or another block of the event was faster: one permit suffices.
            await _release(circuit, permit)
            if self._closed:
                raise refusal(name, CircuitOpenError(circuit.circuit))
            return
        self.hold(name, permit)


def refusal(name: str, error: CircuitOpenError) -> DependencyRefusedError:
    """Return the error of a block that an open circuit refuses."""
    return DependencyRefusedError(
        f"{name}: {error}", dependency=name, retry_after=error.retry_after
    )


async def _record_success(circuit: CircuitBreaker, permit: Permit) -> None:
    try:
        await circuit.record_successes(1, permit)
    except StoreUnavailableError as error:
        logger.warning(
            "Circuit %s: a probe's success was not recorded: %s: %s; its permit expires",
            *(circuit.name, type(error).__name__, error),
        )


async def _release(circuit: CircuitBreaker, permit: Permit) -> None:
    with suppress(StoreUnavailableError):  # the permit's lease expires
        await circuit.release(permit)


async def _release_when_acquired(
    circuit: CircuitBreaker, acquiring: asyncio.Future[Permit]
) -> None:
    """Release a permit whose event was cancelled before the answer of the store."""
    with suppress(CircuitOpenError, StoreUnavailableError):
        await _release(circuit, await acquiring)

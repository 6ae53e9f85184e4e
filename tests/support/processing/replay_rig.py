"""A replayer on in-memory stores, in the simulated time of a `JumpingLoop`."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from breaker import BreakerSettings, CircuitBreaker, CircuitState, MemoryCircuitStore
from breaker.dependencies.circuits import DependencyCircuits
from breaker.dependencies.settings import DependencySettings, Overrides
from breaker.notes import Report
from breaker.state import Change, Rules
from breaker.stores.memory_dependencies import MemoryDependencyStore
from processing.batch.parts import LaneParts
from processing.crashes.loops import CrashLoops
from processing.crashes.memory import MemoryCrashStore
from processing.deferring.replayer import Replayer
from processing.dependencies import dependency
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.identity import Source
from processing.monitoring.stall import Watch
from processing.monitoring.telemetry import Telemetry
from processing.monitoring.vitals import Vitals
from processing.parking.batch import Parking
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import ListKey, ParkedEvent, event_key, position_of
from processing.parking.memory import MemoryParkingStore
from processing.parking.store import EntryKind, ParkedKey, ParkingStore, WritingAs
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.settings import ProcessingSettings
from tests.support.jumping_loop import run_with_all_clocks
from tests.support.processing.events import SOURCE, event

START = 1_700_000_000.0
FAST: dict[str, Any] = {"retry_initial_seconds": 0.1, "retry_max_seconds": 1.0, "max_attempts": 3}


def now() -> float:
    """Return the store's time, in seconds since 1970."""
    return START + asyncio.get_running_loop().time()


class LoopClock:
    """The clock of the running event loop."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class RecordingStore(MemoryCircuitStore):
    """A circuit's store that keeps the reports."""

    def __init__(self) -> None:
        super().__init__("breakwater", now_us=lambda: round(now() * 1_000_000))
        self.reports: list[Report] = []

    async def report(self, rules: Rules, report: Report) -> Change:
        self.reports.append(report)
        return await super().report(rules, report)


class Rig:
    """A replayer, and a handler whose errors a test sets.

    Attributes:
        started: sequence numbers of the attempts, in order.
        handled: sequence numbers of the successful attempts, in order.
        errors: error by sequence number.
        needs: dependency in whose block the call of an event runs, by sequence number.
        dependencies: the circuits of dependencies.
        before: awaited in each attempt, with the event.
        lists: sequence numbers of each list, for a handler of lists.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        circuit: RecordingStore,
        store: ParkingStore | None = None,
        dependencies: DependencyCircuits | None = None,
        takes_lists: bool = False,
        **settings: Any,
    ) -> None:
        self.breaker = breaker
        self.needs: dict[int, str] = {}
        self._dependencies = dependencies
        self.circuit = circuit
        self.store = MemoryParkingStore(clock=now)
        self.claims = MemoryClaimChecks()
        self.parking = Parking(store or self.store, self.claims)
        self.poison = MemoryPoisonQueue(self.claims)
        self.vitals = Vitals()
        self.started: list[int] = []
        self.handled: list[int] = []
        self.errors: dict[int, BaseException] = {}
        self.before: Callable[[Event], Awaitable[None]] | None = None
        self.lists: list[list[int]] = []
        handler = LoadedHandler("tests:handler", self._handle_list if takes_lists else self._handle)
        processing = ProcessingSettings(**(FAST | settings))
        self.crash_store = MemoryCrashStore(self.store, now)
        self.crashes = CrashLoops(
            self.crash_store,
            careful_after=processing.careful_after,
            hold_seconds=processing.hold_seconds,
            circuit=lambda: breaker.circuit,
            in_flight=lambda: handler.in_flight,
            instance="test:1",
        )
        self.parts = LaneParts.assemble(
            handler,
            breaker=breaker,
            poison=self.poison,
            settings=processing,
            telemetry=Telemetry(vitals=self.vitals),
            watch=Watch(),
            instance="test:1",
            count_poison=True,
            dependencies=dependencies,
            crashes=self.crashes,
        )
        self.replayer = Replayer(self.parts, self.parking)

    async def _handle(self, each: Event) -> None:
        if (name := self.needs.get(each.sequence_number)) is None:
            await self._call(each)
            return
        async with dependency(name):
            await self._call(each)

    async def _handle_list(self, events: list[Event]) -> None:
        numbers = [each.sequence_number for each in events]
        self.lists.append(numbers)
        self.started += numbers
        for each in events:
            if self.before is not None:
                await self.before(each)
            if (error := self.errors.get(each.sequence_number)) is not None:
                raise error
        self.handled += numbers

    async def _call(self, each: Event) -> None:
        self.started.append(each.sequence_number)
        if self.before is not None:
            await self.before(each)
        if (error := self.errors.get(each.sequence_number)) is not None:
            raise error
        self.handled.append(each.sequence_number)

    @property
    def dependencies(self) -> DependencyCircuits:
        """The circuits of the dependencies of a rig with dependencies."""
        assert self._dependencies is not None
        return self._dependencies

    async def dependency(self, name: str = "bank") -> CircuitBreaker:
        """Return the circuit of a dependency."""
        found = await self.dependencies.use(name)
        assert found is not None
        return found

    async def defer(
        self,
        *numbers: int,
        key: ListKey = "k",
        source: Source = SOURCE,
        bodies: dict[int, bytes] | None = None,
        **deferral: Any,
    ) -> None:
        """Defer a key whose replay is due now, with its events."""
        claim = await self.parking.store.claim(source)
        writing = WritingAs(claim.owner, "")
        documents = []
        for number in numbers:
            body = (bodies or {}).get(number, b"{}")
            parked = ParkedEvent(event(number, event_key(key), source=source, body=body))
            text = parked.to_json()
            if number in (bodies or {}):
                check = await self.claims.put(parked)
                text = parked.with_claim_check(check).to_json()
            documents.append((position_of(parked.event), text))
        values: dict[str, Any] = {"reason": DeferralReason.DEPENDENCY, "attempts": 1} | deferral
        first, *others = documents
        await self.parking.store.defer(
            writing, source, key, first, deferral=Deferral(**values), pause_seconds=0.0
        )
        if others:
            await self.parking.store.park(writing, source, key, others)

    async def replay(self, *keys: ListKey, source: Source = SOURCE) -> None:
        """Replay keys, "k" by default, until their replays end."""
        with self.replayer.invocation():
            self.replayer.start(source, keys or ("k",))
            await self.replayer.wait_idle()

    async def key(self, key: ListKey = "k") -> ParkedKey | None:
        """Return what the store knows of a key."""
        found = [each for each in await self.parking.store.keys() if each.key == key]
        return found[0] if found else None

    async def deferral(self, key: ListKey = "k") -> Deferral:
        """Return the deferral of a deferred key."""
        found = await self.key(key)
        assert found is not None
        assert found.deferral is not None
        return found.deferral

    async def pause(self, key: ListKey = "k") -> float:
        """Return the seconds until the next replay is due."""
        found = await self.key(key)
        assert found is not None
        assert found.due is not None
        return found.due - now()

    async def waiting(self, key: ListKey = "k") -> list[tuple[EntryKind, int]]:
        """Return kind and sequence number of a list's entries."""
        entries = await self.parking.store.entries(SOURCE, key, most=10_000)
        return [(each.kind, int(each.position.rpartition(":")[2])) for each in entries]

    async def succeed(self, breaker: CircuitBreaker | None = None) -> None:
        """Report a success of another key to the app's circuit, or to another one."""
        breaker = breaker or self.breaker
        breaker.note_success(0.001)
        await asyncio.sleep(1.1)  # an instance reports once a second
        await breaker.refresh()

    async def open(self, breaker: CircuitBreaker | None = None) -> None:
        """Open the app's circuit, or another one, by hand, without an isolation."""
        breaker = breaker or self.breaker
        for number in range(breaker.settings.failure_threshold):
            permit = await breaker.try_acquire()
            await breaker.record_failure(f"trip-{number}", "test", permit)
        assert breaker.circuit.state is CircuitState.OPEN

    async def half_open(self, breaker: CircuitBreaker | None = None) -> None:
        """Open the app's circuit, or another one, and approve the opening."""
        breaker = breaker or self.breaker
        await self.open(breaker)
        await breaker.approve(breaker.circuit.generation, "test")

    @property
    def poisoned(self) -> list[int]:
        """Sequence numbers in the poison queue."""
        return [message.sequence_number for message in self.poison.messages]


@asynccontextmanager
async def open_rig(
    *,
    rules: dict[str, Any] | None = None,
    store: ParkingStore | None = None,
    own: dict[str, Any] | None = None,
    takes_lists: bool = False,
    **settings: Any,
) -> AsyncIterator[Rig]:
    """Open a replayer; by default in memory, and with circuits that have no ramp.

    Args:
        rules: rules of the circuits.
        store: the store of the lists.
        own: rules of the dependency `bank`.
        takes_lists: whether the handler takes lists.
        settings: settings of processing.
    """
    breaking = BreakerSettings(
        **({"half_open_permits": 2, "ramp_seconds": 0, "failure_threshold": 5} | (rules or {}))
    )
    circuit, clock = RecordingStore(), LoopClock()
    overrides = DependencySettings(breaking, {"BANK": Overrides(**(own or {}))})
    names = MemoryDependencyStore(now_us=lambda: round(now() * 1_000_000))
    async with (
        CircuitBreaker(circuit, breaking, clock=clock) as breaker,
        DependencyCircuits(names, overrides, clock=clock) as dependencies,
    ):
        rig = Rig(breaker, circuit, store, dependencies, takes_lists=takes_lists, **settings)
        yield rig
        rig.replayer.stop()
        await rig.replayer.wait_idle()


def simulated[**P](test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test in simulated time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_with_all_clocks(test(*args, **kwargs))

    return run

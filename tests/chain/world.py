"""The parts of the chain together, from the opening until the app runs or nothing moves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from breaker import CircuitState
from breaker.alerts.base import Alert, AlertPublisher
from breaker.state import Permit
from local.workflow.runs.requests import Answer, Request
from scripts.check_infra.alarms import Alarm
from tests.chain.alarms import fired
from tests.chain.circuits import ProcessCircuits
from tests.chain.clocks import HOUR, Background, BreakerClock, Pulse
from tests.chain.console_process import ConsoleProcess
from tests.chain.event_grid import EventGrid
from tests.chain.faults import Call, FaultLine, Length, Strike
from tests.chain.happenings import Happening
from tests.chain.kinds import DEPENDENCY, OTHER_SETTINGS, Kind
from tests.chain.management import ManagedSite, Reports
from tests.chain.metrics import Metrics
from tests.chain.operator import Operator
from tests.chain.platform import FunctionApp, Site
from tests.chain.store import EmptiableDependencyStore, EmptiableStore, Stores
from tests.chain.workflow_process import Seen, WorkflowProcess
from tests.support.local.simulated_clock import SimulatedClock

_RESTART_SECONDS = 30.0
_AWAY_SECONDS = 2 * HOUR


@dataclass(frozen=True)
class Done:
    """A request of the workflow that its receiver has carried out.

    Attributes:
        seen: the request, as the workflow sees the request.
        at: the time.
        status: the status of the receiver's answer, which may be lost.
        state: the circuit's state at that time.
        generation: the circuit's generation at that time.
        since: the time since which the circuit has this state.
        runs: for a stop or a start, the generations of the runs that may have sent the request.
    """

    seen: Seen
    at: float
    status: int
    state: str
    generation: int
    since: float
    runs: tuple[int, ...]


class World:
    """A function app, its circuit, its console, its topic and its workflow.

    Args:
        definition: the workflow's definition.
        strikes: the faults, and what happens at their time.
        accepts_early: whether the workflow accepts callbacks before the subscription's answer.
        kind: the kind of the circuit that opens.
    """

    def __init__(
        self,
        definition: Mapping[str, Any],
        strikes: Sequence[Strike],
        *,
        accepts_early: bool,
        kind: Kind = Kind.APP,
    ) -> None:
        self.kind = kind
        self.clock = SimulatedClock()
        self.background = Background()
        self.pulse = Pulse(self.clock)
        self.metrics = Metrics(self.clock)
        self.line = FaultLine(self.clock, strikes, self._happen, self.background)
        now_us = BreakerClock(self.clock).now_us
        self.stores = Stores(
            EmptiableStore(kind.own_settings.name, now_us=now_us),
            EmptiableDependencyStore(kind.own_settings.name, now_us=now_us),
            EmptiableStore(OTHER_SETTINGS.name, now_us=now_us),
        )
        self.store = (
            self.stores.app if kind.is_own else self.stores.dependencies.circuit(DEPENDENCY)
        )
        self.site = Site(self.clock)
        self.workflow = WorkflowProcess(
            definition, self.line, self.metrics, self._receive, accepts_early=accepts_early
        )
        self.topic = EventGrid(self.line, self.metrics, self.background, self.workflow.trigger)
        self.console = ConsoleProcess(
            kind,
            self.stores,
            publisher=self.topic,
            caller=self.workflow,
            pulse=self.pulse,
            site=ManagedSite(self.site, self.line),
            reports=Reports(self.site),
        )
        self.app = FunctionApp(self._instance, self.topic)
        self.operator = Operator(self.console, self.clock)
        self.done_requests: list[Done] = []
        self.site.changed = self._site_changed
        self._earlier: Alert | None = None
        self._happening = 0

    @property
    def state(self) -> str:
        """The circuit's state in the store."""
        return str(self.store._record.state)

    @property
    def generation(self) -> int:
        """The circuit's generation in the store."""
        return self.store._record.generation

    @property
    def _lasts(self) -> bool:
        """Return whether a fault is for good, so that little changes with the time."""
        return any(strike.length is Length.ALWAYS for strike in self.line.strikes)

    @property
    def is_quiet(self) -> bool:
        """Return whether the app runs and nothing more is under way."""
        return (
            self.site.running
            and not self._happening
            and not self.console.away
            and not self.topic.pending
            and not self.store.undelivered()
            and self.state == "closed"
            and all(run.status.is_final for run in self.workflow.runs())
        )

    async def begin(self) -> None:
        """Open the circuit, after an earlier opening that was closed by hand."""
        rules = self.kind.settings.rules("instance-0")
        await self.store.record_failure(rules, "earlier event", "ConnectionError", Permit(0))
        await self.store.close(rules, 1, "ann", "closed by ann")
        self._earlier = self.store.undelivered()[0]
        others = OTHER_SETTINGS.rules("instance-0")
        await self.stores.other.isolate(others, "bob", "by hand")
        for store in (self.store, self.stores.other):
            for alert in store.undelivered():
                await store.settle_alert(rules, "", alert.entry, 1.0)
        await self.console.start()
        await self.app.start()
        self.background.start(self._run_app())
        await self.app.open()

    async def reach_the_strikes(self, before_help: Callable[[], Awaitable[None]]) -> None:
        """Run until each strike has hit its call, and the faults but those for good have ended.

        A call that follows an approval is hit after an approval an hour after the opening.

        Args:
            before_help: called before the operator approves for that purpose.
        """
        line = self.line
        await self.until(lambda: line.all_struck, HOUR)
        if not line.all_struck:
            await before_help()
            await self.done(self.operator.settle())
            await self.until(lambda: line.all_struck, 3 * HOUR)
        ends = [strike.seconds for strike in line.strikes if strike.length is Length.LONG]
        await self.clock.advance(max(ends, default=HOUR / 4) + HOUR / 4)
        await self.until(lambda: not self._happening, 6 * HOUR)

    async def settle(self) -> None:
        """Let the operator settle the circuit, and run until nothing more moves.

        After eight hours every fault but those for good has long ended, and every limit of the
        chain that ends by itself, of which the longest is six hours.
        """
        await self.done(self.operator.settle())
        await self.until(lambda: self.is_quiet, 2 * HOUR if self._lasts else 8 * HOUR)

    def alarms_since(self, alarms: Iterable[Alarm], since: float) -> list[str]:
        """Return the names of the alarms that fire because of something after a time."""
        return fired(alarms, self.metrics.counts, since)

    async def until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Run until a condition is true, or the time has passed."""
        end = self.background.start(self.clock.sleep_until(self.clock.now() + seconds))
        await self.clock.run_until(lambda: condition() or end.done())
        end.cancel()

    async def done(self, work: Coroutine[Any, Any, None]) -> None:
        """Run until a task of the world is done."""
        task = self.background.start(work)
        await self.clock.run_until(task.done)
        task.result()

    async def aclose(self) -> None:
        await self.background.aclose()
        await self.workflow.stop()
        await self.app.stop()
        await self.console.aclose()
        await self.pulse.aclose()

    def _instance(self, publisher: AlertPublisher | None) -> ProcessCircuits:
        return ProcessCircuits(
            self.kind,
            self.stores,
            self.pulse,
            publisher=publisher,
            caller=self.workflow,
            instance="instance-1",
        )

    async def _run_app(self) -> None:
        while True:
            await self.pulse.next()
            await self.app.tick()

    def _site_changed(self) -> None:
        change = self.app.start() if self.site.running else self.app.stop()
        self.background.start(change)
        self.pulse.beat()

    async def _receive(self, seen: Seen, request: Request) -> Answer:
        """Hand a request of the workflow to its receiver."""
        call, record = seen.call, self.store._record
        runs: tuple[int, ...] = ()
        if call in {Call.STOP, Call.START}:
            runs = tuple(self.workflow.generations_at(call))
            self.site.apply(call.name.lower())
            answer = Answer(200, {}, None)
        elif call is Call.MAIL:
            answer = Answer(202, {}, None)
        else:
            path = request.uri.removeprefix("https://console")
            answer = await self.console.request(request.method, path, request.body, request.headers)
        now = self.clock.now()
        self.done_requests.append(
            Done(
                seen,
                now,
                answer.status,
                str(record.state),
                record.generation,
                record.changed_at_us / 1_000_000,
                runs,
            )
        )
        self.pulse.beat()
        return answer

    async def _happen(self, happening: Happening) -> None:
        self._happening += 1
        try:
            await self._perform(happening)
            self.pulse.beat()
        finally:
            self._happening -= 1

    async def _perform(self, happening: Happening) -> None:
        match happening:
            case Happening.NOTHING:
                pass
            case Happening.APPROVED:
                await self.operator.approve()
            case Happening.ISOLATED:
                await self.operator.isolate()
            case Happening.CLOSED:
                await self.operator.close()
            case Happening.HALF_OPEN:
                await self._half_open()
            case Happening.OPENED_AGAIN:
                await self.operator.close()
                await self.app.open()
            case Happening.REDIS_EMPTIED:
                if (circuit := self.console.circuits.own) is not None:
                    await circuit.refresh()
                self.stores.lose_everything()
            case Happening.CONSOLE_AWAY:
                await self.console.go_away()
                await self.clock.sleep_until(self.clock.now() + _AWAY_SECONDS)
                await self.console.come_back()
            case Happening.RESTARTED:
                await self.workflow.stop()
                await self.clock.sleep_until(self.clock.now() + _RESTART_SECONDS)
                await self.workflow.start()
            case Happening.TWICE:
                self._deliver_again()

    async def _half_open(self) -> None:
        """Do what the timer of a circuit with automatic recovery does."""
        rules = self.kind.settings.rules("timer")
        circuit = (await self.store.snapshot(rules)).circuit
        if circuit.state is CircuitState.OPEN:
            half_open = replace(
                circuit,
                state=CircuitState.HALF_OPEN,
                changed_at=self.clock.now(),
                reason="the break is over",
                by="timer",
            )
            await self.store.restore(rules, half_open)

    def _deliver_again(self) -> None:
        """Deliver the opening again, and after that the opening before it."""
        for alert in (self.topic.latest, self._earlier):
            if alert is not None:
                self.topic.deliver(alert)

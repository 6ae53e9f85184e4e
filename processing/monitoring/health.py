"""Health report of one instance, for operators and probes; it contains no secrets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from breaker import Circuit, CircuitBreaker, CircuitState, Mode
from processing.errors import StorageUnavailableError
from processing.handlers.results import Results
from processing.monitoring.dependency_states import (
    Circuits,
    DependencyState,
    dependency_states,
)
from processing.monitoring.partition_state import PartitionState, State
from processing.monitoring.stall import Watch
from processing.monitoring.survey import Sighting, Survey, worst
from processing.partitions.lag import PartitionLag

type Status = Literal["ok", "ramping", "holding", "paused", "stalled", "degraded"]


@dataclass(frozen=True, slots=True)
class HealthReport:
    """A health report.

    Attributes:
        status: `holding`: the app's circuit, or a dependency's, holds events; `stalled`: a
            partition or a deferred key does not continue; `degraded`: there are problems; `paused`:
            an operator paused a partition; `ramping`: the circuit has just closed, and not all
            lanes may run yet. The app's own circuit comes first, then `stalled` and `degraded`.
        states: the state of each partition that is not `ok`.
        dependencies: the states of the app's dependencies, by name.
        problems: one text for each service that cannot be reached, and for each other fault.
        warnings: one text for each weakness of the deployment; they do not change the status.
        mode: `observe`: the rules are judged, but do not open the circuit; else `enforce`.
        is_healthy: whether a monitor should get HTTP 200; else 503. Expired events are a problem
            that no instance can solve, so they alone leave the answer at 200.
        redrives: one line for each running redrive: the operator, the events and the progress.
    """

    status: Status
    circuit: Circuit
    partitions: tuple[PartitionLag, ...]
    states: tuple[PartitionState, ...]
    dependencies: tuple[DependencyState, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    mode: Mode
    is_healthy: bool
    redrives: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the report as a dictionary; partitions have their state, gaps their events."""
        sighting = Sighting(self.partitions, self.states)
        found = asdict(self)
        found["states"] = [each.to_json() for each in self.states]
        for each, lag in zip(found["partitions"], self.partitions, strict=True):
            state = sighting.state_of(lag.partition)
            each["state"] = str(State.OK if state is None else state.state)
            each["gaps"] = [asdict(gap) | {"events": gap.events} for gap in lag.gaps]
        return found


async def _none() -> Sequence[str]:
    return ()


class Health:
    """A source of health reports on one instance.

    Args:
        breaker: the app's circuit.
        survey: reads the lag and the state of all partitions.
        watch: the states of this instance's partitions.
        old_version_on: returns those of the partitions that version 0.1 still processes.
        crash_loop: names the reason of careful mode, or None while it is off.
        renamed: names the data that wait under another pipeline's name, or "".
        dependencies: returns the circuits of the app's dependencies.
        results: names what the handler forgot, if its last results show that.
        warnings: the warnings of the start; the owner of the list may add some.
        notice: returns a further warning, about the event loop, or None.
        instance: the name of this instance.
        redrives: returns one line for each running redrive.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        survey: Survey,
        watch: Watch,
        old_version_on: Callable[[Iterable[str]], Awaitable[list[str]]],
        results: Results | None = None,
        *,
        dependencies: Circuits = dict,
        crash_loop: Callable[[], str | None] = lambda: None,
        renamed: Callable[[], str] = lambda: "",
        warnings: Sequence[str] = (),
        notice: Callable[[], str | None] = lambda: None,
        instance: str = "",
        redrives: Callable[[], Awaitable[Sequence[str]]] = _none,
    ) -> None:
        self._breaker = breaker
        self._redrives = redrives
        self._survey = survey
        self._watch = watch
        self._old_version_on = old_version_on
        self._results = results
        self._dependencies = dependencies
        self._crash_loop = crash_loop
        self._renamed = renamed
        self._warnings = warnings
        self._notice = notice
        self._instance = instance

    async def report(self) -> HealthReport:
        """Return the circuit's state in this instance, and lag and state of all partitions."""
        circuit = replace(self._breaker.circuit, stops_app=self._breaker.stops_app)
        problems = [circuit.problem] if circuit.problem else []
        if circuit.degraded and not problems:
            problems.append("the circuit's store cannot be reached")
        if self._results is not None and (problem := self._results.problem) is not None:
            problems.append(problem)
        if (reason := self._crash_loop()) is not None:
            problems.append(reason)
        if waits := self._renamed():
            problems.append(waits)
        own = self._watch.states()
        # Without Redis or the hub an instance still shows its own partitions.
        sighting = Sighting(
            (),
            tuple(each for each in own if each.state is not State.OK),
            dependencies=dependency_states(self._dependencies(), {}),
        )
        redrives: Sequence[str] = ()
        try:
            sighting = await self._survey.look(own, instance=self._instance)
            old = await self._old_version_on(each.partition for each in sighting.partitions)
            if old:
                problems.append(old_version_runs(old))
            redrives = await self._redrives()
        except StorageUnavailableError as error:
            problems.append(str(error))
        problems += sighting.problems
        stalled = [each.line for each in sighting.states if each.state is State.STALLED]
        status = self._status(circuit, sighting, [*problems, *sighting.losses])
        return HealthReport(
            status,
            circuit,
            sighting.partitions,
            sighting.states,
            sighting.dependencies,
            (*stalled, *problems, *sighting.losses),
            (*self._warnings, *sighting.warnings, *filter(None, [self._notice()])),
            self._breaker.settings.mode,
            status != "stalled" and (status != "degraded" or not problems),
            tuple(redrives),
        )

    def _status(self, circuit: Circuit, sighting: Sighting, problems: Sequence[str]) -> Status:
        if circuit.state is not CircuitState.CLOSED:
            return "holding"
        found = worst(sighting.states)
        state = State.OK if found is None else found.state
        if state is State.STALLED:
            return "stalled"
        if problems:
            return "degraded"
        if state is State.PAUSED:
            return "paused"
        if state is State.HOLDING or any(each.holds for each in sighting.dependencies):
            return "holding"
        return "ramping" if self._breaker.ramp_share < 1 else "ok"


def replicas_do_not_confirm(replicas: int) -> str:
    """Return the warning that `WAIT` did not confirm a write at the start.

    Args:
        replicas: the value of PROCESSING_PARKING_REPLICAS.
    """
    return (
        f"PROCESSING_PARKING_REPLICAS is {replicas}, but Redis confirmed a write of this instance "
        "on fewer replicas; a failover may lose the last second of parked events"
    )


def old_version_runs(partitions: Sequence[str]) -> str:
    """Return the text of the problem that version 0.1 has run beside this version."""
    return (
        f"an instance of version 0.1 has processed partition {', '.join(partitions)} since the "
        "migration; its progress and its parked events are unknown to this version. Stop that "
        "instance, then run `breakwater migrate`"
    )

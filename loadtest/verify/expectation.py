"""The openings, duplicates and delays expected of a run besides the delivery contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from loadtest.plan.chaos import ChaosPlan, FaultKind
from loadtest.plan.lists import HANDLER
from loadtest.plan.settings import WITH_OUTAGE, WITH_REPLICA, AppLimits, Scenario, Settings
from loadtest.plan.workload import Workload

STANDSTILL_GRACE_SECONDS = 5.0
"""The time that the standstill rule may need in addition to the breaker's window."""


TAKEOVER_SECONDS = 30.0
"""The longest time from the death of a host until another process handles its partitions.

On a machine with two cores and four runs side by side, a takeover took 24 s.
"""

LATE_GRACE_SECONDS = 6.0
"""The time that an event may wait in addition to the wait in place of its partition.

On a machine with two cores and three runs side by side, an event took 3.1 s more.
"""


@dataclass(frozen=True)
class Expectation:
    """The openings and duplicates expected besides the delivery contract.

    Attributes:
        least_openings: the least number of openings, below which the run has tested nothing.
        most_openings: the most openings, None for no limit.
        most_suppressed: the most handled events that may reach the ledger again, None for no limit.
        poison_repeats: whether an event may be in the poison queue twice.
        most_seconds_to_open: the longest time from the first refused call to the first opening,
            None for no limit.
        least_deferred: the least number of deferred keys, below which the run has tested nothing.
        dependency_openings: the least and most openings of each dependency's circuit.
        most_late_seconds: the longest time until an event is handled that does not need the
            dependency that is away; None for no limit.
        most_deaths: the most calls with the deadly event; None without one.
        most_listed: the most events of a list; None for a handler of events.
        names_blocks: whether the hosts' log must name the events that blocked their process.
    """

    least_openings: int
    most_openings: int | None
    most_suppressed: int | None = None
    poison_repeats: bool = False
    most_seconds_to_open: float | None = None
    least_deferred: int = 0
    dependency_openings: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    most_late_seconds: float | None = None
    most_deaths: int | None = None
    names_blocks: bool = False
    most_listed: int | None = None

    @classmethod
    def of(cls, workload: Workload, failure_threshold: int) -> Expectation:
        """Return the scenario's expectation.

        An outage opens the circuit once; an outage of some keys defers them instead. An outage of
        a dependency, also as a second act, opens that dependency's circuit only. The `seed`
        scenario opens the circuit at least once if it has enough failing events. Each closing
        empties the window, so the circuit may open again.
        """
        if workload.scenario is Scenario.PARTIAL_OUTAGE:
            return cls(0, 0, least_deferred=1)
        openings = {
            name: (1, 1) if name == workload.away else (0, 0) for name in workload.dependencies
        }
        if workload.scenario is Scenario.TWO_DEPENDENCIES:
            return cls(0, 0, least_deferred=1, dependency_openings=openings)
        if workload.scenario in WITH_OUTAGE:
            return cls(1, 1, least_deferred=len(openings), dependency_openings=openings)
        if workload.scenario is Scenario.SEED:
            failing = sum(len(counters) for counters in workload.faults.values())
            return cls(1 if failing >= failure_threshold else 0, None)
        return cls(0, 0)


def expected(settings: Settings, workload: Workload, limits: AppLimits) -> Expectation:
    """Return the expectation of a run, with the faults of its plan if it has one."""
    plan = settings.chaos
    own = Expectation.of(workload, limits.failure_threshold)
    if plan is None:
        return own
    has_lists = settings.app_settings.get("EVENT_HANDLER") == HANDLER
    most_repeats = plan.most_repeats(limits.max_lanes, limits.list_events if has_lists else 0)
    faulty = Expectation(
        least_openings=max(own.least_openings, int(FaultKind.OUTAGE in plan.kinds)),
        most_openings=None,
        most_suppressed=most_repeats,
        poison_repeats=most_repeats > 0,
        most_listed=limits.list_events if has_lists else None,
    )
    scenario = settings.scenario
    if scenario is Scenario.TRICKLE_OUTAGE:
        openings = 1 + plan.approves_early
        seconds = limits.window_seconds + STANDSTILL_GRACE_SECONDS
        if any(fault.after_refused for fault in plan.faults):
            seconds += TAKEOVER_SECONDS  # no attempt fails while the host restarts
        return replace(
            faulty,
            least_openings=openings,
            most_openings=openings,
            most_seconds_to_open=seconds,
        )
    if scenario is Scenario.PARTIAL_OUTAGE:
        return of_partial_outage(own, faulty, plan)
    if scenario is Scenario.TWO_DEPENDENCIES:
        return replace(
            faulty,
            most_openings=own.most_openings,
            least_deferred=own.least_deferred,
            dependency_openings={
                name: (least, most + (name == workload.away and plan.probes_fail))
                for name, (least, most) in own.dependency_openings.items()
            },
            most_late_seconds=limits.defer_after_seconds + LATE_GRACE_SECONDS,
        )
    if scenario is Scenario.TWO_PIPELINES:
        openings = int(settings.pipeline == plan.hit)
        return replace(faulty, least_openings=openings, most_openings=openings)
    if scenario in {Scenario.CRASH_LOOP, Scenario.BLOCKED_LOOP}:
        return replace(
            faulty,
            most_openings=0,
            most_deaths=plan.most_deaths,
            names_blocks=scenario is Scenario.BLOCKED_LOOP,
        )
    if scenario is Scenario.RECREATED_HUB:
        # A rewind repeats the events that were handled before the app noticed the new hub.
        return replace(faulty, most_openings=0, most_suppressed=None)
    if scenario in WITH_REPLICA | {Scenario.EXPIRED, Scenario.CLOCK_BACK}:
        return replace(faulty, most_openings=0)
    return replace(faulty, most_openings=1) if scenario is Scenario.DEAD_KEY else faulty


def of_partial_outage(own: Expectation, faulty: Expectation, plan: ChaosPlan) -> Expectation:
    """Return the expectation of a partial outage, whose failing keys do not open the circuit.

    A full Redis refuses the ledger's appends of all keys, so that the circuit may open. A rewind
    repeats all events behind the oldest lost one.
    """
    found = replace(faulty, most_openings=0, least_deferred=own.least_deferred)
    if FaultKind.REDIS_FILLED in plan.kinds:
        found = replace(found, most_openings=None)
    if FaultKind.REDIS_EMPTIED in plan.kinds:
        found = replace(found, most_suppressed=None, poison_repeats=True)
    return found

"""The judge, which collects the evidence of a run and passes it to the verifier."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from loadtest.faults.injection import FaultInjection
from loadtest.observe.observer import Observer
from loadtest.plan.chaos import KILLS, REDIS_AWAY, ChaosPlan, FaultKind
from loadtest.plan.settings import AppLimits, Scenario, Settings
from loadtest.plan.workload import Expectation, Workload
from loadtest.send.process import SendProgress
from loadtest.target.clients import async_redis
from loadtest.target.endpoints import Endpoints
from loadtest.target.keys import Keys
from loadtest.target.lists import waiting_events
from loadtest.verify.collector import connect, read_alerts, read_history, read_ledgers, read_refused
from loadtest.verify.evidence import CircuitEvidence, Evidence
from loadtest.verify.poison_queue import read_poison_queue
from loadtest.verify.verdict import Verdict
from loadtest.verify.verifier import verify

STANDSTILL_GRACE_SECONDS = 5.0
"""The time that the standstill rule may need in addition to the breaker's window."""


TAKEOVER_SECONDS = 15.0
"""The longest time from the death of a host until another process handles its partitions."""

LATE_GRACE_SECONDS = 3.0
"""The time that an event may wait in addition to the wait in place of its partition."""


class Judge:
    """A judge of one run, which collects new evidence for each verdict."""

    def __init__(
        self,
        settings: Settings,
        endpoints: Endpoints,
        keys: Keys,
        workload: Workload,
        limits: AppLimits,
    ) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._keys = keys
        self._workload = workload
        self._limits = limits

    async def verdict(
        self,
        observer: Observer,
        progress: SendProgress,
        injection: FaultInjection,
        after_generation: int,
    ) -> Verdict:
        """Return the current verdict, ignoring circuit history up to `after_generation`."""
        poison = await read_poison_queue(self._endpoints, self._keys.run)
        alerts = await read_alerts(self._endpoints, self._keys, after_generation)
        parked: frozenset[tuple[str, int]] = frozenset()
        if observer.watches_lists:
            async with async_redis(self._endpoints) as client:
                parked = await waiting_events(client, self._keys.run)
        workload, size = self._workload, self._settings.events_per_batch
        acknowledged = progress.acknowledged

        def judge() -> Verdict:
            with connect(self._endpoints) as client:
                return verify(
                    Evidence(
                        workload=workload,
                        sent=workload.sent_counts(size, acknowledged),
                        unconfirmed=workload.sent_counts(size, acknowledged + size),
                        ledgers=read_ledgers(client, self._keys),
                        expectation=self._expectation(),
                        circuit_state=observer.latest.state,
                        refused=read_refused(client, self._keys),
                        poison=poison,
                        parked=parked,
                        deferred=observer.deferred,
                        still_deferred=observer.latest.deferred,
                        history=read_history(client, self._keys, after_generation),
                        alerts=[alert for alert in alerts if not alert.dependency],
                        dependencies={
                            name: CircuitEvidence(
                                read_history(client, self._keys, 0, name),
                                [alert for alert in alerts if alert.dependency == name],
                                observer.latest.dependencies.get(name, "closed"),
                            )
                            for name in workload.dependencies
                        },
                        killed_us=[
                            fault.began_us for fault in injection.faults if fault.kind in KILLS
                        ],
                        max_attempts=self._limits.max_attempts,
                        kills=injection.kills,
                        suppressed=observer.latest.suppressed,
                        redis_away=[
                            (fault.began_us, fault.ended_us)
                            for fault in injection.faults
                            if fault.kind in REDIS_AWAY and fault.ended_us is not None
                        ],
                    )
                )

        return await asyncio.to_thread(judge)

    def _expectation(self) -> Expectation:
        plan = self._settings.chaos
        own = Expectation.of(self._workload, self._limits.failure_threshold)
        if plan is None:
            return own
        most_repeats = plan.most_repeats(self._limits.max_lanes)
        faulty = Expectation(
            least_openings=max(own.least_openings, int(FaultKind.OUTAGE in plan.kinds)),
            most_openings=None,
            most_suppressed=most_repeats,
            poison_repeats=most_repeats > 0,
        )
        scenario = self._settings.scenario
        if scenario is Scenario.TRICKLE_OUTAGE:
            openings = 1 + plan.approves_early
            seconds = self._limits.window_seconds + STANDSTILL_GRACE_SECONDS
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
                dependency_openings=own.dependency_openings,
                most_late_seconds=self._limits.defer_after_seconds + LATE_GRACE_SECONDS,
            )
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


def repetitions(verdict: Verdict) -> int:
    """Return how many entries counted by the observer do not account for a sent event."""
    return (
        verdict.duplicates
        + verdict.producer_duplicates
        + verdict.poison_duplicates
        + verdict.unexpected_handled
    )

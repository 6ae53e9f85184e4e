"""The judge, which collects the evidence of a run and passes it to the verifier."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from loadtest.faults.hub_ends import HubEnds
from loadtest.faults.injection import FaultInjection
from loadtest.observe.observer import Observer
from loadtest.plan.chaos import KILLS, REDIS_AWAY
from loadtest.plan.settings import AppLimits, Settings
from loadtest.plan.workload import Workload
from loadtest.send.process import SendProgress
from loadtest.target.clients import async_redis
from loadtest.target.endpoints import Endpoints
from loadtest.target.keys import Keys
from loadtest.target.lists import expired_events, waiting_events
from loadtest.verify.collector import (
    connect,
    read_alerts,
    read_deaths,
    read_history,
    read_ledgers,
    read_lists,
    read_refused,
)
from loadtest.verify.evidence import CircuitEvidence, Evidence, HubEvidence
from loadtest.verify.expectation import expected
from loadtest.verify.log_check import read_lines
from loadtest.verify.poison_queue import read_poison_queue
from loadtest.verify.verdict import Verdict
from loadtest.verify.verifier import verify


class Judge:
    """A judge of one pipeline's run, which collects new evidence for each verdict.

    Args:
        logs: returns the text of each host's log.

    Attributes:
        workload: the events that the verdict expects.
    """

    def __init__(
        self,
        settings: Settings,
        endpoints: Endpoints,
        keys: Keys,
        workload: Workload,
        limits: AppLimits,
        *,
        logs: Callable[[], Sequence[str]],
    ) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._keys = keys
        self.workload = workload
        self._limits = limits
        self._logs = logs

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
        hub = await self._hub_evidence(injection.hub_ends)
        workload, size = self.workload, self._settings.events_per_batch
        acknowledged = progress.acknowledged

        def judge() -> Verdict:
            with connect(self._endpoints) as client:
                return verify(
                    Evidence(
                        workload=workload,
                        sent=workload.sent_counts(size, acknowledged),
                        unconfirmed=workload.sent_counts(size, acknowledged + size),
                        ledgers=read_ledgers(client, self._keys),
                        expectation=expected(self._settings, workload, self._limits),
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
                        deaths=read_deaths(client, self._keys),
                        lists=read_lists(client, self._keys),
                        log=read_lines(self._logs()),
                        hub=hub,
                        redis_absences=injection.redis_absences,
                        instances=self._settings.instances,
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

    async def _hub_evidence(self, ends: HubEnds | None) -> HubEvidence:
        if ends is None:
            return HubEvidence()
        async with async_redis(self._endpoints) as client:
            recorded = await expired_events(client)
        return HubEvidence(ends.recreation, ends.expiry, recorded, ends.clock)


def repetitions(verdict: Verdict) -> int:
    """Return how many entries counted by the observer do not account for a sent event."""
    return (
        verdict.duplicates
        + verdict.producer_duplicates
        + verdict.poison_duplicates
        + verdict.unexpected_handled
    )

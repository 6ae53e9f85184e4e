"""One run of an app with two pipelines, each with a part of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping

from loadtest.errors import StackError
from loadtest.faults.injection import FaultInjection
from loadtest.faults.two_pipelines import HitPipeline, Other
from loadtest.observe.display import Display, Stage, stage_of
from loadtest.observe.observer import Sample
from loadtest.part import Part, run_name
from loadtest.plan.chaos_settings import settings_of
from loadtest.plan.settings import Settings
from loadtest.plan.two_pipelines import PIPELINES
from loadtest.report.pipelines import PipelinesReport
from loadtest.target import operations
from loadtest.target.clients import async_redis
from loadtest.target.endpoints import Endpoints
from loadtest.target.lists import waiting_events
from loadtest.target.ownership import read_owners
from loadtest.target.stack import Stack
from loadtest.verify.collector import connect, read_all_alerts, read_history, read_ledgers
from loadtest.verify.completion import Completion
from loadtest.verify.judge import repetitions
from loadtest.verify.poison_queue import read_poison_queue
from loadtest.verify.two_pipelines import Kept, PipelinesEvidence, PipelinesVerdict, judge
from loadtest.verify.verdict import Verdict

_TICK_SECONDS = 0.1
_SETTLE_SECONDS = 1.0
"""The wait before verifying, so that a late duplicate is found too."""


class PipelinesRun:
    """One run against a private stack.

    One pipeline is *hit*: its downstream is away, and an operator acts on it. Faults of the process
    hit both. The run is over when both have accounted for every event, and the poisoned events of
    the hit one have been replayed.
    """

    def __init__(
        self, settings: Settings, endpoints: Endpoints, stack: Stack, display: Display, began: float
    ) -> None:
        assert settings.chaos is not None  # noqa: S101 - the scenario needs a plan
        self._endpoints, self._stack = endpoints, stack
        self._display, self._began = display, began
        name = run_name()
        self._parts = {
            each: Part(
                settings_of(settings, each), endpoints.of(each), f"{name}-{each}", stack.host_logs
            )
            for each in PIPELINES
        }
        self._hit = self._parts[settings.chaos.hit]
        [self._other] = (part for part in self._parts.values() if part is not self._hit)
        display.failure_threshold = self._hit.limits.failure_threshold

    async def report(self) -> PipelinesReport:
        """Run and return the report."""
        started = time.monotonic()
        hit, other = self._hit, self._other
        print_line = self._display.print_line
        async with hit.observer, other.observer:
            first = await hit.observer.first()
            await other.observer.first()
            downstream = HitPipeline(
                hit.settings,
                hit.observer,
                hit.target(self._stack.add_host),
                Other(other.settings.pipeline, other.observer, other.target(self._stack.add_host)),
                print_line,
            )
            operator = hit.operator(first.generation, downstream.recover, print_line)
            injection = FaultInjection(hit.settings, hit.observer, operator, downstream, print_line)
            async with hit.sending, other.sending, injection:
                problems, verdicts, before, redriven = await self._until_over(injection, downstream)
            after = await self._kept(other)
            seconds = time.monotonic() - self._began
            owners = {
                part.run: await read_owners(part.endpoints, part.group)
                for part in self._parts.values()
            }
        problems += [] if downstream.problem is None else [downstream.problem]
        common = await self._judged(before, after, redriven)
        common = dataclasses.replace(common, broken=(*problems, *common.broken))
        with connect(self._endpoints) as client:
            parts = {
                name: part.report(
                    client,
                    verdicts[name],
                    injection,
                    after_generation=0,
                    started_us=first.at_us,
                    start_seconds=started - self._began,
                    seconds=seconds,
                    owners=owners[part.run],
                    approvals=operator.approvals if part is hit else (),
                    acts=downstream.acts if part is hit else (),
                )
                for name, part in self._parts.items()
            }
        return PipelinesReport(hit.settings.pipeline, parts, common)

    async def _until_over(
        self, injection: FaultInjection, downstream: HitPipeline
    ) -> tuple[list[str], dict[str, Verdict], Kept, int]:
        """Watch both pipelines, redrive the hit one, and return what was found.

        Returns:
            The reasons why the run gave up, the verdict on each pipeline, what the other pipeline
            kept before the redrive, and the number of replayed poison messages.
        """
        hit, other = self._hit, self._other
        problems, verdicts = await self._accounted(injection, {})
        before = await self._kept(other)
        poison = await read_poison_queue(hit.endpoints, hit.run)
        if problems:
            return problems, verdicts, before, len(poison)
        earlier = verdicts[hit.settings.pipeline]
        try:
            await downstream.redrive()
        except StackError as error:
            return [str(error)], verdicts, before, len(poison)
        cured = dataclasses.replace(hit.workload, cured=True)
        hit.judge.workload = cured
        problems, verdicts = await self._accounted(injection, {hit.run: cured.events})
        final = verdicts[hit.settings.pipeline]
        verdicts[hit.settings.pipeline] = dataclasses.replace(
            final,
            broken=(
                *final.broken,
                *(f"before the redrive: {x}" for x in earlier.broken if x not in final.broken),
            ),
            diff=(*final.diff, *(x for x in earlier.diff if x not in final.diff)),
        )
        return problems, verdicts, before, len(poison)

    async def _accounted(
        self, injection: FaultInjection, wanted: Mapping[str, int]
    ) -> tuple[list[str], dict[str, Verdict]]:
        """Watch until every event of both pipelines is accounted for, or the run gives up.

        The first verdicts may be too early, see `Completion.goes_on`.

        Args:
            injection: the faults.
            wanted: by a part's run, how many events have to be handled or poisoned; without an
                entry, all but those that wait behind a poison event.
        """
        parts = self._parts
        needed = {
            name: wanted.get(part.run, part.settings.events - len(part.workload.waiting))
            for name, part in parts.items()
        }
        completions = {
            name: Completion(
                needed[name],
                part.settings.timeout_seconds,
                part.settings.stall_seconds,
                time.monotonic(),
            )
            for name, part in parts.items()
        }
        while True:
            gave_up = await self._watch(completions, injection)
            if gave_up is None:
                await asyncio.sleep(_SETTLE_SECONDS)
            self._display.stage(Stage.VERIFYING)
            verdicts = {
                name: await part.judge.verdict(
                    part.observer, part.sending.progress, injection, after_generation=0
                )
                for name, part in parts.items()
            }
            now = time.monotonic()
            goes_on = [
                completions[name].goes_on(verdict, needed[name] + repetitions(verdict), now)
                for name, verdict in verdicts.items()
            ]
            if gave_up is not None or not any(goes_on):
                return [] if gave_up is None else [gave_up], verdicts

    async def _watch(
        self, completions: Mapping[str, Completion], injection: FaultInjection
    ) -> str | None:
        while True:
            self._stack.check()
            if failed := injection.check():
                return failed
            over = injection.over and all(
                part.sending.progress.over for part in self._parts.values()
            )
            is_complete = True
            for name, part in self._parts.items():
                part.observer.check()
                progress, completion = part.sending.progress, completions[name]
                if progress.error is not None:
                    return (
                        f"the producer of {name} stopped after {progress.acknowledged} "
                        f"acknowledged events: {progress.error}"
                    )
                sample, now = part.observer.latest, time.monotonic()
                is_complete &= completion.complete(sample, now, over=over)
                if completion.complete(sample, now, over=progress.over):
                    completion.pause(now)  # it waits for the other pipeline only
                elif reason := completion.reason_to_give_up(sample, progress.acknowledged, now):
                    return f"{name}: {reason}"
            self._show(over=over)
            if is_complete:
                return None
            await asyncio.sleep(_TICK_SECONDS)

    def _show(self, *, over: bool) -> None:
        """Show the sums of both pipelines, and the state of each circuit."""
        latest = {name: part.observer.latest for name, part in self._parts.items()}
        hit = self._hit.observer.latest
        sums = Sample(
            at_us=hit.at_us,
            handled=sum(sample.handled for sample in latest.values()),
            poisoned=sum(sample.poisoned for sample in latest.values()),
            failures=hit.failures,
            dependencies={name: sample.state for name, sample in latest.items()},
        )
        acknowledged = sum(part.sending.progress.acknowledged for part in self._parts.values())
        stage = stage_of(sums, sent=over, waiting=False, opened=False)
        self._display.update(sums, acknowledged, stage)

    async def _kept(self, part: Part) -> Kept:
        """Return what a pipeline keeps for an operator now."""
        documents = await read_poison_queue(part.endpoints, part.run)
        async with async_redis(part.endpoints) as client:
            return Kept.of(documents, await waiting_events(client, part.run))

    async def _judged(self, before: Kept, after: Kept, redriven: int) -> PipelinesVerdict:
        """Return the verdict on what concerns both pipelines."""
        parts = self._parts
        alerts = await read_all_alerts(self._endpoints)
        moves = await operations.workflow_stops(self._endpoints)
        with connect(self._endpoints) as client:
            return judge(
                PipelinesEvidence(
                    hit=self._hit.settings.pipeline,
                    other=self._other.settings.pipeline,
                    circuits={name: part.limits.breaker_name for name, part in parts.items()},
                    histories={
                        name: read_history(client, part.keys, 0) for name, part in parts.items()
                    },
                    ledgers={name: read_ledgers(client, part.keys) for name, part in parts.items()},
                    alerts=alerts,
                    moves=moves,
                    app_states=frozenset(sample.app_state for sample in self._hit.observer.samples),
                    before=before,
                    after=after,
                    redriven=redriven,
                )
            )

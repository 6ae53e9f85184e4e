"""One run from start to report."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable

import httpx
from azure.core.exceptions import AzureError
from redis.exceptions import RedisError

from loadtest.errors import StackError
from loadtest.faults.downstream import downstream_of
from loadtest.faults.injection import FaultInjection
from loadtest.observe.display import Display, Stage, stage_of
from loadtest.observe.observer import Observer
from loadtest.operator import Operator
from loadtest.part import Part, run_name
from loadtest.pipelines_run import PipelinesRun
from loadtest.plan.settings import ApproveWith, Scenario, Settings, Target
from loadtest.report.pipelines import PipelinesReport
from loadtest.report.report import Report
from loadtest.send.process import SendProgress
from loadtest.target.azure import read_azure_endpoints
from loadtest.target.endpoints import Endpoints
from loadtest.target.ownership import read_owners
from loadtest.target.stack import Stack
from loadtest.verify.collector import connect
from loadtest.verify.completion import Completion
from loadtest.verify.judge import repetitions
from loadtest.verify.verdict import Verdict

_TICK_SECONDS = 0.1
_SETTLE_SECONDS = 1.0
"""The wait before verifying, so that a late duplicate is found too."""


async def run(settings: Settings, display: Display) -> Report | PipelinesReport:
    """Start a stack for a local target, send, inject faults, verify and return the report.

    Raises:
        LoadTestError: no verdict could be reached.
    """
    try:
        return await _run(settings, display)
    except (RedisError, AzureError, httpx.HTTPError) as error:
        raise StackError(
            f"the stack stopped responding ({type(error).__name__}: {error})"
        ) from error


async def _run(settings: Settings, display: Display) -> Report | PipelinesReport:
    began = time.monotonic()
    if settings.target is not Target.LOCAL:
        read = read_azure_endpoints if settings.target is Target.AZURE else Endpoints.read
        endpoints = read(settings.endpoints_file)
        return await Run(settings, endpoints, None, display, began).report()
    display.stage(Stage.STARTING)
    stack = Stack(settings)
    async with stack:
        kind = PipelinesRun if settings.scenario is Scenario.TWO_PIPELINES else Run
        report = await kind(settings, stack.endpoints, stack, display, began).report()
        display.stage(Stage.STOPPING)
    if settings.keep:
        display.stage(Stage.KEEPING)
        await stack.start_again()
    if report.passed:
        stack.discard()
    else:
        display.print_line(f"the stack's logs are in {stack.directory}")
    return report


class Run:
    """One run against a stack that is up, of an app with one pipeline."""

    def __init__(
        self,
        settings: Settings,
        endpoints: Endpoints,
        stack: Stack | None,
        display: Display,
        began: float,
    ) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._stack = stack
        self._display = display
        self._began = began
        logs: Callable[[], list[str]] = list if stack is None else stack.host_logs
        self._part = Part(settings, endpoints, run_name(), logs)
        display.failure_threshold = self._part.limits.failure_threshold

    async def report(self) -> Report:
        """Run and return the report."""
        started, part = time.monotonic(), self._part
        async with part.observer as observer:
            before = await observer.first()
            target, print_line = part.target(self._add_host), self._display.print_line
            downstream = downstream_of(self._settings, observer, target, print_line)
            operator = part.operator(before.generation, downstream.recover, print_line)
            injection = FaultInjection(self._settings, observer, operator, downstream, print_line)
            async with part.sending as sending, injection:
                gave_up, verdict = await self._until_over(
                    observer, operator, sending.progress, injection, before.generation
                )
            owners = await read_owners(self._endpoints, part.group)
            seconds = time.monotonic() - self._began
        if reasons := [each for each in (gave_up, downstream.problem) if each is not None]:
            verdict = dataclasses.replace(verdict, broken=(*reasons, *verdict.broken))
        with connect(self._endpoints) as client:
            return part.report(
                client,
                verdict,
                injection,
                after_generation=before.generation,
                started_us=before.at_us,
                start_seconds=started - self._began,
                seconds=seconds,
                owners=owners,
                approvals=operator.approvals,
                acts=downstream.acts,
            )

    async def _add_host(self) -> None:
        if self._stack is not None:
            await self._stack.add_host()

    async def _until_over(
        self,
        observer: Observer,
        operator: Operator,
        progress: SendProgress,
        injection: FaultInjection,
        after_generation: int,
    ) -> tuple[str | None, Verdict]:
        """Watch until every event is accounted for or the run gives up; return reason and verdict.

        The first verdicts may be too early, see `Completion.goes_on`.
        """
        settings = self._settings
        wanted = settings.events - len(self._part.workload.waiting)
        completion = Completion(
            wanted, settings.timeout_seconds, settings.stall_seconds, time.monotonic()
        )
        while True:
            gave_up = await self._watch(completion, observer, operator, progress, injection)
            if gave_up is None:
                await asyncio.sleep(_SETTLE_SECONDS)
            self._display.stage(Stage.VERIFYING)
            verdict = await self._part.judge.verdict(
                observer, progress, injection, after_generation
            )
            needed = wanted + repetitions(verdict)
            goes_on = completion.goes_on(verdict, needed, time.monotonic())
            if gave_up is not None or not goes_on:
                return gave_up, verdict

    async def _watch(
        self,
        completion: Completion,
        observer: Observer,
        operator: Operator,
        progress: SendProgress,
        injection: FaultInjection,
    ) -> str | None:
        while True:
            if self._stack is not None:
                self._stack.check()
            observer.check()
            if failed := injection.check():
                return failed
            sample = observer.latest
            stage = stage_of(
                sample,
                sent=progress.over,
                waiting=operator.waiting,
                opened=bool(operator.approvals),
            )
            self._display.update(sample, progress.acknowledged, stage)
            if progress.error is not None:
                return (
                    f"the producer stopped after {progress.acknowledged} acknowledged events: "
                    f"{progress.error}"
                )
            over = progress.over and injection.over
            completion.expired = injection.expired
            if completion.complete(sample, time.monotonic(), over=over):
                return None
            if operator.waiting and self._settings.approve is ApproveWith.PERSON:
                completion.pause(time.monotonic())
            elif reason := completion.reason_to_give_up(
                sample, progress.acknowledged, time.monotonic()
            ):
                return reason
            await asyncio.sleep(_TICK_SECONDS)

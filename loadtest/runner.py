"""One run from start to report."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from datetime import UTC, datetime

import httpx
from azure.core.exceptions import AzureError
from redis.exceptions import RedisError

from breaker.configuration.lookup import value_of
from loadtest.errors import StackError
from loadtest.faults.chaos import Target as FaultTarget
from loadtest.faults.downstream import Downstream, downstream_of
from loadtest.faults.injection import FaultInjection
from loadtest.observe.completion import Completion
from loadtest.observe.display import Display, Stage, stage_of
from loadtest.observe.observer import Observer
from loadtest.operator import HumanApprover, Operator, approve_with
from loadtest.plan.settings import AppLimits, ApproveWith, Scenario, Settings, Target
from loadtest.plan.workload import Workload
from loadtest.report.report import Report
from loadtest.send.process import Sending, SendProgress
from loadtest.send.producer import Order
from loadtest.target.azure import read_azure_endpoints
from loadtest.target.endpoints import Endpoints
from loadtest.target.keys import Keys
from loadtest.target.ownership import read_owners
from loadtest.target.stack import Stack
from loadtest.verify.collector import connect, read_history, read_ledgers
from loadtest.verify.judge import Judge, repetitions
from loadtest.verify.metrics import measure
from loadtest.verify.verdict import Verdict

_WITH_DEFERRED_KEYS = frozenset({Scenario.PARTIAL_OUTAGE, Scenario.TWO_DEPENDENCIES})
_TICK_SECONDS = 0.1
_OPERATOR_SECONDS = 30.0
"""The time during which the operator of a chaos run retries an approval."""
_PRODUCER_SECONDS = 60.0
_SETTLE_SECONDS = 1.0
"""The wait before verifying, so that a late duplicate is found too."""


async def run(settings: Settings, display: Display) -> Report:
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


async def _run(settings: Settings, display: Display) -> Report:
    began = time.monotonic()
    if settings.target is not Target.LOCAL:
        read = read_azure_endpoints if settings.target is Target.AZURE else Endpoints.read
        endpoints = read(settings.endpoints_file)
        return await Run(settings, endpoints, None, display, began).report()
    display.stage(Stage.STARTING)
    stack = Stack(settings)
    async with stack:
        report = await Run(settings, stack.endpoints, stack, display, began).report()
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
    """One run against a stack that is up."""

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
        self._name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._workload = Workload.from_settings(settings)
        app_settings = endpoints.app_settings()
        self._limits = AppLimits.from_values(app_settings)
        self._group = value_of(app_settings, "EVENT_HUB_CONSUMER_GROUP") or "$Default"
        self._keys = Keys(self._name, self._limits.breaker_name, self._workload.key_names)
        self._judge = Judge(
            settings,
            endpoints,
            self._keys,
            self._workload,
            self._limits,
            logs=lambda: [] if stack is None else stack.host_logs(),
        )
        display.failure_threshold = self._limits.failure_threshold

    async def report(self) -> Report:
        """Run and return the report."""
        started = time.monotonic()
        observer = Observer(
            self._endpoints,
            self._keys,
            self._limits.window_seconds,
            watches_lists=self._settings.scenario in _WITH_DEFERRED_KEYS
            or self._settings.second_act
            or self._workload.parks,
            dependencies=self._workload.dependencies,
        )
        async with observer:
            before = await observer.first()
            sending = self._sending()
            target = self._target(sending)
            downstream = downstream_of(self._settings, observer, target, self._display.print_line)
            operator = self._operator(observer, before.generation, downstream)
            injection = FaultInjection(
                self._settings, observer, operator, downstream, self._display.print_line
            )
            async with sending, injection:
                gave_up, verdict = await self._until_over(
                    observer, operator, sending.progress, injection, before.generation
                )
            owners = await read_owners(self._endpoints, self._group)
            seconds = time.monotonic() - self._began
        if reasons := [each for each in (gave_up, downstream.problem) if each is not None]:
            verdict = dataclasses.replace(verdict, broken=(*reasons, *verdict.broken))
        progress = sending.progress
        with connect(self._endpoints) as client:
            return Report(
                run=self._name,
                scenario=self._settings.scenario.value,
                keys=self._settings.keys,
                instances=self._settings.instances,
                partitions=self._settings.partitions,
                verdict=verdict,
                metrics=measure(read_ledgers(client, self._keys)),
                history=tuple(read_history(client, self._keys, before.generation)),
                samples=tuple(sample for sample in observer.samples if sample.at_us),
                approvals=tuple(operator.approvals),
                owners=owners,
                kills=injection.kills,
                seed=self._settings.seed,
                faults=injection.faults,
                suppressed=observer.latest.suppressed,
                refused=observer.latest.refused,
                failure_threshold=self._limits.failure_threshold,
                window_seconds=self._limits.window_seconds,
                started_us=before.at_us,
                start_seconds=started - self._began,
                send_seconds=progress.seconds,
                seconds=seconds,
                dependencies={
                    name: tuple(read_history(client, self._keys, 0, name))
                    for name in self._workload.dependencies
                },
                acts=tuple(downstream.acts),
            )

    def _operator(self, observer: Observer, generation: int, downstream: Downstream) -> Operator:
        return Operator(
            observer,
            self._endpoints.workflow_url,
            downstream.recover,
            approve_with(
                self._settings.approve,
                self._endpoints,
                self._limits.breaker_name,
                HumanApprover(observer, self._endpoints, self._display.print_line).approve,
            ),
            approve_after_seconds=self._settings.approve_after_seconds,
            after_generation=generation,
            patience_seconds=_OPERATOR_SECONDS if self._settings.chaos else 0,
        )

    def _target(self, sending: Sending) -> FaultTarget:
        async def add_host() -> None:
            if self._stack is not None:
                await self._stack.add_host()

        return FaultTarget(
            self._endpoints,
            self._keys,
            self._group,
            add_host,
            sending.release,
            lambda: sending.progress.acknowledged,
        )

    def _sending(self) -> Sending:
        settings = self._settings
        return Sending(
            Order(
                connection=self._endpoints.event_hub_connection,
                namespace=self._endpoints.event_hub_namespace,
                event_hub=self._endpoints.event_hub_name,
                run=self._name,
                events_per_batch=settings.events_per_batch,
                rate_per_second=settings.rate_per_second,
                workload=self._workload,
                # A chaos fault may last longer than the SDK retries.
                patience_seconds=0 if settings.chaos is None else _PRODUCER_SECONDS,
                holds=settings.holds,
            )
        )

    async def _until_over(
        self,
        observer: Observer,
        operator: Operator,
        progress: SendProgress,
        injection: FaultInjection,
        after_generation: int,
    ) -> tuple[str | None, Verdict]:
        """Watch until every event is accounted for or the run gives up; return reason and verdict.

        The observer counts entries, and only the verifier recognizes duplicates. If events are
        missing and others are counted twice, the count was reached too early and the wait
        continues.
        """
        settings = self._settings
        wanted = settings.events - len(self._workload.waiting)
        completion = Completion(
            wanted, settings.timeout_seconds, settings.stall_seconds, time.monotonic()
        )
        while True:
            gave_up = await self._watch(completion, observer, operator, progress, injection)
            if gave_up is None:
                await asyncio.sleep(_SETTLE_SECONDS)
            self._display.stage(Stage.VERIFYING)
            verdict = await self._judge.verdict(observer, progress, injection, after_generation)
            needed = wanted + repetitions(verdict)
            if gave_up is not None or not verdict.lost or needed <= completion.needed:
                return gave_up, verdict
            completion.needed = needed

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

"""The part of a run that tests one pipeline: its keys, workload, observer, sender and judge."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

import redis

from breaker.configuration.lookup import value_of
from loadtest.faults.chaos import Target as FaultTarget
from loadtest.faults.downstream import Act
from loadtest.faults.injection import FaultInjection
from loadtest.observe.observer import Observer
from loadtest.operator import Approval, HumanApprover, Operator, approve_with
from loadtest.plan.settings import AppLimits, Scenario, Settings
from loadtest.plan.workload import Workload
from loadtest.report.report import Report
from loadtest.send.process import Sending
from loadtest.send.producer import Order
from loadtest.target.endpoints import Endpoints
from loadtest.target.keys import Keys
from loadtest.verify.collector import read_history, read_ledgers
from loadtest.verify.judge import Judge
from loadtest.verify.metrics import measure
from loadtest.verify.verdict import Verdict

_WITH_LISTS = frozenset(
    {Scenario.PARTIAL_OUTAGE, Scenario.TWO_DEPENDENCIES, Scenario.TWO_PIPELINES}
)
"""The scenarios in which keys are deferred or parked."""
_OPERATOR_SECONDS = 30.0
"""The time during which the operator of a chaos run retries an approval."""
_PRODUCER_SECONDS = 60.0


def run_name() -> str:
    """Return a new name of a run, which no other run has."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


class Part:
    """The part of a run that tests one pipeline; a run of an app with one pipeline has one part.

    Attributes:
        settings: the settings, as the pipeline has them.
        endpoints: the stack, as the pipeline uses it.
        run: the run's name, which the pipeline's events carry.
        workload: the pipeline's events.
        limits: the app settings that the verdict depends on.
        group: the consumer group.
        keys: the names of the keys in Redis.
        observer: the poller, to be entered before use.
        sending: the producer process, to be entered after the observer.
        judge: the judge of the pipeline's events and circuit.
    """

    def __init__(
        self,
        settings: Settings,
        endpoints: Endpoints,
        run: str,
        logs: Callable[[], Sequence[str]],
    ) -> None:
        self.settings, self.endpoints, self.run = settings, endpoints, run
        self.workload = Workload.from_settings(settings)
        values = endpoints.pipeline_settings()
        self.limits = AppLimits.from_values(values)
        self.group = value_of(values, "EVENT_HUB_CONSUMER_GROUP") or "$Default"
        self.keys = Keys(run, self.limits.breaker_name, self.workload.key_names, endpoints.pipeline)
        self.observer = Observer(
            endpoints,
            self.keys,
            self.limits.window_seconds,
            watches_lists=settings.scenario in _WITH_LISTS
            or settings.second_act
            or self.workload.parks,
            dependencies=self.workload.dependencies,
        )
        self.sending = Sending(self._order())
        self.judge = Judge(settings, endpoints, self.keys, self.workload, self.limits, logs=logs)

    def target(self, add_host: Callable[[], Awaitable[None]]) -> FaultTarget:
        """Return the parts of the stack that faults of this pipeline hit."""
        return FaultTarget(
            self.endpoints,
            self.keys,
            self.group,
            add_host,
            self.sending.release,
            lambda: self.sending.progress.acknowledged,
        )

    def operator(
        self,
        after_generation: int,
        recover: Callable[[], Awaitable[None]],
        print_line: Callable[[str], None],
    ) -> Operator:
        """Return the operator of the pipeline's circuit.

        Args:
            after_generation: the circuit's generation before the run.
            recover: repairs the downstream.
            print_line: prompts a person to approve.
        """
        settings, endpoints, observer = self.settings, self.endpoints, self.observer
        return Operator(
            observer,
            endpoints.workflow_url,
            recover,
            approve_with(
                settings.approve,
                endpoints,
                self.limits.breaker_name,
                HumanApprover(observer, endpoints, print_line).approve,
            ),
            circuit=self.limits.breaker_name,
            approve_after_seconds=settings.approve_after_seconds,
            after_generation=after_generation,
            patience_seconds=_OPERATOR_SECONDS if settings.chaos else 0,
        )

    def report(
        self,
        client: redis.Redis,
        verdict: Verdict,
        injection: FaultInjection,
        *,
        after_generation: int,
        started_us: int,
        start_seconds: float,
        seconds: float,
        owners: Mapping[str, str],
        approvals: Sequence[Approval] = (),
        acts: Sequence[Act] = (),
    ) -> Report:
        """Return the report on this part; `client` reads Redis.

        The other arguments are fields of the report.
        """
        settings, limits, observer = self.settings, self.limits, self.observer
        return Report(
            run=self.run,
            scenario=settings.scenario.value,
            keys=settings.keys,
            instances=settings.instances,
            partitions=settings.partitions,
            verdict=verdict,
            metrics=measure(read_ledgers(client, self.keys)),
            history=tuple(read_history(client, self.keys, after_generation)),
            samples=tuple(sample for sample in observer.samples if sample.at_us),
            approvals=tuple(approvals),
            owners=owners,
            kills=injection.kills,
            seed=settings.seed if settings.chaos is None else settings.chaos.seed,
            faults=injection.faults,
            suppressed=observer.latest.suppressed,
            refused=observer.latest.refused,
            failure_threshold=limits.failure_threshold,
            window_seconds=limits.window_seconds,
            started_us=started_us,
            start_seconds=start_seconds,
            send_seconds=self.sending.progress.seconds,
            seconds=seconds,
            dependencies={
                name: tuple(read_history(client, self.keys, 0, name))
                for name in self.workload.dependencies
            },
            acts=tuple(acts),
            pipeline=settings.pipeline,
        )

    def _order(self) -> Order:
        settings, endpoints = self.settings, self.endpoints
        return Order(
            connection=endpoints.event_hub_connection,
            namespace=endpoints.event_hub_namespace,
            event_hub=endpoints.event_hub_name,
            run=self.run,
            events_per_batch=settings.events_per_batch,
            rate_per_second=settings.rate_per_second,
            workload=self.workload,
            # A chaos fault may last longer than the SDK retries.
            patience_seconds=0 if settings.chaos is None else _PRODUCER_SECONDS,
            holds=settings.holds,
        )

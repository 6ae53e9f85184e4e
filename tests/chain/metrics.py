"""The metrics that the platform emits, as far as the chain has any."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.local.simulated_clock import SimulatedClock

TOPIC = "Microsoft.EventGrid/topics"
WORKFLOW = "Microsoft.Logic/workflows"


@dataclass(frozen=True)
class Metric:
    """One count of a metric."""

    at: float
    namespace: str
    name: str


@dataclass
class Metrics:
    """All counts so far, oldest first."""

    clock: SimulatedClock
    counts: list[Metric] = field(default_factory=list)

    def count(self, namespace: str, name: str) -> None:
        self.counts.append(Metric(self.clock.now(), namespace, name))

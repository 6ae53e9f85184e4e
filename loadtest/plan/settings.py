"""The settings of a run, validated once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from breaker.configuration.lookup import value_of
from loadtest.errors import UsageError
from loadtest.plan.chaos import ChaosPlan
from loadtest.plan.two_pipelines import PIPELINES

_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:]*\Z")


class Scenario(StrEnum):
    """The faults of a run."""

    OUTAGE = "outage"
    SEED = "seed"
    STEADY = "steady"
    CHAOS = "chaos"
    TRICKLE_OUTAGE = "trickle-outage"
    DEAD_KEY = "dead-key"
    PARTIAL_OUTAGE = "partial-outage"
    TWO_DEPENDENCIES = "two-dependencies"
    CRASH_LOOP = "crash-loop"
    BLOCKED_LOOP = "blocked-loop"
    RECREATED_HUB = "recreated-hub"
    EXPIRED = "expired"
    CLOCK_BACK = "clock-back"
    READONLY_FAILOVER = "readonly-failover"
    NO_REPLICAS = "no-replicas"
    MUTED = "muted"
    TWO_PIPELINES = "two-pipelines"
    LISTS = "lists"


WITH_OUTAGE = frozenset(
    {
        Scenario.OUTAGE,
        Scenario.TRICKLE_OUTAGE,
        Scenario.DEAD_KEY,
        Scenario.PARTIAL_OUTAGE,
        Scenario.TWO_DEPENDENCIES,
        Scenario.TWO_PIPELINES,
    }
)
"""The scenarios with an outage of their own, which begins at `outage_after`."""
WITH_REPLICA = frozenset({Scenario.READONLY_FAILOVER, Scenario.NO_REPLICAS, Scenario.MUTED})
"""The scenarios whose Redis has a replica behind the same address."""
PLANNED = frozenset(Scenario) - {Scenario.OUTAGE, Scenario.SEED, Scenario.STEADY}
"""The scenarios that always have a chaos plan."""


class Target(StrEnum):
    """The stack under test, either private, started by `python -m local up`, or on Azure."""

    LOCAL = "local"
    RUNNING = "running"
    AZURE = "azure"


class ApproveWith(StrEnum):
    """The way to approve: `breakwater approve`, the console's API, or a person."""

    CLI = "cli"
    CONSOLE = "console"
    PERSON = "person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one run; units are in the names.

    Attributes:
        pipeline: the pipeline that these settings describe, of a run with several; "" for all.

    Raises:
        UsageError: a value is out of range or two options contradict each other; the message
            names the option, its value and the accepted values.
    """

    scenario: Scenario = Scenario.OUTAGE
    events: int = 100_000
    keys: int = 100
    poison_every: int = 2_000
    outage_after: int = 20_000
    approve_after_seconds: float = 5.0
    second_act: bool = False
    approve: ApproveWith = ApproveWith.CLI
    console: bool = True
    report: Path = Path("out/report.json")
    json_only: bool = False
    keep: bool = False
    target: Target = Target.LOCAL
    endpoints_file: Path = Path(".local/endpoints.json")
    instances: int = 1
    partitions: int = 4
    app: Path | None = None
    app_settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    kill_after: int | None = None
    lease_seconds: float | None = None
    rate_per_second: float = 0.0
    events_per_batch: int = 40
    timeout_seconds: float = 600.0
    stall_seconds: float = 60.0
    seed: int = 0
    chaos: ChaosPlan | None = None
    pipeline: str = ""

    def __post_init__(self) -> None:
        self._at_least("--events", self.events, 1)
        self._at_least("--keys", self.keys, 1)
        self._at_least("--poison-every", self.poison_every, 0)
        self._at_least("--outage-after", self.outage_after, 0)
        self._at_least("--approve-after", self.approve_after_seconds, 0)
        self._at_least("--instances", self.instances, 1)
        self._at_least("--partitions", self.partitions, 1)
        self._at_least("--rate", self.rate_per_second, 0)
        self._at_least("--events-per-batch", self.events_per_batch, 1)
        if self.keys > self.events:
            raise UsageError(
                f"--keys {self.keys} is more than --events {self.events}, "
                "but each key needs an event"
            )
        if self.scenario in WITH_OUTAGE and self.outage_after >= self.events:
            raise UsageError(
                f"--outage-after {self.outage_after} must be less than --events {self.events}, "
                "or the outage would never begin"
            )
        if self.kill_after is not None and not 1 <= self.kill_after < self.events:
            raise UsageError(
                f"--kill-after {self.kill_after} is out of range; "
                f"it takes 1 to {self.events - 1} (below --events)"
            )
        for option, seconds in (
            ("--timeout", self.timeout_seconds),
            ("--stall", self.stall_seconds),
            ("--lease", self.lease_seconds),
        ):
            if seconds is not None and not seconds > 0:
                raise UsageError(
                    f"{option} {seconds:g} is out of range; it takes a number of seconds above 0"
                )
        if self.report.suffix != ".json":
            raise UsageError(
                f"--report {self.report} is invalid; it takes a file name that ends in .json"
            )
        if self.app is not None and not (self.app / "function_app.py").is_file():
            raise UsageError(
                f"--app {self.app} is invalid; it takes a directory that holds a function_app.py"
            )
        for name in self.app_settings:
            if not _SETTING_NAME.match(name):
                raise UsageError(
                    f"--set {name!r} is invalid; it takes NAME=VALUE with an app setting's name"
                )
        if self.second_act and (
            self.scenario is not Scenario.OUTAGE
            or self.chaos is not None
            or self.target is not Target.LOCAL
        ):
            raise UsageError(
                "--second-act is only accepted with --scenario outage and --target local, without "
                "--faults"
            )
        if self.scenario is Scenario.TWO_PIPELINES and self.approve is ApproveWith.PERSON:
            raise UsageError(
                f"--approve {self.approve} is not accepted with --scenario {self.scenario}; "
                "it takes cli or console"
            )
        if self.scenario in PLANNED and self.chaos is None:
            raise UsageError(f"--scenario {self.scenario} needs a chaos plan")
        if self.target is not Target.LOCAL and self.chaos is not None:
            option = f"--scenario {self.scenario}" if self.scenario in PLANNED else "--faults"
            raise UsageError(
                f"{option} is only accepted with --target local, "
                "because it breaks the stack under test"
            )
        if self.target is not Target.LOCAL and self.app_settings:
            raise UsageError(
                "--set is only accepted with --target local, "
                "because the settings of a running stack cannot be changed"
            )
        if not self.console and self.approve is not ApproveWith.CLI:
            raise UsageError(
                f"--no-console is not accepted with --approve {self.approve}, "
                "which needs the console"
            )
        if self.target is not Target.LOCAL and self.keep:
            raise UsageError("--keep is only accepted with --target local; other stacks stay up")
        if self.target is Target.AZURE and self.kill_after is not None:
            raise UsageError("--kill-after is only accepted with --target local or running")

    @property
    def all_events(self) -> int:
        """The number of events of all pipelines; `events` is the number for each."""
        has_several = self.scenario is Scenario.TWO_PIPELINES and not self.pipeline
        return self.events * (len(PIPELINES) if has_several else 1)

    @property
    def holds(self) -> tuple[int, ...]:
        """The numbers of sent events at which the sender waits, each until an outage has begun.

        Half of the events that follow an outage are sent after the beginning of the outage, even if
        the app handles events faster than the observer sees them. A plan may name other numbers.
        The other of two pipelines waits for each time in which the hit one may not run.
        """
        if self.chaos is not None and self.pipeline and self.pipeline != self.chaos.hit:
            thirds = (self.events // 3, 2 * self.events // 3)
            return thirds if self.chaos.isolates else thirds[1:]
        begins = [self.outage_after] if self.scenario in WITH_OUTAGE else []
        if self.chaos is not None:
            if self.chaos.holds:
                return self.chaos.holds
            begins += self.chaos.outages
        return tuple((begin + self.events) // 2 for begin in sorted(begins))

    @staticmethod
    def _at_least(option: str, value: float, least: int) -> None:
        if not value >= least:
            raise UsageError(f"{option} {value} is out of range; it takes {least} or more")


@dataclass(frozen=True, slots=True)
class AppLimits:
    """The app settings that the verdict depends on, with the app's defaults."""

    breaker_name: str
    failure_threshold: int
    window_seconds: float
    max_attempts: int
    max_lanes: int
    defer_after_seconds: float = 10.0
    list_events: int = 1_000

    @classmethod
    def from_values(cls, values: Mapping[str, str]) -> AppLimits:
        """Read the limits from the app's settings.

        Raises:
            UsageError: a limit is not a number above 0.
        """

        def number(name: str, default: float) -> float:
            text = value_of(values, name) or str(default)
            try:
                value = float(text)
            except ValueError:
                value = 0.0
            if not value > 0:
                raise UsageError(
                    f"the app setting {name}={text!r} is invalid; it takes a number above 0"
                )
            return value

        return cls(
            breaker_name=value_of(values, "BREAKER_NAME") or "breakwater",
            failure_threshold=int(number("BREAKER_FAILURE_THRESHOLD", 100)),
            window_seconds=number("BREAKER_WINDOW_SECONDS", 30.0),
            max_attempts=int(number("PROCESSING_MAX_ATTEMPTS", 4)),
            max_lanes=int(number("PROCESSING_MAX_LANES", 128)),
            defer_after_seconds=number("PROCESSING_DEFER_AFTER_SECONDS", 10.0),
            list_events=int(number("PROCESSING_BATCH_HANDLER_EVENTS", 1_000)),
        )

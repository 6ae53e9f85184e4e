"""The plan of one run: events, outages, settings and faults, all drawn from one seed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import Any

type Place = tuple[str, int]
"""Partition and sequence number of an event."""

FOREVER = float("inf")
STUMBLE_SECONDS = (2.0, 40.0, 100.0)
"""The times for which a process may stand still; the watchdog ends it after 120 s."""


class FaultKind(StrEnum):
    """A kind of fault, or of an operator's command, at one moment of a run."""

    KILL = "kill"  # an instance dies; the host starts it again after `seconds`
    STOP = "stop"  # an instance shuts down, and starts again after `seconds`
    REBALANCE = "rebalance"  # another instance gets the partition; the old one notices later
    FREEZE = "freeze"  # an instance stands still for `seconds`
    REDIS_DOWN = "redis down"  # Redis answers nobody for `seconds`
    FAILOVER = "failover"  # Redis continues with what the replica has
    EMPTY = "empty"  # Redis loses all its data
    CLOCK = "clock"  # Redis's clock jumps by `seconds`, so that leases end early
    REDRIVE = "redrive"  # an operator redrives `key`, or everything
    REWIND = "rewind"  # an operator rewinds a partition to event `number`


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault or one operator's command."""

    at: float
    kind: FaultKind
    instance: int = 0
    partition: str = "0"
    seconds: float = 0.0
    key: str | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which the downstream refuses the events of one key, or of all keys."""

    key: str | None
    begin: float
    end: float
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """The behaviour of the connections to the stores.

    Attributes:
        latency: longest usual time of one way, in seconds.
        lost: share of calls whose request or whose answer is lost.
        late: share of calls that time out, and whose request is executed later all the same.
    """

    latency: float = 0.01
    lost: float = 0.0
    late: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one run.

    Attributes:
        keys: the keys of each partition's events, in order.
        arrivals: time at which each event is in the hub, in seconds from the start of the run.
        poison: events that are poison until a time.
        broken: events that raise an ordinary error until a time.
        horizon: time after which everything heals.
        replica: whether Redis has a replica, which lags by at most `lag` seconds.
        handler_seconds: longest time of one call of the downstream.
        stumbles: share of calls before which the process stands still.
        tick: factor of all pauses of the host and of the operators.
    """

    seed: int
    keys: dict[str, list[str | None]]
    arrivals: dict[str, list[float]]
    poison: dict[Place, float]
    broken: dict[Place, float]
    outages: list[Outage]
    settings: dict[str, Any]
    instances: int
    batch: int
    faults: list[Fault]
    network: Network
    horizon: float
    replica: bool = False
    lag: float = 0.0
    handler_seconds: float = 0.05
    breaker: dict[str, Any] = field(default_factory=dict)
    stumbles: float = 0.0
    tick: float = 1.0

    @property
    def is_quiet(self) -> bool:
        """The absence of all faults that allow duplicates."""
        quiet = (FaultKind.REDRIVE, FaultKind.STOP)
        return not (
            self.stumbles
            or self.network.lost
            or self.network.late
            or any(fault.kind not in quiet for fault in self.faults)
        )


def plan_for(
    seed: int,
    *,
    only: frozenset[FaultKind] | None = None,
    horizon: float | None = None,
    most: bool = False,
    tick: float = 1.0,
    **forced: Any,
) -> Plan:
    """Return the plan of a seed.

    Args:
        seed: the same seed gives the same plan.
        only: the kinds of faults that the run has; None: all kinds.
        horizon: time after which everything heals; None: drawn.
        most: whether the run has as many faults as a run can have, and many short outages.
        tick: factor of all pauses and of the faults' lengths.
        forced: settings of `ProcessingSettings` that replace drawn ones.
    """
    rng = Random(seed)  # noqa: S311 - no secret
    horizon = horizon or rng.choice([20.0, 60.0, 60.0, 150.0])
    names: list[str | None] = [*"abcd"[: rng.randint(2, 4)]]
    if rng.random() < 0.3:
        names.append(None)
    partitions = [str(number) for number in range(rng.choice([1, 1, 1, 2]))]
    keys, arrivals = {}, {}
    for partition in partitions:
        count = rng.randint(10, 50 // len(partitions))
        weights = [rng.choice([1, 3]) for _ in names]
        keys[partition] = rng.choices(names, weights, k=count)
        arrivals[partition] = sorted(rng.uniform(0, horizon * 0.9) for _ in range(count))
        at_once = rng.randint(0, count)
        arrivals[partition][:at_once] = [0.0] * at_once
    places = [(each, number) for each in partitions for number in range(len(keys[each]))]
    ordering = rng.choice(["skip", "park"])
    settings = {
        "poison_ordering": ordering,
        "keyless_order": rng.choice(["partition", "none"]),
        "max_lanes": rng.choice([1, 2, 128, 128]),
        "max_attempts": rng.choice([1, 2]),
        "retry_initial_seconds": rng.choice([0.0, 0.5]),
        "retry_max_seconds": 2.0,
        "dependency_pause_seconds": rng.choice([0.1, 1.0]),
        "hold_seconds": rng.choice([2.0, 20.0]),
        "defer_after_seconds": rng.choice([0.0, 0.5, 3.0]),
        "defer_max_seconds": rng.choice([1.0, 8.0, 30.0]),
        "deferred_events_max": rng.choice([3, 10_000, 10_000, 10_000]),
        "parked_events_max": rng.choice([4, 100, 100, 100]),
    } | forced
    poison: dict[Place, float] = {}
    broken: dict[Place, float] = {}
    for place in rng.sample(places, min(len(places), rng.choice([0, 0, 1, 2, 4]))):
        lasting = FOREVER if settings["poison_ordering"] == "skip" else horizon
        until = rng.choice([lasting, rng.uniform(0, horizon)])
        (poison if rng.random() < 0.7 else broken)[place] = until
    outages = [
        Outage(rng.choice(names), begin, begin + rng.uniform(0.5, horizon))
        for begin in (rng.uniform(0, horizon * 0.8) for _ in range(rng.randint(1, 4)))
    ]
    if most:
        begins = [rng.uniform(0, horizon) for _ in range(12)]
        outages += [Outage(rng.choice(names), at, at + rng.uniform(0.5, 8)) for at in begins]
    if rng.random() < 0.15:
        begin = rng.uniform(0, horizon)
        outages.append(Outage(None, begin, begin + rng.uniform(5, 60), everything=True))
    instances = rng.randint(2, 3)
    kinds = sorted(FaultKind if only is None else only)
    faults: list[Fault] = []
    count = 10 if most else rng.choice([0, 1, 3, 6, 10])
    for _ in range(count if kinds else 0):
        partition = rng.choice(partitions)
        faults.append(
            Fault(
                at=rng.uniform(0, horizon),
                kind=rng.choice(kinds),
                instance=rng.randrange(instances),
                partition=partition,
                seconds=rng.choice([0.3, 2.0, 10.0, 40.0, 100.0]) * tick,
                key=rng.choice([None, None, *names]),
                number=rng.randrange(len(keys[partition])),
            )
        )
    if only is None or FaultKind.REDRIVE in only:
        # Redrives that are under way when a partition is rewound.
        faults += [
            replace(each, at=max(0.0, each.at - rng.uniform(0, 3)), kind=FaultKind.REDRIVE)
            for each in faults
            if each.kind is FaultKind.REWIND and rng.random() < 0.5
        ]
    faults.sort(key=lambda fault: fault.at)
    bad_network = (only is None or len(only) > 3) and rng.random() < 0.5
    return Plan(
        seed=seed,
        keys=keys,
        arrivals=arrivals,
        poison=poison,
        broken=broken,
        outages=outages,
        settings=settings,
        instances=instances,
        batch=rng.choice([1, 3, 8, 20]),
        faults=faults,
        network=Network(
            latency=rng.choice([0.001, 0.01, 0.3]),
            lost=rng.choice([0.01, 0.05]) if bad_network else 0.0,
            late=rng.choice([0.0, 0.02]) if bad_network else 0.0,
        ),
        horizon=horizon,
        replica=any(fault.kind is FaultKind.FAILOVER for fault in faults),
        lag=rng.choice([0.3, 0.9]),
        handler_seconds=rng.choice([0.0, 0.05, 1.0, 10.0]) * tick,
        stumbles=rng.choice([0.0, 0.02, 0.1]) if FaultKind.FREEZE in kinds else 0.0,
        tick=tick,
        breaker={"recovery": "automatic", "break_seconds": 5.0, "count_poison": False},
    )

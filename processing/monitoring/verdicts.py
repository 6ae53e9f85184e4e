"""Verdicts on the partitions, from their lag and from the states that instances report."""

from __future__ import annotations

from dataclasses import replace

from processing.formats.event_fields import key_hash
from processing.monitoring.partition_state import PartitionState, State
from processing.monitoring.reasons import HOLDING, Why
from processing.parking.event import Lone
from processing.parking.store import ParkedKey
from processing.partitions.lag import PartitionLag

RESTART_SECONDS = 15.0
"""Age of an event for the fleet, beyond its age for its instance, that shows a restart."""


def judged(
    lag: PartitionLag,
    report: PartitionState | None,
    *,
    hub: str,
    age: float,
    held: Why | None,
    stall_seconds: float,
) -> PartitionState | None:
    """Return the state of a partition; None: the partition has no unfinished event.

    Args:
        lag: the partition's lag.
        report: the worst state that an instance reports.
        hub: the hub's name.
        age: time for which the watermark has not changed although events wait.
        held: the reason for which no event of any partition starts.
        stall_seconds: time after which a partition that does not move is stalled.
    """
    first = None if lag.last_enqueued is None else lag.last_enqueued + 1 - lag.behind
    if lag.recreated:
        # No circuit holds the partition: it waits for a decision about its checkpoint.
        return PartitionState(
            hub,
            lag.partition,
            State.STALLED,
            age,
            first,
            why=Why.RECREATED,
            reason=recreated_reason(lag),
        )
    if not lag.behind:  # the report is older than the lag
        return None
    if held in (HOLDING - {Why.RAMP}):
        state = State.PAUSED if held is Why.PAUSED else State.HOLDING
        seconds = 0.0 if report is None else report.seconds
        return PartitionState(hub, lag.partition, state, seconds, first, why=held)
    if report is None:
        if age < stall_seconds:
            return None
        waiting = f"{lag.behind} events wait in the hub, and no instance reports the first of them"
        return PartitionState(
            hub, lag.partition, State.STALLED, age, first, why=Why.NOT_HANDED_OVER, reason=waiting
        )
    restarted = report.seconds + RESTART_SECONDS < age
    if age >= stall_seconds and restarted and report.state in (State.OK, State.SLOW):
        # The fleet has known the event for longer than the instance that runs the event now.
        why = report.why if report.why is not None else Why.RESTARTED
        return replace(report, state=State.STALLED, seconds=round(age, 1), why=why)
    return report


def recreated_reason(lag: PartitionLag) -> str:
    """Return what shows that the hub of a partition was recreated."""
    if lag.watermark is None:
        return "the checkpoint is that of an earlier hub: the hub was recreated"
    if lag.last_enqueued is None:
        return f"event {lag.watermark} is finished, and the hub is empty: the hub was recreated"
    if lag.watermark <= lag.last_enqueued:
        return f"event {lag.watermark} was finished in an earlier hub: the hub was recreated"
    return (
        f"event {lag.watermark} is finished, and the hub ends at event {lag.last_enqueued}: the "
        "hub was recreated"
    )


def deferred_state(key: ParkedKey, keys: int, now: float) -> PartitionState:
    """Return the state of a partition whose key `key` has been deferred for the longest time.

    Args:
        key: the key.
        keys: number of such keys in the partition.
        now: time by the store's clock, seconds since 1970.
    """
    deferral = key.deferral
    assert deferral is not None  # noqa: S101 - the caller chose deferred keys
    lone = isinstance(key.key, Lone)
    dependency = f"dependency {deferral.dependency}, " if deferral.dependency else ""
    others = f"; {keys - 1} more such keys" if keys > 1 else ""
    return PartitionState(
        key.source.hub,
        key.source.partition,
        State.STALLED,
        round(now - deferral.since, 1),
        int(key.key.position[16:]) if isinstance(key.key, Lone) else None,
        "" if lone or key.key is None else key_hash(str(key.key)),
        Why.DEFERRED,
        f"{dependency}{deferral.attempts} attempts: {deferral.error}{others}",
        deferred=True,
    )

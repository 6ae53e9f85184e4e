"""The evidence collected outside the system, as plain values for the verifier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from loadtest.faults.hub_ends import ClockStep, Expiry, Recreation
from loadtest.faults.redis_failover import RedisAbsence
from loadtest.plan.workload import Workload
from loadtest.verify.expectation import Expectation


class LedgerEntry(NamedTuple):
    """One handled event; `enqueued_ms` is by the event hub's clock, `appended_us` by Redis's."""

    counter: int
    partition: str
    sequence: int
    enqueued_ms: int
    appended_us: int

    @classmethod
    def parse(cls, text: str) -> LedgerEntry:
        """Read `<counter> <partition> <sequence> <enqueued_ms> <appended_us>`.

        Raises:
            ValueError: the text has a different format.
        """
        try:
            counter, partition, sequence, enqueued_ms, appended_us = text.split(" ")
            return cls(int(counter), partition, int(sequence), int(enqueued_ms), int(appended_us))
        except ValueError as error:
            raise ValueError(f"not a ledger entry: {text!r}") from error


class RefusedCall(NamedTuple):
    """A call that the downstream refused during an outage; `at_us` is by Redis's clock."""

    key: str
    counter: int
    partition: str
    sequence: int
    at_us: int

    @classmethod
    def parse(cls, text: str) -> RefusedCall:
        r"""Read `<key>\t<counter>\t<partition>\t<sequence>\t<us>`.

        Raises:
            ValueError: the text has a different format.
        """
        try:
            key, counter, partition, sequence, at_us = text.rsplit("\t", 4)
            return cls(key, int(counter), partition, int(sequence), int(at_us))
        except ValueError as error:
            raise ValueError(f"not a refused call: {text!r}") from error


class Transition(NamedTuple):
    """One entry of the circuit's history stream; `at_us` is by Redis's clock."""

    event: str
    generation: int
    at_us: int
    by: str = ""


class Alert(NamedTuple):
    """An event that reached the Event Grid topic.

    Attributes:
        dependency: the dependency of the circuit; "" for the app's or a pipeline's own.
        kind: the kind of the circuit, such as "app"; "" if unknown.
        circuit: the circuit's name; "" if unknown.
    """

    id: str
    type: str
    generation: int
    dependency: str = ""
    kind: str = ""
    circuit: str = ""


@dataclass(frozen=True, slots=True)
class CircuitEvidence:
    """The evidence about one circuit.

    Attributes:
        history: the circuit's transitions of this run, oldest first.
        alerts: the circuit's alerts that reached the Event Grid topic during this run.
        state: the circuit's state at the end.
    """

    history: Sequence[Transition] = ()
    alerts: Sequence[Alert] = ()
    state: str = "closed"


@dataclass(frozen=True, slots=True)
class HubEvidence:
    """The evidence about the hub's ends.

    Attributes:
        recreation: the hub that was recreated; None if it was not.
        expiry: the events that expired; None if none did.
        recorded: partition → the number of expired events in the app's records of gaps.
        clock: the broker's clock that was set back; None if it was not.
    """

    recreation: Recreation | None = None
    expiry: Expiry | None = None
    recorded: Mapping[str, int] = field(default_factory=dict)
    clock: ClockStep | None = None


@dataclass(frozen=True, slots=True)
class ListEvidence:
    """The evidence about the calls of a handler of lists.

    Attributes:
        sizes: number of events of a list → the number of such calls.
        wrong: a text for each list that was not in order, or shared a key with a running call.
    """

    sizes: Mapping[int, int] = field(default_factory=dict)
    wrong: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence for the verdict.

    Attributes:
        workload: the planned events.
        sent: key → n; the hub acknowledged the counters 1 to n.
        unconfirmed: key → m, at least n; the counters n + 1 to m may have been sent, but were not
            acknowledged.
        ledgers: key → entries in order; read once, one key at a time.
        refused: the calls that an outage refused.
        poison: the poison messages of this run, as parsed JSON documents.
        parked: parked events as (key, counter).
        history: the circuit's transitions of this run, oldest first.
        alerts: the alerts that reached the Event Grid topic during this run.
        circuit_state: the circuit's state at the end.
        expectation: the openings and duplicates that the scenario expects.
        max_attempts: attempts after which a failing event is poisoned.
        kills: host processes killed by the run; an event may then be in the poison queue twice.
        suppressed: appends that the ledger suppressed because the event was already there.
        deferred: the keys that were deferred at some time of the run.
        still_deferred: the keys that are deferred at the end.
        redis_away: the times at which Redis was restarted or paused, as (start, end).
        dependencies: the evidence about the circuit of each dependency.
        killed_us: the times at which a host was killed.
        deaths: the calls with the deadly event, each of which ended its process.
        log: the lines of the hosts' logs that `log_check` needs.
        hub: what became of the hub's ends.
        redis_absences: the faults of a Redis with a replica.
        instances: the number of host instances.
        lists: the calls of a handler of lists.
    """

    workload: Workload
    sent: Mapping[str, int]
    ledgers: Iterable[tuple[str, Sequence[LedgerEntry]]]
    expectation: Expectation
    circuit_state: str = "closed"
    unconfirmed: Mapping[str, int] = field(default_factory=dict)
    refused: Sequence[RefusedCall] = ()
    poison: Sequence[Mapping[str, Any]] = ()
    parked: frozenset[tuple[str, int]] = frozenset()
    history: Sequence[Transition] = ()
    alerts: Sequence[Alert] = ()
    max_attempts: int = 4
    kills: int = 0
    suppressed: int = 0
    deferred: frozenset[str] = frozenset()
    still_deferred: frozenset[str] = frozenset()
    redis_away: Sequence[tuple[int, int]] = ()
    dependencies: Mapping[str, CircuitEvidence] = field(default_factory=dict)
    killed_us: Sequence[int] = ()
    deaths: int = 0
    log: Sequence[str] = ()
    hub: HubEvidence = field(default_factory=HubEvidence)
    redis_absences: Sequence[RedisAbsence] = ()
    instances: int = 1
    lists: ListEvidence = field(default_factory=ListEvidence)

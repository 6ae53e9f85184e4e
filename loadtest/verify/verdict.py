"""The outcome of a verification, with figures, broken promises and affected events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LINES_PER_FINDING = 20


class Diff:
    """The affected events as text, with at most LINES_PER_FINDING lines per finding."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def add(self, finding: str, line: str) -> None:
        """Record one case of a finding (`lost`, `duplicate`, …)."""
        self._counts[finding] = self._counts.get(finding, 0) + 1
        lines = self._lines.setdefault(finding, [])
        if len(lines) < LINES_PER_FINDING:
            lines.append(f"{finding}: {line}")

    def count(self, finding: str) -> int:
        """Return the number of cases of a finding, shown or not."""
        return self._counts.get(finding, 0)

    def lines(self) -> tuple[str, ...]:
        """Return all lines, with findings in the order of their first cases."""
        shown: list[str] = []
        for finding, lines in self._lines.items():
            shown += lines
            if hidden := self._counts[finding] - len(lines):
                shown.append(f"{finding}: … and {hidden} more")
        return tuple(shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitVerdict:
    """The circuit's figures, as defined in `loadtest.verify.circuit_check`."""

    opened: int = 0
    alerts: int = 0
    started_while_open: int = 0
    calls_while_open: int = 0
    last_start_after_open_ms: float | None = None
    stop_seconds: float | None = None
    seconds_to_open: float | None = None
    resumed: bool | None = None
    state: str = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class OthersVerdict:
    """The figures of the events that do not need the dependency that was away.

    Attributes:
        judged: the events of these keys that were enqueued from the first refused call on, and
            were not delayed by a killed host.
        while_open: those of them that were handled while the dependency's circuit was open.
        late: those of them that were handled too late.
        longest_ms: the longest time from enqueueing to handling; None if no event was judged.
        p99_ms: the 99th percentile of the same time.
        before_p99_ms: the same percentile before the first refused call.
    """

    judged: int = 0
    while_open: int = 0
    late: int = 0
    longest_ms: float | None = None
    p99_ms: float | None = None
    before_p99_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of the events that were sent.

    `handled`, `poisoned` and `parked` count distinct events. `deferred` counts the keys that were
    deferred at some time, and `came_back` those of them that no longer were at the end. `broken`
    has one line for each broken promise or expectation. `diff` names the affected events.
    `dependencies` has the figures of the circuit of each dependency. `others` is None unless a
    dependency was away. `deaths` counts the processes that the deadly event ended. `expired` counts
    the events that the hub has lost before the app could receive them. `lists` counts the calls
    with more than one event, and `longest_list` the events of the longest. `most_suppressed` is the
    most handled events that might reach the ledger again; None for no limit.
    """

    sent: int
    handled: int
    poisoned: int
    parked: int
    lost: int
    duplicates: int
    producer_duplicates: int
    order_violations: int
    missing_poison: int
    unexpected_handled: int
    unexpected_poison: int
    poison_duplicates: int
    malformed_poison: int
    deferred: int = 0
    came_back: int = 0
    circuit: CircuitVerdict
    dependencies: Mapping[str, CircuitVerdict] = field(default_factory=dict)
    others: OthersVerdict | None = None
    deaths: int = 0
    expired: int = 0
    lists: int = 0
    longest_list: int = 0
    most_suppressed: int | None = None
    broken: tuple[str, ...] = ()
    diff: tuple[str, ...] = field(default=(), repr=False)

    @property
    def kept(self) -> bool:
        """Return whether every promise was kept and every expectation met."""
        return not self.broken

"""The outcome of a verification: figures, broken promises and the lines that name the events."""

from __future__ import annotations

from dataclasses import dataclass, field

LINES_PER_FINDING = 20


class Diff:
    """Readable lines per finding, the first ones in full and the rest as a number."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def add(self, finding: str, line: str) -> None:
        """Note one case of a finding (`lost`, `duplicate`, ...)."""
        self._counts[finding] = self._counts.get(finding, 0) + 1
        lines = self._lines.setdefault(finding, [])
        if len(lines) < LINES_PER_FINDING:
            lines.append(f"{finding}: {line}")

    def count(self, finding: str) -> int:
        """How many cases of a finding there are, shown or not."""
        return self._counts.get(finding, 0)

    def lines(self) -> tuple[str, ...]:
        """All lines, findings in the order in which they first appeared."""
        shown: list[str] = []
        for finding, lines in self._lines.items():
            shown += lines
            if hidden := self._counts[finding] - len(lines):
                shown.append(f"{finding}: … and {hidden} more")
        return tuple(shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitVerdict:
    """What the circuit did; see `loadtest.verify.circuit_check` for the definitions."""

    opened: int = 0
    alerts: int = 0
    started_while_open: int = 0
    calls_while_open: int = 0
    last_start_after_open_ms: float | None = None
    stop_seconds: float | None = None
    resumed: bool | None = None
    state: str = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of the events that were sent.

    `handled`, `poisoned` and `parked` count distinct events; `broken` has one line for each promise
    or expectation that did not hold, `diff` names the events concerned.
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
    circuit: CircuitVerdict
    broken: tuple[str, ...] = ()
    diff: tuple[str, ...] = field(default=(), repr=False)

    @property
    def kept(self) -> bool:
        """Whether every promise was kept and everything expected happened."""
        return not self.broken

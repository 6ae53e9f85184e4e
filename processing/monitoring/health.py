"""Health report of one instance, for operators and probes; it contains no secrets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from breaker import Circuit, CircuitBreaker, CircuitState, Mode
from processing.errors import StorageUnavailableError
from processing.handlers.results import Results
from processing.partitions.lag import LagReader, PartitionLag

type Status = Literal["ok", "holding", "ramping", "degraded"]


@dataclass(frozen=True, slots=True)
class HealthReport:
    """A health report.

    Attributes:
        status: `holding`: the circuit is not closed; `ramping`: the circuit has just closed, and
            not all lanes may run yet; `degraded`: there are problems.
        problems: one text for each service that cannot be reached, and for each other fault.
        mode: `observe`: the rules are judged, but do not open the circuit; else `enforce`.
    """

    status: Status
    circuit: Circuit
    partitions: tuple[PartitionLag, ...]
    problems: tuple[str, ...]
    mode: Mode

    def to_json(self) -> dict[str, Any]:
        """Return the report as a dictionary."""
        return asdict(self)


class Health:
    """A source of health reports on one instance.

    Args:
        breaker: the app's circuit.
        lag: reads the lag of all partitions.
        old_version_on: returns those of the partitions that version 0.1 still processes.
        results: names what the handler forgot, if its last results show that.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        lag: LagReader,
        old_version_on: Callable[[Iterable[str]], Awaitable[list[str]]],
        results: Results | None = None,
    ) -> None:
        self._breaker = breaker
        self._lag = lag
        self._old_version_on = old_version_on
        self._results = results

    async def report(self) -> HealthReport:
        """Return the circuit's state in this instance, and the current lag of all partitions."""
        circuit = self._breaker.circuit
        partitions: list[PartitionLag] = []
        problems = ["the circuit's store cannot be reached"] if circuit.degraded else []
        if self._results is not None and (problem := self._results.problem) is not None:
            problems.append(problem)
        try:
            partitions = await self._lag.read()
            old = await self._old_version_on(each.partition for each in partitions)
            if old:
                problems.append(old_version_runs(old))
        except StorageUnavailableError as error:
            problems.append(str(error))
        status: Status = "ok"
        if circuit.state is not CircuitState.CLOSED:
            status = "holding"
        elif problems:
            status = "degraded"
        elif self._breaker.ramp_share < 1:
            status = "ramping"
        mode = self._breaker.settings.mode
        return HealthReport(status, circuit, tuple(partitions), tuple(problems), mode)


def old_version_runs(partitions: Sequence[str]) -> str:
    """Return the text of the problem that version 0.1 has run beside this version."""
    return (
        f"an instance of version 0.1 has processed partition {', '.join(partitions)} since the "
        "migration; its progress and its parked events are unknown to this version. Stop that "
        "instance, then run `python -m processing migrate`"
    )

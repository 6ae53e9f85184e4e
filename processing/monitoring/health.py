"""Health: what an operator or a probe needs to know of an instance, without any secret."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from breaker import Circuit, CircuitBreaker, CircuitState
from processing.errors import StorageUnavailableError
from processing.partitions.lag import LagReader, PartitionLag

type Status = Literal["ok", "holding", "degraded"]


@dataclass(frozen=True, slots=True)
class HealthReport:
    """`holding`: the circuit lets nothing through; `degraded`: something can't be reached."""

    status: Status
    circuit: Circuit
    partitions: tuple[PartitionLag, ...]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)


class Health:
    """Reports on one instance."""

    def __init__(self, breaker: CircuitBreaker, lag: LagReader) -> None:
        self._breaker = breaker
        self._lag = lag

    async def report(self) -> HealthReport:
        """The circuit as this instance knows it, and what it can learn of its partitions now."""
        circuit = self._breaker.circuit
        partitions: list[PartitionLag] = []
        problems = ["the circuit's store can't be reached"] if circuit.degraded else []
        try:
            partitions = await self._lag.read()
        except StorageUnavailableError as error:
            problems.append(str(error))
        status: Status = "ok"
        if circuit.state is not CircuitState.CLOSED:
            status = "holding"
        elif problems:
            status = "degraded"
        return HealthReport(status, circuit, tuple(partitions), tuple(problems))

"""The list of pipelines: a row each, with the circuit's state and what waits."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from breaker import CircuitState
from breaker.kinds import kind_of
from console.live import circuit_feed
from console.live.circuit_feed import encoded
from console.live.dependency_feed import next_change
from console.pipelines.console import PipelineConsole

OLD_SECONDS = 15.0
"""Numbers that are older are shown as unknown, as on the page of one pipeline."""


class PipelineRow:
    """The row of one pipeline, from what this instance knows; reading does no I/O.

    Args:
        pipeline: the pipeline.
        now: returns the time, seconds since the epoch.
    """

    def __init__(self, pipeline: PipelineConsole, now: Callable[[], float] = time.time) -> None:
        self._pipeline = pipeline
        self._now = now
        self._table: tuple[str, float, int | None] = ("null", 0.0, None)
        self._circuit = pipeline.breaker.circuit

    def document(self) -> dict[str, Any]:
        """Return the row as the page receives it; a number that is not known is None."""
        breaker, snapshot = self._pipeline.breaker, self._pipeline.fanout.snapshot
        circuit = self._circuit = breaker.circuit
        vitals = snapshot.last_vitals or {}
        if self._is_old(vitals.get("time", 0) / 1000):
            vitals = {}
        return {
            "name": self._pipeline.name,
            "circuit": circuit.name,
            "kind": kind_of(circuit.name, stops_app=breaker.stops_app),
            "state": circuit.state,
            "mode": breaker.settings.mode,
            "generation": circuit.generation,
            "opened_at": circuit.opened_at,
            "changed_at": circuit.changed_at,
            "resume_at": circuit.resume_at,
            "reason": circuit.reason,
            "problem": circuit.problem,
            "degraded": circuit.degraded,
            "dependencies": [
                {"name": name, "state": each.circuit.state}
                for name, each in sorted(self._pipeline.circuits.dependencies.items())
                if each.circuit.state is not CircuitState.CLOSED
            ],
            "waiting": self._waiting(snapshot.partitions_text),
            "poison_count": vitals.get("poison_count"),
            "parked_keys": vitals.get("parked_keys"),
            "per_second": vitals.get("per_second"),
            "instances": vitals.get("instances"),
        }

    async def wait(self) -> None:
        """Wait for the next change of the circuit's state, for a second at most."""
        await self._pipeline.breaker.wait_for_change(self._circuit, timeout=circuit_feed.SECONDS)

    def _waiting(self, text: str) -> int | None:
        """Return the number of waiting events; None if no recent table says so."""
        if text is not self._table[0]:
            table = json.loads(text) or {}
            lags = [lag for row in table.get("rows", ()) if (lag := row.get("lag")) is not None]
            at = table.get("time", 0) / 1000
            self._table = (text, at, sum(lags) if lags else None)
        return None if self._is_old(self._table[1]) else self._table[2]

    def _is_old(self, at: float) -> bool:
        return self._now() - at > OLD_SECONDS


class PipelineRows:
    """The rows of all declared pipelines, in the order of their declaration.

    Args:
        pipelines: the pipelines.
    """

    def __init__(self, pipelines: Sequence[PipelineConsole]) -> None:
        self._pipelines = pipelines
        self._rows = [PipelineRow(each) for each in pipelines]

    def documents(self) -> list[dict[str, Any]]:
        """Return the rows as the page receives them."""
        return [row.document() for row in self._rows]

    async def feed(self) -> None:
        """Show the rows to all browsers until cancelled: a new state at once, numbers each second.

        Each instance has all messages of all pipelines, so no further reader is needed.
        """
        shown = ""
        while True:
            text = encoded(self.documents())
            if text != shown:
                shown = text
                for each in self._pipelines:
                    each.fanout.show_pipelines(text)
            await next_change(self._rows)
            await asyncio.sleep(0)

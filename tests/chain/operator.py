"""The operator, who acts through the console's API, and repairs what is broken when asked to."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from breaker import WaitsFor
from local.workflow.runs.requests import Answer
from tests.chain.clocks import HOUR, MINUTE
from tests.chain.console_process import ConsoleProcess
from tests.chain.faults import LostError
from tests.support.local.simulated_clock import SimulatedClock

_PATIENCE_SECONDS = 6 * HOUR


class Operator:
    """An operator, who tries again while the console does not answer or lacks the circuit."""

    def __init__(self, console: ConsoleProcess, clock: SimulatedClock) -> None:
        self._console = console
        self._clock = clock
        self._path = f"/api/circuits/{quote(console.kind.circuit, safe='')}"

    async def approve(self) -> None:
        """Approve the opening that the console shows, if there is one."""
        circuit = await self._circuit()
        if circuit["state"] == "open":
            await self._act(f"{self._path}/approve", {"generation": circuit["generation"]})

    async def isolate(self, length: str = "") -> None:
        await self._act(f"{self._path}/isolate", {"reason": "by hand", "for": length})

    async def close(self) -> None:
        circuit = await self._circuit()
        if circuit["state"] != "closed":
            await self._act(f"{self._path}/close", {"generation": circuit["generation"]})

    async def settle(self) -> None:
        """Approve an opening, or close an isolated circuit."""
        circuit = await self._circuit()
        if circuit["state"] == "isolated":
            await self.close()
        else:
            await self.approve()

    async def give(self) -> None:
        """Give what the waiting runs ask for: an approval, or a start of the app."""
        await self.settle()
        waiting = await self._console.waiting()
        if any(run.waits_for is WaitsFor.START for run in waiting):
            await self._act(f"{self._console.kind.path}/app/start", {})

    async def _circuit(self) -> dict[str, Any]:
        answer = await self._send("GET", self._path)
        assert isinstance(answer.body, dict)
        return answer.body

    async def _act(self, path: str, body: dict[str, Any]) -> None:
        await self._send("POST", path, body | {"by": "ann"})

    async def _send(self, method: str, path: str, body: Any = None) -> Answer:
        end = self._clock.now() + _PATIENCE_SECONDS
        while True:
            try:
                answer = await self._console.request(method, path, body)
            except LostError:
                answer = Answer(503, {}, None)
            if answer.status not in {404, 502, 503} or self._clock.now() > end:
                assert answer.status in {200, 409}, answer
                return answer
            await self._clock.sleep_until(self._clock.now() + 10 * MINUTE)

"""Event hub faults, requested from the local endpoint's control port."""

from __future__ import annotations

from typing import Any

import httpx

from loadtest.errors import StackError

_PATIENCE_SECONDS = 30.0
"""The request timeout; another fault may have paused the endpoint."""


class HubControl:
    """The control port of the endpoint that serves `hub`."""

    def __init__(self, url: str, hub: str) -> None:
        self._url = url
        self._hub = hub

    async def detach(self, group: str) -> int:
        """Detach the receivers' links and return their number."""
        return int((await self._ask("detach", consumerGroup=group))["detached"])

    async def drop(self, *, politely: bool) -> int:
        """Cut all connections, with an AMQP close if `politely`, and return their number."""
        return int((await self._ask("drop", politely=politely))["dropped"])

    async def throttle(self, seconds: float) -> None:
        """Refuse publishing and new links as busy for this many seconds."""
        await self._ask("throttle", seconds=seconds)

    async def redeliver(self, events: int) -> int:
        """Redeliver up to `events` events on each link and return the number over all links."""
        return int((await self._ask("redeliver", events=events))["redelivered"])

    async def _ask(self, fault: str, **options: Any) -> dict[str, Any]:
        async with httpx.AsyncClient(timeout=_PATIENCE_SECONDS) as client:
            answer = await client.post(
                f"{self._url}/faults/{fault}", json={"hub": self._hub, **options}
            )
        if answer.is_error:
            raise StackError(
                f"the event hub refused the fault '{fault}': {answer.status_code} {answer.text}"
            )
        return dict(answer.json())

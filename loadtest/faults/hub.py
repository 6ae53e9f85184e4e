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
        return int((await self._fault("detach", consumerGroup=group))["detached"])

    async def drop(self, *, politely: bool) -> int:
        """Cut all connections, with an AMQP close if `politely`, and return their number."""
        return int((await self._fault("drop", politely=politely))["dropped"])

    async def throttle(self, seconds: float) -> None:
        """Refuse publishing and new links as busy for this many seconds."""
        await self._fault("throttle", seconds=seconds)

    async def redeliver(self, events: int) -> int:
        """Redeliver up to `events` events on each link and return the number over all links."""
        return int((await self._fault("redeliver", events=events))["redelivered"])

    async def shift_clock(self, seconds: float) -> float:
        """Set the broker's clock forward, or back below 0; return its offset in seconds."""
        return float((await self._fault("shift-clock", seconds=seconds))["offset"])

    async def describe(self) -> dict[str, Any]:
        """Return the hub's creation time, consumer groups, and the kept range of each partition."""
        return dict((await self._ask("GET")).json())

    async def retain(self, seconds: float) -> None:
        """Set the hub's retention; older events expire at once."""
        await self._ask("PATCH", retentionSeconds=seconds)

    async def delete(self) -> None:
        """Delete the hub."""
        await self._ask("DELETE")

    async def create(self, partitions: int, groups: list[str]) -> None:
        """Create an empty hub."""
        await self._ask("PUT", partitionCount=partitions, consumerGroups=groups)

    async def _fault(self, fault: str, **options: Any) -> dict[str, Any]:
        path, options = f"/faults/{fault}", {"hub": self._hub, **options}
        return dict((await self._ask("POST", path, **options)).json())

    async def _ask(self, method: str, path: str = "", **body: Any) -> httpx.Response:
        path = path or f"/hubs/{self._hub}"
        async with httpx.AsyncClient(timeout=_PATIENCE_SECONDS) as client:
            answer = await client.request(method, self._url + path, json=body or None)
        if answer.is_error:
            raise StackError(
                f"the event hub refused {method} {path}: {answer.status_code} {answer.text}"
            )
        return answer

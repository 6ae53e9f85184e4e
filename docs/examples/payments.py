"""A handler with a pool of connections and a parsed body; test_payments.py tests it.

`EVENT_HANDLER=payments:Payments`, and the app setting BANK_URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import httpx
from pydantic import BaseModel, Field

from breakwater import Event, dependency


class Order(BaseModel):
    """The body of an event; a body that does not fit is poison at once."""

    customer: str
    cents: int = Field(gt=0)


class Payments:
    """A handler that charges each order at the bank."""

    def __init__(self, bank_url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._bank = httpx.AsyncClient(base_url=bank_url, timeout=5, transport=transport)

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """Return the handler for the address in the app settings."""
        return cls(settings["BANK_URL"])

    async def __call__(self, order: Order, event: Event) -> None:
        """Charge one order; the bank ignores a repeated idempotency key."""
        headers = {"Idempotency-Key": event.id}
        async with dependency("bank"):
            answer = await self._bank.post("/charges", json=order.model_dump(), headers=headers)
            answer.raise_for_status()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._bank.aclose()

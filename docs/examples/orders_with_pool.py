"""A handler with a pool of connections and a model: `EVENT_HANDLER=orders_with_pool:Orders`.

The setting BANK_URL is the address of the bank. Copy this file beside function_app.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Self

from aiohttp import ClientSession
from pydantic import BaseModel, Field

from breakwater import Event, dependency


class Order(BaseModel):
    """The body of an event."""

    customer: str
    amount: Decimal = Field(gt=0)


class Orders:
    """A handler that charges orders at the bank."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened = AsyncExitStack()

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """Return a handler for the bank of the app settings."""
        return cls(settings["BANK_URL"])

    async def start(self) -> None:
        """Open the pool, before the first event."""
        self._bank = await self._opened.enter_async_context(ClientSession(self._url))

    async def __call__(self, order: Order, event: Event) -> None:
        """Charge an order once, however often the event is delivered."""
        headers = {"Idempotency-Key": event.id}
        body = order.model_dump_json()
        async with (
            dependency("bank"),
            self._bank.post("/charges", data=body, headers=headers) as answer,
        ):
            answer.raise_for_status()

    async def aclose(self) -> None:
        """Close what `start` has opened, after the last event or a failed start."""
        await self._opened.aclose()

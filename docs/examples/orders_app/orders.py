"""Pays orders over one pool. Settings: EVENT_HANDLER=orders:Payments, and BANK_URL."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Self

import aiohttp
from pydantic import BaseModel, PositiveInt

from breakwater import Event


class Order(BaseModel):
    id: str
    cents: PositiveInt


class Payments:
    def __init__(self, url: str) -> None:
        self.url, self.opened = url, AsyncExitStack()

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(settings["BANK_URL"])

    async def start(self) -> None:
        self.pool = await self.opened.enter_async_context(aiohttp.ClientSession())

    async def aclose(self) -> None:
        await self.opened.aclose()

    async def __call__(self, order: Order, event: Event) -> None:
        headers = {"Idempotency-Key": event.id}  # the bank ignores a repeated payment
        async with self.pool.post(self.url, json=order.model_dump(), headers=headers) as answer:
            answer.raise_for_status()

"""Pays orders (EVENT_HANDLER=orders:routes), and keeps a journal (EVENT_HANDLER=orders:Journal)."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import ClassVar, Self

import aiohttp
from pydantic import BaseModel, PositiveInt

from breakwater import Event, Routes

routes = Routes(by="type")


class Order(BaseModel):
    id: str
    cents: PositiveInt


class Client:
    setting: ClassVar[str]  # names the address of the service

    def __init__(self, url: str) -> None:
        self.url, self.opened = url, AsyncExitStack()

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(settings[cls.setting])

    async def start(self) -> None:
        self.pool = await self.opened.enter_async_context(aiohttp.ClientSession())

    async def aclose(self) -> None:
        await self.opened.aclose()


@routes.on("order.created")
class Payments(Client):
    setting = "BANK_URL"

    async def __call__(self, order: Order, event: Event) -> None:
        headers = {"Idempotency-Key": event.id}  # the bank ignores a repeated payment
        async with self.pool.post(self.url, json=order.model_dump(), headers=headers) as answer:
            answer.raise_for_status()


class Journal(Client):
    setting = "JOURNAL_URL"

    async def __call__(self, events: list[Event]) -> None:  # one call for the events of many keys
        lines = [{"key": event.id, "line": event.json()} for event in events]
        async with self.pool.post(self.url, json=lines) as answer:
            answer.raise_for_status()

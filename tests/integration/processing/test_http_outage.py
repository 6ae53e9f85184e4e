"""An HTTP API that answers 503 for a while, in the middle of a stream of orders."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from aiohttp import web

from breaker import BreakerSettings, CircuitBreaker, CircuitOpenError, CircuitState
from processing.batch.processor import BatchProcessor
from processing.circuit_wiring import CircuitWiring
from processing.errors import DependencyUnavailableError
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.parking.batch import Parking
from processing.parking.redis import RedisParkingStore
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.progress.redis import RedisProgressStore
from processing.settings import ProcessingSettings
from tests.support.processing.events import SOURCE, batch, event

ORDERS = 200
BATCH = 100


class Api:
    """A payment API that is down for a while after it has accepted a number of calls.

    Attributes:
        accepted: what the API did with each order, in order.
        refused: number of calls that got status 503.
        down: whether the API is down.
    """

    def __init__(self, *, outage_after: int, outage_seconds: float) -> None:
        self.accepted: dict[str, list[str]] = defaultdict(list)
        self.refused = 0
        self.down = False
        self._outage_after = outage_after
        self._outage_seconds = outage_seconds
        self._calls = 0

    async def post(self, request: web.Request) -> web.Response:
        if self.down:
            self.refused += 1
            return web.Response(status=503, text="<html>no healthy upstream</html>")
        self.accepted[request.match_info["order"]].append(request.match_info["act"])
        self._calls += 1
        if self._calls == self._outage_after:
            self.down = True
            asyncio.get_running_loop().call_later(self._outage_seconds, self._recover)
        return web.Response()

    def _recover(self) -> None:
        self.down = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Serve the API, and yield its URL."""
        app = web.Application()
        app.router.add_post("/orders/{order}/{act}", self.post)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            host, port = runner.addresses[0]
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()


def charges_before_refunds() -> list[Event]:
    """Return the events of all orders; each order is charged first and refunded later."""
    orders = [f"order-{number}" for number in range(ORDERS)] * 2
    random.Random(24).shuffle(orders)  # noqa: S311 - a test's order of events
    acts: dict[str, Any] = defaultdict(lambda: iter((b"charge", b"refund")))
    return [event(n, order, body=next(acts[order])) for n, order in enumerate(orders)]


async def approve_when_up(breaker: CircuitBreaker, api: Api) -> None:
    """Approve each opening once the API is up, as an operator would."""
    while True:
        if breaker.circuit.state is CircuitState.OPEN and not api.down:
            await breaker.approve(breaker.circuit.generation, "ann")
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("outage_seconds", "settings"),
    [
        (1.0, {"retry_initial_seconds": 0.02, "dependency_pause_seconds": 0.1}),
        pytest.param(20.0, {}, marks=pytest.mark.long),
    ],
    ids=["short", "default settings"],
)
async def test_api_outage_poisons_nothing_and_keeps_the_order(
    redis_url: str, outage_seconds: float, settings: dict[str, Any]
) -> None:
    """No order is refunded before it was charged, and none is missing."""
    api = Api(outage_after=150, outage_seconds=outage_seconds)
    poison = MemoryPoisonQueue()
    rules = BreakerSettings(name="http-outage")
    async with AsyncExitStack() as opened:
        url = await opened.enter_async_context(api.running())
        client = await opened.enter_async_context(httpx.AsyncClient(base_url=url))
        wiring = CircuitWiring({"REDIS_URL": redis_url}, opened, breaking=rules)
        breaker = await opened.enter_async_context(wiring.new_breaker())
        progress = RedisProgressStore(wiring.redis, ttl_seconds=60)
        store = RedisParkingStore(wiring.redis, most=1000, ttl_seconds=60, identity=SOURCE.identity)

        async def handle(each: Event) -> None:
            answer = await client.post(f"/orders/{each.key}/{each.text()}")
            answer.raise_for_status()

        processor = BatchProcessor(
            LoadedHandler("tests:handle", handle),
            breaker=breaker,
            progress=progress,
            poison=poison,
            parking=Parking(store, MemoryClaimChecks()),
            settings=ProcessingSettings(**settings),
        )
        operator = asyncio.create_task(approve_when_up(breaker, api))
        try:
            await deliver(processor, charges_before_refunds())
            while await store.keys():  # as the timer function does
                await processor.replayer.run_due(1)
                await asyncio.sleep(0.1)
        finally:
            operator.cancel()
            await asyncio.gather(operator, return_exceptions=True)
        watermark = (await progress.load(SOURCE)).watermark
    assert api.refused > 0, "the test shows nothing without an outage"
    assert poison.messages == []
    assert api.accepted == {f"order-{n}": ["charge", "refund"] for n in range(ORDERS)}
    assert watermark is not None
    assert watermark.sequence_number == 2 * ORDERS - 1


async def deliver(processor: BatchProcessor, events: list[Event]) -> None:
    """Deliver the events batch by batch, each until it ends without an error, as the host does."""
    for start in range(0, len(events), BATCH):
        ended = False
        while not ended:
            with suppress(CircuitOpenError, DependencyUnavailableError):
                await processor.process(batch(events[start : start + BATCH]))
                ended = True

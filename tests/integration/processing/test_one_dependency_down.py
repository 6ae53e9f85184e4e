"""One of two services is down for a while, for the handler in docs/examples."""

from __future__ import annotations

import asyncio
import runpy
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from breaker import BreakerSettings, CircuitState, DependencyCircuits
from processing.batch.processor import BatchProcessor
from processing.circuit_wiring import CircuitWiring
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.parking.batch import Parking
from processing.parking.redis import RedisParkingStore
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.progress.redis import RedisProgressStore
from processing.settings import ProcessingSettings
from tests.support.processing.events import SOURCE, batch, event

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "two_dependencies.py"
KEYS = 20
ROUNDS = 4


class Services:
    """A bank that is down while `down` is set, and a mail service.

    Attributes:
        charged: numbers of the charged orders by customer, in order.
        mailed: numbers of the orders with a receipt by customer, in order.
        refused: number of calls of the bank that got status 503.
    """

    def __init__(self) -> None:
        self.down = False
        self.charged: dict[str, list[int]] = defaultdict(list)
        self.mailed: dict[str, list[int]] = defaultdict(list)
        self.refused = 0

    async def bank(self, request: web.Request) -> web.Response:
        order = await request.json()
        if self.down:
            self.refused += 1
            return web.Response(status=503)
        self.charged[order["customer"]].append(order["number"])
        return web.Response()

    async def mail(self, request: web.Request) -> web.Response:
        order = await request.json()
        self.mailed[order["customer"]].append(order["number"])
        return web.Response()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Serve both, and yield the URL without the service's name."""
        app = web.Application()
        app.router.add_post("/bank", self.bank)
        app.router.add_post("/mail", self.mail)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            host, port = runner.addresses[0]
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()


def orders(round_: int) -> list[Event]:
    """Return one order of each customer; every second customer's orders are free."""
    found = []
    for number in range(KEYS):
        customer, sequence = f"customer-{number}", round_ * KEYS + number
        total = number % 2
        body = f'{{"customer": "{customer}", "number": {round_}, "total": {total}}}'
        found.append(event(sequence, customer, body=body.encode()))
    return found


async def until_open(dependencies: DependencyCircuits) -> None:
    """Wait until the bank's circuit is open."""
    bank = await dependencies.use("bank")
    assert bank is not None
    while bank.circuit.state is CircuitState.CLOSED:
        await bank.wait_for_change(bank.circuit, timeout=10)


async def test_keys_that_need_the_other_service_never_wait(redis_url: str) -> None:
    """The probes of replays close the bank's circuit again, and all orders are charged in order."""
    services, poison = Services(), MemoryPoisonQueue()
    rules = BreakerSettings(name="one-down", failure_threshold=5)
    settings = {
        "REDIS_URL": redis_url,
        "DEPENDENCY_BANK_RAMP_SECONDS": "0",
        "DEPENDENCY_BANK_RECOVERY": "manual",  # no probe fails, so the circuit opens once
    }
    async with AsyncExitStack() as opened:
        url = await opened.enter_async_context(services.running())
        handler = runpy.run_path(str(EXAMPLE))["Orders"](f"{url}/bank", f"{url}/mail")
        opened.push_async_callback(handler.aclose)
        wiring = CircuitWiring(settings, opened, breaking=rules)
        breaker, dependencies = await wiring.breaker(), await wiring.dependencies()
        progress = RedisProgressStore(wiring.redis, ttl_seconds=60)
        store = RedisParkingStore(wiring.redis, most=1000, ttl_seconds=60, identity=SOURCE.identity)
        processor = BatchProcessor(
            LoadedHandler("two_dependencies:Orders", handler),
            breaker=breaker,
            progress=progress,
            poison=poison,
            parking=Parking(store, MemoryClaimChecks()),
            settings=ProcessingSettings(retry_initial_seconds=0.02, defer_after_seconds=0.2),
            dependencies=dependencies,
        )
        await processor.process(batch(orders(0)))
        services.down = True
        outcomes = [await processor.process(batch(orders(1)))]
        await until_open(dependencies)
        calls = services.refused
        outcomes += [await processor.process(batch(orders(round_))) for round_ in range(2, ROUNDS)]
        free = {name: len(numbers) for name, numbers in services.mailed.items()}
        app = breaker.circuit
        services.down = False
        bank = dependencies.circuits["bank"]
        await bank.approve(bank.circuit.generation, "ann")
        while await store.keys():  # as the timer function does
            await processor.replayer.run_due(1)
            await asyncio.sleep(0.1)
        history = [each.event for each in await bank.history()]
        state = await bank.refresh()
        app_failures = (await breaker.refresh()).failures
        watermark = (await progress.load(SOURCE)).watermark
    half = KEYS // 2
    assert calls > 0, "the test shows nothing without an outage"
    assert [each.handled for each in outcomes] == [half] * (ROUNDS - 1)
    assert {free[f"customer-{number}"] for number in range(0, KEYS, 2)} == {ROUNDS}
    assert (app.state, app.generation, app_failures) == (CircuitState.CLOSED, 0, 0)
    assert (state.state, state.generation) == (CircuitState.CLOSED, 1)
    assert history.count("opened") == 1
    assert poison.messages == []
    expected = {f"customer-{number}": list(range(ROUNDS)) for number in range(KEYS)}
    assert services.mailed == expected
    assert services.charged == {
        f"customer-{n}": expected[f"customer-{n}"] for n in range(1, KEYS, 2)
    }
    assert watermark is not None
    assert watermark.sequence_number == ROUNDS * KEYS - 1

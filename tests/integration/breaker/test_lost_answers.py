"""Lost answers of Redis: the client retries, and the outcome counts once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from breaker import BreakerSettings, Permit, RedisCircuitStore
from breaker.state import Circuit
from tests.support.patience import STORE_SECONDS

RULES = BreakerSettings(name="c", failure_ratio=0.9, failure_threshold=100).rules("here:1")


class Relay:
    """A relay between client and server that loses an answer and its connection on demand.

    Attributes:
        loses: set to lose the next answer; the relay resets the value.
        lost: number of lost answers.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self.loses = False
        self.lost = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asks = await asyncio.open_connection(*self._server)
        asking = asyncio.create_task(self._pass_on(reader, asks))
        try:
            while data := await answers.read(65536):
                if self.loses:
                    self.loses = False
                    self.lost += 1
                    break
                writer.write(data)
        finally:
            asking.cancel()
            for end in (writer, asks):
                end.close()
                with suppress(ConnectionError):
                    await end.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


@asynccontextmanager
async def relayed(redis_url: str) -> AsyncIterator[tuple[Relay, RedisCircuitStore]]:
    parts = urlsplit(redis_url)
    relay = Relay(parts.hostname or "", parts.port or 0)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = parts._replace(netloc=f"127.0.0.1:{port}").geturl()
    store = RedisCircuitStore(url, "c", timeout_seconds=STORE_SECONDS)
    try:
        yield relay, store
    finally:
        await store.aclose()
        server.close()
        await server.wait_closed()


async def test_outcome_with_lost_answer_counts_once(redis_url: str) -> None:
    """The answer of each of many requests is lost once."""
    permit = Permit(0)
    async with relayed(redis_url) as (relay, store):
        await store.record_successes(RULES, "warm", 1, permit)
        for number in range(5):
            relay.loses = True
            await store.record_successes(RULES, f"{number}", 10, permit)
            relay.loses = True
            await store.record_failure(RULES, f"{number}", "boom", permit)
        circuit: Circuit = (await store.snapshot(RULES)).circuit
        assert relay.lost == 10
        assert (circuit.successes, circuit.failures) == (51, 5)

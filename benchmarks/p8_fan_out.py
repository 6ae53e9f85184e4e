"""P8, the rate and delay of messages to all browsers, over 1 and 3 instances of the console.

The rate counts published messages, not deliveries. A burst is published at once, and its time ends
when every browser has received every message of the burst. The delays are measured in a steady
flow, from the publication of a message to its arrival in each browser.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from redis.asyncio import Redis

from benchmarks.context import Context
from benchmarks.measuring import median, percentile, spread
from benchmarks.result import Check, Result
from benchmarks.services import child, redis_server
from local.services.ports import free_port

INSTANCES = (1, 3)
BROWSERS = (1, 50, 500)
STEADY, PER_SECOND = 250, 50
BURST, BURSTS = 2_000, 5
GOAL_PER_SECOND, LIMIT_MS = 4_500, 150
CIRCUIT, KIND = "fanout", "benchmark"
TOKEN = "benchmark-of-the-fan-out"  # noqa: S105 - only for the benchmark's consoles
WAIT_SECONDS = 120


@dataclass(slots=True)
class Page:
    """A browser that counts its messages and the messages out of order, and records delays."""

    got: int = 0
    last: int = -1
    disordered: int = 0
    delays_ms: list[float] = field(default_factory=list)

    def receive(self, items: list[tuple[int, int]], now_ns: int) -> None:
        """Record messages, each with its number and publication time in nanoseconds."""
        for number, sent_ns in items:
            self.disordered += number != self.last + 1
            self.last = number
            self.delays_ms.append((now_ns - sent_ns) / 1e6)
        self.got += len(items)


class Stream:
    """A publisher to the consoles' backplane in Redis."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._key = f"console:{{{CIRCUIT}}}:live"
        self._next = 0

    async def publish(self, count: int) -> None:
        """Publish the next `count` messages in one pipeline."""
        async with self._client.pipeline(transaction=False) as pipe:
            for _ in range(count):
                data = json.dumps({"n": self._next, "at": time.time_ns()})
                pipe.xadd(self._key, {"kind": KIND, "data": data}, maxlen=20_000)
                self._next += 1
            await pipe.execute()


@dataclass(frozen=True, slots=True)
class FanOut:
    """The measurements of one number of browsers over one number of instances.

    Attributes:
        delays_ms: the delay of each message of the steady flow to each browser.
        rates: the messages per second of each burst, until all browsers have received it.
        faults: the messages lost, repeated or out of order, over all browsers.
    """

    delays_ms: list[float]
    rates: list[float]
    faults: int

    @property
    def p99_ms(self) -> float:
        """The 99th percentile of the delays."""
        return percentile(self.delays_ms, 99)

    @property
    def per_second(self) -> float:
        """The median rate of the bursts."""
        return median(self.rates)


async def run(context: Context) -> Result:
    """Measure a steady flow and then bursts, for each number of browsers and instances."""
    browsers = BROWSERS[:2] if context.quick else BROWSERS
    context.expect(len(INSTANCES) * len(browsers))
    found: dict[tuple[int, int], FanOut] = {}
    for instances in INSTANCES:
        for number in browsers:
            directory = context.directory / f"{instances}-{number}"
            directory.mkdir()
            found[instances, number] = await _measure(context, directory, instances, number)
            context.advance()
    return result(found, _burst(context))


def result(found: Mapping[tuple[int, int], FanOut], burst: int) -> Result:
    """Return the result, with goals for one instance with the most browsers.

    Args:
        found: measurements by (instances, browsers).
        burst: messages per burst.
    """
    browsers = sorted({number for _, number in found})
    most = browsers[-1]
    judged = found[1, most]
    medians: dict[str, float] = {}
    for (instances, number), each in found.items():
        name = f"{number}_browsers_{instances}_instances"
        medians[f"{name}_delay_ms_p50"] = percentile(each.delays_ms, 50)
        medians[f"{name}_delay_ms_p99"] = each.p99_ms
        medians[f"{name}_messages_per_second"] = each.per_second
        medians[f"{name}_deliveries_per_second"] = each.per_second * number
    return Result(
        "P8",
        f"fan-out to {', '.join(map(str, browsers))} browsers over 1 and 3 instances",
        (
            Check(
                f"messages published per second by one instance to {most} browsers",
                judged.per_second,
                "≥",
                GOAL_PER_SECOND,
                "messages/s",
            ),
            Check(
                f"delay of a message to {most} browsers, one instance, p99",
                judged.p99_ms,
                "≤",
                LIMIT_MS,
                "ms",
            ),
            Check(
                "messages lost, repeated or out of order",
                sum(each.faults for each in found.values()),
                "=",
                0,
                "messages",
            ),
        ),
        medians,
        {
            "steady": f"{PER_SECOND} messages per second, for the delays",
            "burst": f"{burst} messages at once, for the rates, until every browser has all",
            "bursts": len(judged.rates),
            "rate_spread": spread(judged.rates),
            "clock": "publisher and browsers share one process; each console is another process",
        },
    )


def _burst(context: Context) -> int:
    return context.scaled(BURST, 500)


async def _measure(context: Context, directory: Path, instances: int, browsers: int) -> FanOut:
    steady, burst, bursts = context.scaled(STEADY, 50), _burst(context), context.scaled(BURSTS, 2)
    async with AsyncExitStack() as opened:
        url = await opened.enter_async_context(redis_server(directory))
        client = await opened.enter_async_context(Redis.from_url(url))
        session = await opened.enter_async_context(
            aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {TOKEN}"},
                connector=aiohttp.TCPConnector(limit=0),
            )
        )
        ports = [await _console(opened, session, directory, url) for _ in range(instances)]
        pages = [Page() for _ in range(browsers)]
        for number, page in enumerate(pages):
            port = ports[number % instances]
            await _open(opened, session, f"http://127.0.0.1:{port}/live", page)
        stream = Stream(client)
        for _ in range(steady):
            await stream.publish(1)
            await asyncio.sleep(1 / PER_SECOND)
        await _until(pages, steady)
        delays = [delay for page in pages for delay in page.delays_ms]
        published, rates = steady, []
        for _ in range(bursts):
            published += burst
            started = time.perf_counter()
            await stream.publish(burst)
            await _until(pages, published)
            rates.append(burst / (time.perf_counter() - started))
        faults = sum(page.disordered + abs(page.got - published) for page in pages)
    return FanOut(delays, rates, faults)


async def _console(
    opened: AsyncExitStack, session: aiohttp.ClientSession, directory: Path, url: str
) -> int:
    """Start a console process and return its port."""
    port = free_port()
    file = directory / f"console-{port}.json"
    values = {"REDIS_URL": url, "BREAKER_NAME": CIRCUIT, "CONSOLE_TOKEN": TOKEN}
    file.write_text(json.dumps({"Values": values}), "utf-8")
    command = ("-m", "console", "--port", str(port), "--settings", str(file))
    await opened.enter_async_context(child(*command, log=directory / "console.log", answers=False))
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
                    if answer.ok:
                        return port
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def _open(
    opened: AsyncExitStack, session: aiohttp.ClientSession, url: str, page: Page
) -> None:
    """Connect a page, wait for its snapshot, and receive messages in a background task."""
    live = await opened.enter_async_context(session.ws_connect(url, max_msg_size=0))
    await live.send_json({"type": "resume", "cursor": None})
    while (await live.receive_json())["type"] != "snapshot":
        pass

    async def listen() -> None:
        async for message in live:
            now_ns = time.time_ns()
            page.receive(_items(str(message.data)), now_ns)

    listening = asyncio.create_task(listen())

    async def end() -> None:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    opened.push_async_callback(end)


_parsed: dict[str, list[tuple[int, int]]] = {}


def _items(text: str) -> list[tuple[int, int]]:
    """Return the messages of a frame; equal frames of several browsers are parsed once."""
    found = _parsed.get(text)
    if found is None:
        items: list[dict[str, Any]] = json.loads(text).get("items", [])
        found = [(each["data"]["n"], each["data"]["at"]) for each in items if each["kind"] == KIND]
        if len(_parsed) > 100:
            _parsed.clear()
        _parsed[text] = found
    return found


async def _until(pages: list[Page], count: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while any(page.got < count for page in pages):  # noqa: ASYNC110 - too many to wait for each
            await asyncio.sleep(0.005)

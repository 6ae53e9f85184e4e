"""FANOUT: how fast messages reach how many browsers, over 1 and 3 instances of the console."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from redis.asyncio import Redis

from benchmarks.context import Context
from benchmarks.measuring import percentile
from benchmarks.result import Check, Result
from benchmarks.services import child, redis_server
from local.services.ports import free_port

INSTANCES = (1, 3)
BROWSERS = (1, 50, 500)
STEADY, PER_SECOND = 250, 50
BURST = 2_000
LIMIT_MS = 1_000
CIRCUIT, KIND = "fanout", "benchmark"
TOKEN = "benchmark-of-the-fan-out"  # noqa: S105 - of consoles that live for a minute
WAIT_SECONDS = 120


@dataclass(slots=True)
class Page:
    """A browser: how many messages it has, and whether they came in order."""

    got: int = 0
    last: int = -1
    disordered: int = 0
    delays_ms: list[float] = field(default_factory=list)

    def take(self, items: list[tuple[int, int]], now_ns: int) -> None:
        """Take messages in: number and time of each."""
        for number, sent_ns in items:
            self.disordered += number != self.last + 1
            self.last = number
            self.delays_ms.append((now_ns - sent_ns) / 1e6)
        self.got += len(items)


class Stream:
    """Publishes into the consoles' backplane, as it stands in Redis."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._key = f"console:{{{CIRCUIT}}}:live"
        self._next = 0

    async def publish(self, count: int) -> None:
        """The next messages, together."""
        async with self._client.pipeline(transaction=False) as pipe:
            for _ in range(count):
                data = json.dumps({"n": self._next, "at": time.time_ns()})
                pipe.xadd(self._key, {"kind": KIND, "data": data}, maxlen=20_000)
                self._next += 1
            await pipe.execute()


async def run(context: Context) -> Result:
    """Each number of browsers over each number of instances: a steady flow, then a burst."""
    browsers = BROWSERS[:2] if context.quick else BROWSERS
    context.expect(len(INSTANCES) * len(browsers))
    medians: dict[str, float] = {}
    faults = 0
    p99s: list[float] = []
    for instances in INSTANCES:
        for number in browsers:
            directory = context.directory / f"{instances}-{number}"
            directory.mkdir()
            delays, seconds, wrong = await _measure(context, directory, instances, number)
            name = f"{number}_browsers_{instances}_instances"
            medians[f"{name}_delay_ms_p50"] = percentile(delays, 50)
            medians[f"{name}_delay_ms_p99"] = percentile(delays, 99)
            medians[f"{name}_messages_per_second"] = _burst(context) / seconds
            medians[f"{name}_deliveries_per_second"] = _burst(context) * number / seconds
            p99s.append(percentile(delays, 99))
            faults += wrong
            context.advance()
    return Result(
        "FANOUT",
        f"fan-out to {', '.join(map(str, browsers))} browsers over 1 and 3 instances",
        (
            Check("worst p99 of the delay ÷ the limit of a second", max(p99s) / LIMIT_MS, "≤", 1),
            Check("messages lost, repeated or out of order", faults, "=", 0, "messages"),
        ),
        medians,
        {
            "steady": f"{PER_SECOND} messages a second for the delays",
            "burst": f"{_burst(context)} messages at once for the rates, until all have all",
            "clock": "publisher and browsers are one process; consoles are processes of their own",
        },
    )


def _burst(context: Context) -> int:
    return context.scaled(BURST, 500)


async def _measure(
    context: Context, directory: Path, instances: int, browsers: int
) -> tuple[list[float], float, int]:
    """Delays of the steady flow (ms), seconds of the burst, and messages that went wrong."""
    steady, burst = context.scaled(STEADY, 50), _burst(context)
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
        started = time.perf_counter()
        await stream.publish(burst)
        await _until(pages, steady + burst)
        seconds = time.perf_counter() - started
        wrong = sum(page.disordered + abs(page.got - steady - burst) for page in pages)
    return delays, seconds, wrong


async def _console(
    opened: AsyncExitStack, session: aiohttp.ClientSession, directory: Path, url: str
) -> int:
    """A console process; its port."""
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
    """Connect a page; it has its snapshot on return, and takes messages from then on."""
    live = await opened.enter_async_context(session.ws_connect(url, max_msg_size=0))
    await live.send_json({"type": "resume", "cursor": None})
    while (await live.receive_json())["type"] != "snapshot":
        pass

    async def listen() -> None:
        async for message in live:
            now_ns = time.time_ns()
            page.take(_items(str(message.data)), now_ns)

    listening = asyncio.create_task(listen())

    async def end() -> None:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    opened.push_async_callback(end)


_parsed: dict[str, list[tuple[int, int]]] = {}


def _items(text: str) -> list[tuple[int, int]]:
    """The messages in a frame; frames are the same for many browsers, and are read once."""
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
        while any(page.got < count for page in pages):  # noqa: ASYNC110 - of many
            await asyncio.sleep(0.005)

"""Several console processes that a test kills and restarts, and pages that reconnect."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from local.services.ports import free_port
from tests.support.console.server import BEARER, TOKEN
from tests.support.forked import Forked
from tests.support.patience import HANG_SECONDS

KIND = "test"


@dataclass
class Fleet:
    """Console processes; each keeps its port over restarts."""

    redis_url: str
    directory: Path
    ports: list[int]
    running: dict[int, Forked] = field(default_factory=dict)
    kills: int = 0

    def start(self, port: int) -> None:
        """Start the console of a port."""
        environment = os.environ | {
            "REDIS_URL": self.redis_url,
            "BREAKER_NAME": "c",
            "CONSOLE_TOKEN": TOKEN,
        }
        self.running[port] = Forked(
            "console",
            *("--port", str(port)),
            output=self.directory / f"console-{port}.log",
            environment=environment,
        )

    async def kill_and_restart(self, chance: random.Random) -> None:
        """Kill a random console with SIGKILL and restart the console a moment later."""
        port = chance.choice(self.ports)
        process = self.running[port]
        process.kill()
        self.kills += 1
        await asyncio.to_thread(process.wait, HANG_SECONDS)
        await asyncio.sleep(chance.uniform(0, 0.5))
        self.start(port)

    async def healthy(self) -> None:
        """Wait until all consoles answer."""
        async with httpx.AsyncClient() as client, asyncio.timeout(HANG_SECONDS):
            for port in self.ports:
                while True:
                    try:
                        if (await client.get(f"http://127.0.0.1:{port}/healthz")).is_success:
                            break
                    except httpx.TransportError:
                        pass
                    await asyncio.sleep(0.05)


@contextmanager
def fleet(redis_url: str, directory: Path, instances: int) -> Iterator[Fleet]:
    """Start consoles, and kill all of them at the end."""
    ports: list[int] = []
    while len(ports) < instances:
        ports.append(free_port(avoid=ports))
    made = Fleet(redis_url, directory, ports)
    try:
        for port in made.ports:
            made.start(port)
        yield made
    finally:
        for process in made.running.values():
            process.kill()
            process.wait(HANG_SECONDS)


@dataclass
class Page:
    """A page that behaves like console/static/live.js: it reconnects with its last cursor."""

    url: str
    cursor: str | None = None
    got: list[int] = field(default_factory=list)
    snapshots: int = 0
    connections: int = 0
    instances: Counter[str] = field(default_factory=Counter)
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, chance: random.Random) -> None:
        """Stay connected until cancelled."""
        while True:
            try:
                async with connect(
                    self.url, additional_headers=BEARER, compression=None, open_timeout=HANG_SECONDS
                ) as live:
                    self.connections += 1
                    await live.send(json.dumps({"type": "resume", "cursor": self.cursor}))
                    async for text in live:
                        self._take(json.loads(text))
            except (OSError, WebSocketException, TimeoutError, EOFError):
                pass
            await asyncio.sleep(chance.uniform(0.05, 0.3))

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "snapshot":
                self.snapshots += 1
                self.cursor = message["cursor"]
                self.instances[message["instance"]] += 1
                self.ready.set()
            case "messages":
                for item in message["items"]:
                    self.cursor = item["cursor"]
                    if item["kind"] == KIND:
                        self.got.append(item["data"]["n"])


@asynccontextmanager
async def pages(url: str, number: int, chance: random.Random) -> AsyncIterator[list[Page]]:
    """Open pages and wait for the first snapshot of each."""
    made = [Page(url) for _ in range(number)]
    tasks = [asyncio.create_task(page.run(chance)) for page in made]
    try:
        async with asyncio.timeout(HANG_SECONDS):
            for page in made:
                await page.ready.wait()
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

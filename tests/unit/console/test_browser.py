"""One browser: slow reads, the end of its session, and updates after a snapshot."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket, WebSocketState

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from console.access.auth import Caller
from console.backplane.coordination import MemoryCoordination
from console.backplane.stream import MemoryBackplane
from console.live import websocket as live
from console.live.fanout import Fanout
from console.live.websocket import Browser
from console.poison.catalogue import Catalogue
from console.poison.lazy_operations import LazyOperations
from console.poison.redrive import REDRIVE
from console.reader import tasks as tasks_module
from console.reader.tasks import ReaderTasks
from console.reader.vitals import NoVitals
from console.settings import ConsoleSettings

BREAKER = CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))


class Socket:
    """A connection whose client reads only while the test allows it."""

    application_state = WebSocketState.CONNECTED

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.sent: list[dict[str, Any]] = []
        self.waiting = 0
        self.code = 0

    async def send_text(self, text: str) -> None:
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        self.sent.append(json.loads(text))

    async def close(self, code: int, reason: str) -> None:
        assert reason
        self.code = code

    @property
    def numbers(self) -> list[int]:
        items = [item for each in self.sent for item in each.get("items", [])]
        return [item["data"]["n"] for item in items]

    @property
    def types(self) -> list[str]:
        return [each["type"] for each in self.sent]


@pytest.fixture
def backplane() -> MemoryBackplane:
    return MemoryBackplane(MemoryCoordination(), wait_seconds=0.02)


@asynccontextmanager
async def running(fanout: Fanout, *browsers: Browser) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(fanout.run())]
    tasks += [asyncio.create_task(browser.send_updates(None)) for browser in browsers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


def browser_of(socket: Socket, fanout: Fanout, caller: Caller | None = None) -> Browser:
    return Browser(cast("WebSocket", socket), fanout, caller or Caller())


async def publish(backplane: MemoryBackplane, *numbers: int) -> None:
    await backplane.publish([("tail", {"n": n}) for n in numbers])


async def test_slow_browser_gets_a_snapshot_and_delays_no_other(
    backplane: MemoryBackplane,
) -> None:
    """Only one frame waits for a slow browser, however much is published."""
    fanout = Fanout(backplane, most=100)
    slow, quick = Socket(), Socket()
    async with running(fanout, browser_of(slow, fanout), browser_of(quick, fanout)):
        await until(lambda: slow.types == quick.types == ["snapshot"])
        slow.open.clear()
        await publish(backplane, 0)
        await until(lambda: slow.waiting)
        for start in range(1, 601, 50):
            await publish(backplane, *range(start, start + 50))
            await until(lambda: quick.numbers[-1:] == [start + 49])  # noqa: B023 - awaited here
        assert slow.waiting == 1
        assert quick.numbers == list(range(601))
        slow.open.set()
        await until(lambda: slow.types.count("snapshot") == 2)
        assert slow.sent[-1]["cursor"] == fanout.ring.cursor
        await publish(backplane, 601, 602)
        await until(lambda: slow.numbers[-1:] == [602])
        assert slow.numbers == [0, 601, 602]
        assert quick.types.count("snapshot") == 1


async def test_browser_that_does_not_read_is_disconnected(
    backplane: MemoryBackplane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The close code is 4408."""
    monkeypatch.setattr(live, "SEND_SECONDS", 0.02)
    fanout, socket = Fanout(backplane), Socket()
    socket.open.clear()
    async with running(fanout, browser_of(socket, fanout)):
        await until(lambda: socket.code == 4408)


async def test_connection_closes_when_its_session_ends(backplane: MemoryBackplane) -> None:
    """The server closes at the next update, without a request of the page."""
    fanout, socket = Fanout(backplane), Socket()
    caller = SimpleNamespace(expires=time.time() + 3600, session="")
    async with running(fanout, browser_of(socket, fanout, cast("Caller", caller))):
        await until(lambda: socket.types == ["snapshot"])
        caller.expires = time.time()
        await publish(backplane, 0)
        await until(lambda: socket.code == 4401)


async def test_browser_gets_only_the_latest_circuit(backplane: MemoryBackplane) -> None:
    """A slow browser skips the circuit's earlier states."""
    fanout, socket = Fanout(backplane), Socket()
    async with running(fanout, browser_of(socket, fanout)):
        await until(lambda: socket.types == ["snapshot"])
        socket.open.clear()
        await publish(backplane, 0)
        await until(lambda: socket.waiting)
        for state in ("open", "half_open", "closed"):
            fanout.show_circuit(json.dumps({"state": state}), "[]")
        socket.open.set()
        await until(lambda: len(socket.sent) == 3)
        assert socket.sent[-1] == {"type": "circuit", "data": {"state": "closed"}, "history": []}


async def test_redrive_of_a_dead_instance_is_announced_as_ended(
    backplane: MemoryBackplane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader announces the end after the lease has expired, until the announcement is read.

    A redrive that holds its lease is not announced.
    """
    monkeypatch.setattr(tasks_module, "SECONDS", 0.002)
    coordination, fanout = MemoryCoordination(), Fanout(backplane)
    settings = ConsoleSettings(token="a-token-of-32-characters-for-test")
    vitals, operations = NoVitals(), LazyOperations({})
    catalogue = Catalogue(operations.poison)
    tasks = ReaderTasks(
        *(coordination, fanout, vitals, operations, settings),
        catalogue=catalogue,
        breaker=BREAKER,
    )
    published: list[Any] = []

    async def publish(kind: str, data: Any) -> None:
        published.append((kind, data))
        await backplane.publish([(kind, data)])

    await coordination.acquire(REDRIVE, "j", 60)
    await backplane.publish([(REDRIVE, {"job": "j", "done": False, "stopped": ""})])
    async with running(fanout):
        reader_task = asyncio.create_task(tasks.lost_redrives(publish))
        await until(lambda: fanout.snapshot.redrive is not None)
        await asyncio.sleep(0.05)
        assert published == []
        await coordination.release(REDRIVE, "j")
        await until(lambda: (fanout.snapshot.redrive or {}).get("done"))
        announced = len(published)
        await asyncio.sleep(0.05)
        assert len(published) == announced
        reader_task.cancel()
        await asyncio.gather(reader_task, return_exceptions=True)
    assert {(kind, data["job"], data["done"]) for kind, data in published} == {(REDRIVE, "j", True)}
    assert "start the redrive again" in published[0][1]["stopped"]

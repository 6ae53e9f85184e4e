"""Fan-out to browsers, also through outages and losses of the backplane."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from console.backplane.coordination import MemoryCoordination
from console.backplane.stream import Document, MemoryBackplane, Message
from console.errors import BackplaneError
from console.live.fanout import READ, Fanout
from console.live.ring import FRAME_ITEMS, Ring
from console.live.snapshot import LINES, Snapshot


def message(number: int, kind: str = "log") -> Message:
    return Message(f"1-{number}", kind, json.dumps({"n": number}))


def numbers(text: str) -> list[int]:
    return [item["data"]["n"] for item in json.loads(text)["items"]]


def test_frames_are_bounded_and_gapless() -> None:
    """Frames from any position to the end have each message once."""
    ring = Ring(10_000)
    ring.extend(message(n) for n in range(1_200))
    position, got, frames = 0, [], 0
    while position < ring.end:
        text, position = ring.frame(position)
        got += numbers(text)
        frames += 1
    assert got == list(range(1_200))
    assert frames == -(-1_200 // FRAME_ITEMS)
    behind = ring.behind("1-1000")
    assert behind is not None
    assert numbers(ring.frame(behind)[0]) == list(range(1_001, 1_200))


def test_dropped_message_has_no_position() -> None:
    """The remaining messages keep their positions."""
    ring = Ring(100)
    ring.extend(message(n) for n in range(50))
    before = ring.behind("1-49")
    for start in range(50, 400, 50):
        ring.extend(message(n) for n in range(start, start + 50))
    assert before is not None
    assert before < ring.first
    assert ring.behind("1-49") is None
    assert ring.end == 400
    behind = ring.behind("1-390")
    assert behind is not None
    assert numbers(ring.frame(behind)[0]) == list(range(391, 400))


def test_start_message_is_not_sent() -> None:
    """The start message only gives the stream a first cursor."""
    ring = Ring(100)
    ring.extend([message(1, "start")])
    assert ring.frame(0) == ("", 1)
    assert ring.behind("1-1") == 1


def test_snapshot_is_the_state_after_the_messages() -> None:
    """It has the log lines, the last partitions and redrive, and the last row's counters."""
    snapshot = Snapshot()
    for n in range(300):
        snapshot.apply(message(n))
    snapshot.apply(Message("2-0", "partitions", '{"rows":[]}'))
    snapshot.apply(
        Message("2-1", "vitals", '{"poison_count":3,"parked_keys":null,"deferred_keys":2}')
    )
    snapshot.apply(Message("2-2", "tail", '{"never":"shown"}'))
    text = snapshot.encoded(cursor="2-2", instance='a"b', circuit="{}", history="[]")
    found = json.loads(text)
    assert (found["cursor"], found["instance"]) == ("2-2", 'a"b')
    data = found["data"]
    assert [line["n"] for line in data["log"]] == list(range(300 - LINES, 300))
    assert data["partitions"] == {"rows": []}
    counters = [data[name] for name in ("poison_count", "parked_keys", "deferred_keys")]
    assert (counters, data["redrive"]) == ([3, None, 2], None)
    assert "never" not in text


def test_older_log_lines_fill_a_snapshot() -> None:
    """The newest of the older lines come first, then the newer lines."""
    snapshot = Snapshot()
    for n in range(1_000, 1_150):
        snapshot.apply(message(n))
    snapshot.log_before([message(n) for n in range(100)])
    data = json.loads(snapshot.encoded(cursor=None, instance="", circuit="1", history="[]"))["data"]
    assert [line["n"] for line in data["log"]] == [*range(50, 100), *range(1_000, 1_150)]


class FaultyBackplane(MemoryBackplane):
    """Backplane that can be unavailable, and whose reads can block."""

    away = False
    stalled = False

    async def read(self, after: str, count: int) -> list[Message]:
        while self.stalled:
            await asyncio.sleep(0.001)
        found = await super().read(after, count)
        if self.away:
            raise BackplaneError("away")
        return found

    async def add(self, *numbers: int) -> list[str]:
        documents: Sequence[tuple[str, Document]] = [("log", {"n": n}) for n in numbers]
        return await self.publish(documents)


@asynccontextmanager
async def running(backplane: MemoryBackplane, most: int = 10_000) -> AsyncIterator[Fanout]:
    fanout = Fanout(backplane, instance="i", most=most)
    task = asyncio.create_task(fanout.run())
    try:
        yield fanout
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def reached(fanout: Fanout, cursor: str) -> None:
    async with asyncio.timeout(10):
        while fanout.ring.cursor != cursor:
            await fanout.wake.wait()


@pytest.fixture
def backplane() -> FaultyBackplane:
    return FaultyBackplane(MemoryCoordination(), most=5_000, wait_seconds=0.02)


async def test_any_instance_resumes_any_cursor(backplane: FaultyBackplane) -> None:
    """An instance that starts later has the earlier messages."""
    cursors = await backplane.add(*range(10))
    async with running(backplane) as first:
        assert await first.resume(cursors[3]) == 4
        cursors += await backplane.add(10)
        async with running(backplane) as second:
            position = await second.resume(cursors[-1])
            assert position == second.ring.end
            assert await second.resume(None) is None
            assert await second.resume("1-1") is None
            assert await second.resume("no cursor") is None


async def test_resume_waits_for_a_cursor_ahead_of_the_instance(backplane: FaultyBackplane) -> None:
    """The browser comes from an instance that has read more messages."""
    await backplane.add(0)
    async with running(backplane) as fanout:
        assert await fanout.resume(None) is None
        backplane.away = True
        (cursor,) = await backplane.add(1)
        resuming = asyncio.create_task(fanout.resume(cursor))
        await asyncio.sleep(0.01)
        assert not resuming.done()
        backplane.away = False
        assert await resuming == fanout.ring.end


async def test_an_outage_loses_nothing(backplane: FaultyBackplane) -> None:
    """Reading resumes at the last cursor, and no browser needs a snapshot."""
    async with running(backplane) as fanout:
        (cursor,) = await backplane.add(0)
        await reached(fanout, cursor)
        epoch, position = fanout.epoch, fanout.ring.end
        backplane.away = True
        await backplane.add(1, 2)
        await asyncio.sleep(0.05)
        backplane.away = False
        cursors = await backplane.add(3)
        await reached(fanout, cursors[-1])
        assert fanout.epoch == epoch
        assert numbers(fanout.ring.frame(position)[0]) == [1, 2, 3]


@pytest.mark.parametrize("trouble", ["away", "stalled"])
async def test_gap_in_the_stream_gives_a_snapshot(backplane: FaultyBackplane, trouble: str) -> None:
    """All browsers get a snapshot when the stream has trimmed messages that were not read."""
    async with running(backplane) as fanout:
        (cursor,) = await backplane.add(0)
        await reached(fanout, cursor)
        epoch = fanout.epoch
        setattr(backplane, trouble, True)
        await asyncio.sleep(0.05)
        cursors: list[str] = []
        while len(cursors) < 5_000 + READ:
            cursors += await backplane.add(*range(1_000))
        setattr(backplane, trouble, False)
        await reached(fanout, cursors[-1])
        assert fanout.epoch > epoch
        assert await fanout.resume(cursor) is None


async def test_lost_stream_is_started_again(backplane: FaultyBackplane) -> None:
    """A Redis without persistence has restarted."""
    async with running(backplane) as fanout:
        (cursor,) = await backplane.add(0)
        await reached(fanout, cursor)
        epoch = fanout.epoch
        backplane.away = True
        await asyncio.sleep(0.05)
        backplane._messages.clear()
        backplane.away = False
        async with asyncio.timeout(10):
            while fanout.epoch == epoch:
                await fanout.wake.wait()
        found: dict[str, Any] = json.loads(fanout.snapshot_text)
        assert found["cursor"] not in {None, cursor}


async def test_stream_that_moved_back_is_detected(backplane: FaultyBackplane) -> None:
    """A Redis that lost its last messages continues at an earlier cursor without an outage."""
    async with running(backplane) as fanout:
        (cursor,) = await backplane.add(0)
        await reached(fanout, cursor)
        epoch = fanout.epoch
        backplane._messages[:] = [message(1), message(2)]
        await reached(fanout, "1-2")
        assert fanout.epoch == epoch + 1
        assert json.loads(fanout.snapshot_text)["cursor"] == "1-2"
        assert await fanout.resume("1-1") == fanout.ring.end - 1

"""An instance's vital signs: counted, written once a second at most, and never in the way."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from breaker.stores.redis import connect
from processing.errors import StorageUnavailableError
from processing.event import Event, Source
from processing.monitoring.redis_vitals import RECORDS, RedisVitals
from processing.monitoring.telemetry import Telemetry
from processing.monitoring.vitals import SAMPLES_PER_SECOND, Vitals, vitals_key, write_vitals


async def test_calls_and_batches_are_counted() -> None:
    """Through the telemetry that every processor has."""
    vitals = Vitals()
    telemetry = Telemetry(vitals=vitals)
    event = Event(b"", None, {}, "0", 1, "1", 0)

    results = iter([None, None, ValueError()])

    async def handler(_: Event) -> None:
        if error := next(results):
            raise error

    handle = telemetry.measured(handler)
    for _ in range(3):
        await asyncio.gather(handle(event), return_exceptions=True)
    telemetry.batch_ended(Source("h", "g", "0"), 0.1, {"handled": 2, "poisoned": 1, "parked": 4})
    vitals.sample(holding=True)
    vitals.sample(holding=False)
    record = vitals.drain()
    assert sum(record.pop("latency").values()) == 3
    assert record == {"handled": 2, "failures": 1, "poisoned": 1, "parked": 4, "holding": 0.5}
    assert not any(vitals.drain().values())


def test_durations_fall_into_powers_of_two() -> None:
    """Of microseconds; an absurd one is no error."""
    vitals = Vitals()
    for seconds in (0.0, 0.000_001, 0.001, 1.0, 3_600.0, 100_000.0):
        vitals.record_call(seconds, False)
    assert vitals.drain()["latency"] == {"0": 1, "1": 1, "10": 1, "20": 1, "32": 1, "37": 1}


class Seconds:
    """A clock that a test runs: so many seconds, then cancelled."""

    def __init__(self, seconds: int) -> None:
        self.left = seconds * SAMPLES_PER_SECOND

    async def __call__(self, _: float) -> None:
        if not self.left:
            raise asyncio.CancelledError
        self.left -= 1


async def written(vitals: Vitals, seconds: int, holding: bool = False) -> list[dict[str, Any]]:
    """What is written in so many seconds."""
    found: list[dict[str, Any]] = []

    async def write(record: str) -> None:
        found.append(json.loads(record))

    await asyncio.gather(
        write_vitals(vitals, write, lambda: holding, Seconds(seconds)), return_exceptions=True
    )
    return found


async def test_one_record_a_second_at_most() -> None:
    """However many calls there were; an idle instance shows now and then that it is there."""
    vitals = Vitals()
    for _ in range(1_000):
        vitals.record_call(0.001, False)
    busy, *idle = await written(vitals, 11)
    assert busy["handled"] == 1_000
    assert len(idle) == 2
    assert len(await written(Vitals(), 11, holding=True)) == 11


async def test_a_record_that_is_not_taken_is_dropped() -> None:
    """And the next one is written all the same."""
    attempts = 0

    async def write(_: str) -> None:
        nonlocal attempts
        attempts += 1
        raise StorageUnavailableError("away")

    await asyncio.gather(
        write_vitals(Vitals(), write, lambda: True, Seconds(3)), return_exceptions=True
    )
    assert attempts == 3


async def test_the_stream_is_bounded_and_ends(redis_url: str) -> None:
    """A fleet that is gone leaves nothing behind."""
    client: Any = connect(redis_url)
    writer = RedisVitals(client, "c", "host:1")
    async with client.pipeline(transaction=False) as pipe:
        for _ in range(RECORDS + 1_000):
            pipe.xadd(vitals_key("c"), {"instance": "x", "data": "{}"})
        await pipe.execute()
    await writer.write('{"handled":1}')
    assert RECORDS <= await client.xlen(vitals_key("c")) <= RECORDS + 200
    assert 0 < await client.ttl(vitals_key("c")) <= 3_600
    ((_, fields),) = await client.xrevrange(vitals_key("c"), count=1)
    assert fields == {b"instance": b"host:1", b"data": b'{"handled":1}'}
    await client.aclose()
    away: Any = connect("redis://127.0.0.1:1/0")
    with pytest.raises(StorageUnavailableError, match="vitals"):
        await RedisVitals(away, "c", "host:1").write("{}")
    await away.aclose()

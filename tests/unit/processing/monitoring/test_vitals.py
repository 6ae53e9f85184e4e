"""Counters of an instance's vital signs, and the records that it writes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from breaker.stores.redis import connect
from console.reader.vitals import merge
from processing.errors import StorageUnavailableError
from processing.event import Event
from processing.monitoring.redis_vitals import RECORDS, RedisVitals
from processing.monitoring.telemetry import Telemetry
from processing.monitoring.vitals import (
    SAMPLES_PER_SECOND,
    Vitals,
    VitalsEntry,
    readable_numbers,
    vitals_key,
    write_vitals,
)
from tests.support.processing.events import SOURCE


async def test_calls_and_batches_are_counted() -> None:
    """The telemetry of every processor feeds the counters."""
    vitals = Vitals()
    telemetry = Telemetry(vitals=vitals)
    event = Event(b"", None, {}, SOURCE, 1, "1", 0)

    results = iter([None, None, ValueError()])

    async def handler(_: Event) -> None:
        if error := next(results):
            raise error

    handle = telemetry.measured(handler)
    for _ in range(3):
        await asyncio.gather(handle(event), return_exceptions=True)
    telemetry.batch_ended(SOURCE, 0.1, {"handled": 2, "poisoned": 1, "parked": 4})
    for outcome in ("replayed", "replayed", "poisoned"):
        telemetry.replay_ended(SOURCE, outcome)
    vitals.sample(holding=True)
    vitals.sample(holding=False)
    record = vitals.drain()
    assert sum(record.pop("latency").values()) == 3
    counts = {"handled": 2, "failures": 1, "poisoned": 2, "parked": 4, "replayed": 2}
    assert record == counts | {"holding": 0.5}
    assert not any(vitals.drain().values())


def test_durations_are_counted_by_powers_of_two() -> None:
    """The unit is microseconds, and an absurd duration raises no error."""
    vitals = Vitals()
    for seconds in (0.0, 0.000_001, 0.001, 1.0, 3_600.0, 100_000.0):
        vitals.record_call(seconds, False)
    assert vitals.drain()["latency"] == {"0": 1, "1": 1, "10": 1, "20": 1, "32": 1, "37": 1}


@pytest.mark.parametrize(
    "record",
    [
        '{"handled": NaN, "failures": Infinity, "holding": -Infinity, "parked": -1}',
        '{"latency": {"99999": 1, "-1": 1, "48": 1, "x": 1, "٣": 1, "10": 1.5, "11": -1}}',
        '{"handled": 1e999, "poisoned": 1' + "0" * 400 + "}",
        '{"latency": {"' + "9" * 5_000 + '": 1, "10": 1' + "0" * 400 + "}}",
        '{"problem": 1, "latency": 5}',
        "[]",
    ],
)
def test_numbers_that_the_console_cannot_add_are_left_out(record: str) -> None:
    numbers = readable_numbers(json.loads(record))
    assert not any(numbers.values()), numbers
    row = merge([VitalsEntry("1-0", "a", numbers)], seconds=1.0, instances=1, holding=[])
    assert (row["handled"], row["p99_ms"]) == (0, None)


def test_numbers_of_a_record_are_read() -> None:
    numbers = {"handled": 3, "holding": 0.5, "latency": {"0": 1, "47": 2}, "problem": "p"}
    assert readable_numbers(numbers | {"new": "text"}) == numbers


class Seconds:
    """A sleep function that is cancelled after the given number of seconds."""

    def __init__(self, seconds: int) -> None:
        self.left = seconds * SAMPLES_PER_SECOND

    async def __call__(self, _: float) -> None:
        if not self.left:
            raise asyncio.CancelledError
        self.left -= 1


async def records_of(vitals: Vitals, seconds: int, holding: bool = False) -> list[dict[str, Any]]:
    """Return the records that are written in the given number of seconds."""
    found: list[dict[str, Any]] = []

    async def write(record: str) -> None:
        found.append(json.loads(record))

    await asyncio.gather(
        write_vitals(vitals, write, lambda: holding, Seconds(seconds)), return_exceptions=True
    )
    return found


async def test_at_most_one_record_is_written_per_second() -> None:
    """An idle instance writes a record every few seconds."""
    vitals = Vitals()
    for _ in range(1_000):
        vitals.record_call(0.001, False)
    busy, *idle = await records_of(vitals, 11)
    assert busy["handled"] == 1_000
    assert len(idle) == 2
    assert len(await records_of(Vitals(), 11, holding=True)) == 11


async def test_record_contains_what_is_wrong_with_the_handler() -> None:
    """An idle instance writes such a record each second, too."""
    found: list[dict[str, Any]] = []

    async def write(record: str) -> None:
        found.append(json.loads(record))

    await asyncio.gather(
        write_vitals(Vitals(), write, lambda: False, Seconds(3), lambda: "handler x is wrong"),
        return_exceptions=True,
    )
    assert [each["problem"] for each in found] == ["handler x is wrong"] * 3


async def test_record_that_cannot_be_written_is_dropped() -> None:
    """The next record is still written."""
    attempts = 0

    async def write(_: str) -> None:
        nonlocal attempts
        attempts += 1
        raise StorageUnavailableError("away")

    await asyncio.gather(
        write_vitals(Vitals(), write, lambda: True, Seconds(3)), return_exceptions=True
    )
    assert attempts == 3


async def test_stream_is_bounded_and_expires(redis_url: str) -> None:
    """An app that no longer runs leaves no data behind."""
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

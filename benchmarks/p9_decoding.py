"""P9, from the data that the host gives to the worker to an EventBatch, against azure-functions."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.functions import _jsonutils
from azure.functions.eventhub import EventHubTriggerConverter
from azure.functions.meta import Datum

from benchmarks.context import Context
from benchmarks.measuring import interleaved, median, medians, spread
from benchmarks.result import Check, Result
from processing.event import EventBatch
from processing.trigger import events, times

EVENTS, KEYS, EVENTS_PER_PUBLICATION = 1_000, 100, 10
OURS = "breakwater_us_per_event"
DECODING, TRANSLATION = "decoding_us_per_event", "translation_us_per_event"
STOCK = "azure_functions_us_per_event"
_START = datetime(2026, 11, 29, 6, 24, 26, tzinfo=UTC)


class _Stock(EventHubTriggerConverter, binding=None):
    """The library's converter as it is installed."""


class _Lean(EventHubTriggerConverter, binding=None):
    """The library's converter with this app's replacements."""


async def run(context: Context) -> Result:
    """Decode batches in the form of the real host, by the library and by the app in rotation."""
    rounds = context.scaled(25, 3)
    context.expect(2 * (rounds + 1))
    stock = type(_jsonutils.json_impl).__name__
    if stock != "StdJsonAdapter":
        raise RuntimeError(f"the peer is azure-functions without orjson, but it uses {stock}")
    if not (times.install(_Lean) and events.install(_Lean)):
        raise RuntimeError("the installed azure-functions does not take the replacements")
    longest: list[float] = []
    legs: dict[str, list[float]] = {DECODING: [], TRANSLATION: []}

    async def by_the_library() -> float:
        data, metadata = host_batch(EVENTS)
        started = time.perf_counter()
        _Stock.decode(data, trigger_metadata=metadata)
        return (time.perf_counter() - started) / EVENTS * 1e6

    async def by_the_app() -> float:
        data, metadata = host_batch(EVENTS)
        started = time.perf_counter()
        bound: Any = _Lean.decode(data, trigger_metadata=metadata)
        decoded = time.perf_counter()
        batch = EventBatch.from_binding(bound)
        ended = time.perf_counter()
        if len(batch.events) != EVENTS or batch.events[-1].sequence_number != EVENTS - 1:
            raise AssertionError("the batch does not have the host's events")
        longest.append((ended - started) * 1e3)
        legs[DECODING].append((decoded - started) / EVENTS * 1e6)
        legs[TRANSLATION].append((ended - decoded) / EVENTS * 1e6)
        return (ended - started) / EVENTS * 1e6

    measured = await interleaved({STOCK: by_the_library, OURS: by_the_app}, rounds, context.advance)
    found = medians(measured)
    return Result(
        "P9",
        f"from the worker's data to an EventBatch, the real host's form, {EVENTS:,} events",
        (
            Check("azure-functions ÷ breakwater", found[STOCK] / found[OURS], "≥", 15, "x"),
            Check("event loop blocked by one batch", median(longest), "≤", 20, "ms"),
        ),
        found | medians(legs),
        {
            "rounds": rounds,
            "spread": {name: spread(values) for name, values in measured.items()},
            "peer": "decodes to its own events, without system and application properties",
            "breakwater": "decodes and translates to events with all properties",
        },
    )


def host_batch(count: int) -> tuple[Datum, dict[str, Datum]]:
    """Return data and metadata of a batch as the real host passes them (extension 6.5.1)."""
    systems = [_system(number) for number in range(count)]
    context = _json(
        {
            "IsCheckpointingAfterInvocation": True,
            "FullyQualifiedNamespace": "127.0.0.1",
            "EventHubName": "events",
            "ConsumerGroup": "$Default",
            "PartitionId": "1",
        }
    )
    properties = [{"counter": number, "run": "benchmark"} for number in range(count)]
    return Datum(_Collection(bytes=[b'{"counter": 1}'] * count), "collection_bytes"), {
        "SystemPropertiesArray": _json(systems),
        "OffsetArray": _strings(system["Offset"] for system in systems),
        "PartitionContext": context,
        "PartitionKeyArray": _strings(system["PartitionKey"] for system in systems),
        "SequenceNumberArray": Datum(_Collection(sint64=range(count)), "collection_sint64"),
        "TriggerPartitionContext": context,
        "PropertiesArray": _json(properties),
        "EnqueuedTimeUtcArray": _json([system["EnqueuedTimeUtc"] for system in systems]),
    }


class _Collection:
    """The part of a protobuf collection that the library reads: one of the lists."""

    def __init__(self, **lists: Sequence[Any]) -> None:
        vars(self).update(lists)


def _system(number: int) -> Mapping[str, Any]:
    publication = timedelta(milliseconds=number // EVENTS_PER_PUBLICATION)
    aware = (_START + publication).isoformat(timespec="milliseconds")
    offset, key = str(30_194_922 + number * 100), f"key-{number % KEYS}"
    return {
        "x-opt-sequence-number": number,
        "x-opt-enqueued-time": aware,
        "x-opt-offset": offset,
        "x-opt-partition-key": key,
        "SequenceNumber": number,
        "Offset": offset,
        "PartitionKey": key,
        "EnqueuedTimeUtc": aware.removesuffix("+00:00"),
    }


def _json(value: Any) -> Datum:
    return Datum(json.dumps(value, separators=(",", ":")), "json")


def _strings(values: Any) -> Datum:
    return Datum(_Collection(string=list(values)), "collection_string")

"""The child process of P7, which measures one processor's time and memory over many events.

A separate process makes its memory measurable. Streams of `short` events alternate with the parts
of one stream of `long` events.

Standard input is one line of JSON, {"url", "short", "long", "chunks"}. Standard output is one line
of JSON, {"short_us": [µs per event of each short stream], "long_us": [µs per event of each part],
"rss_bytes": [resident memory after the first short stream and after each part]}.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Iterable

import psutil

from benchmarks import events
from benchmarks.handlers import no_op
from benchmarks.subject import processor
from processing.batch.processor import BatchProcessor
from processing.event import EventBatch

BATCH, KEYS = 1_000, 100


async def main() -> None:
    """Process the ordered events and write the measurements to standard output."""
    order = json.loads(sys.stdin.readline())
    short, chunks = order["short"], order["chunks"]
    memory = psutil.Process().memory_info
    async with processor(order["url"], no_op) as subject:
        await _each_us(subject, _stream(short), short)  # warms up connections, scripts and caches
        rss = [memory().rss]
        source, part = events.new_source(), order["long"] // chunks
        short_us, long_us = [], []
        for number in range(chunks):
            short_us.append(await _each_us(subject, _stream(short), short))
            batches = (
                events.batch(source, first, BATCH, KEYS)
                for first in range(number * part, (number + 1) * part, BATCH)
            )
            long_us.append(await _each_us(subject, batches, part))
            rss.append(memory().rss)
    sys.stdout.write(
        json.dumps({"short_us": short_us, "long_us": long_us, "rss_bytes": rss}) + "\n"
    )


def _stream(count: int) -> Iterable[EventBatch]:
    return events.batches(events.new_source(), count, size=BATCH, keys=KEYS)


async def _each_us(subject: BatchProcessor, batches: Iterable[EventBatch], count: int) -> float:
    """Return the microseconds per event; each batch is made, timed and dropped as in the host."""
    seconds = 0.0
    for batch in batches:
        started = time.perf_counter()
        await subject.process(batch)
        seconds += time.perf_counter() - started
    return seconds / count * 1e6


if __name__ == "__main__":
    logging.getLogger("breaker").setLevel(logging.ERROR)
    asyncio.run(main())

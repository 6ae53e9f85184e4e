"""P7, which compares the cost of the millionth event and the first events in time and memory."""

from __future__ import annotations

from typing import Any, cast

from redis.asyncio import Redis

from benchmarks.context import Context
from benchmarks.measuring import median, spread
from benchmarks.result import Check, Result
from benchmarks.services import ask, redis_server

SHORT, LONG = 10_000, 1_000_000
CHUNKS = 20
WITHIN = 0.10
MEMORY_WITHIN = 0.10
_MIB = 1024 * 1024


async def run(context: Context) -> Result:
    """Measure a stream of 1,000,000 events of one partition, with streams of 10,000 in between."""
    total = context.scaled(LONG, LONG // 20)
    context.expect(1)
    async with redis_server(context.directory) as url, Redis.from_url(url) as admin:
        order = {
            "url": url,
            "short": SHORT,
            "long": total,
            "chunks": CHUNKS if total == LONG else 5,
        }
        log = context.directory / "growth.log"
        found = cast(
            "dict[str, Any]", await ask("-m", "benchmarks.children.growth", order=order, log=log)
        )
        redis_bytes = (await admin.info("memory"))["used_memory"]
        context.advance()
    short, long, rss = found["short_us"], found["long_us"], found["rss_bytes"]
    # Compare each part with the short stream next to it, because the machine's speed drifts.
    parts = [part / beside for part, beside in zip(long, short, strict=True)]
    early, late = median(parts[: len(parts) // 2]), median(parts[len(parts) // 2 :])
    ratio = median(parts)
    return Result(
        "P7",
        f"{SHORT:,} → {total:,} events",
        (
            Check("time per event, long ÷ short stream", ratio, "≤", 1 + WITHIN, "x"),
            Check("time per event, long ÷ short stream", ratio, "≥", 1 - WITHIN, "x"),
            Check(
                "time per event, second half ÷ first half",
                late / early,
                "≤",
                1 + WITHIN,
                "x",
            ),
            Check(
                "resident memory, end ÷ beginning", rss[-1] / rss[0], "≤", 1 + MEMORY_WITHIN, "x"
            ),
        ),
        {
            "short_stream_us_per_event": median(short),
            "long_stream_us_per_event": median(long),
            "rss_mib_after_10000": rss[0] / _MIB,
            "rss_mib_at_end": rss[-1] / _MIB,
        },
        {
            "events": total,
            "rss_mib": [value / _MIB for value in rss],
            "redis_used_mib": redis_bytes / _MIB,
            "long_us_per_event": long,
            "part_to_short_stream_beside_it": parts,
            "spread": {"short": spread(short), "long": spread(long)},
        },
    )

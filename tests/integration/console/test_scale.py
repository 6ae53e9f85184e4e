"""Scale-out: consoles behind a balancer are killed, and no page misses or repeats a message.

The full test (200 pages, 5,000 messages, 30 s) runs with SCALE_TEST=full; the suite runs a smaller
one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from pathlib import Path

import pytest

from breaker.stores.redis import connect
from console.backplane.redis_stream import RedisBackplane
from tests.support.console.fleet import KIND, Fleet, fleet, pages
from tests.support.patience import HANG_SECONDS
from tests.support.round_robin import round_robin

FULL = os.environ.get("SCALE_TEST") == "full"
PAGES, MESSAGES, SECONDS = (200, 5_000, 30.0) if FULL else (30, 1_000, 6.0)
KILLS, LAST = 3, 100
"""The test publishes the last messages only after so many kills."""
SEED = int(os.environ.get("SCALE_TEST_SEED", "1"))


@pytest.mark.long
async def test_every_page_has_every_message_once_and_in_order(
    redis_url: str, tmp_path: Path
) -> None:
    """Three instances are killed at random, and each page reconnects to a running instance."""
    chance = random.Random(SEED)  # noqa: S311 - repeatable by its seed
    client = connect(redis_url)
    backplane = RedisBackplane(client, "c")
    with fleet(redis_url, tmp_path, 3) as consoles:
        await consoles.healthy()
        async with (
            round_robin(consoles.ports) as port,
            pages(f"ws://127.0.0.1:{port}/live", PAGES, chance) as opened,
        ):
            assert all(page.snapshots == 1 for page in opened)
            killing = asyncio.create_task(keep_killing(consoles, chance))
            started = time.monotonic()
            await publish(backplane, chance, range(MESSAGES - LAST))
            async with asyncio.timeout(HANG_SECONDS):
                while consoles.kills < KILLS:  # a busy machine is slower to kill than to publish
                    await asyncio.sleep(0.05)
            await publish(backplane, chance, range(MESSAGES - LAST, MESSAGES))
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
            async with asyncio.timeout(HANG_SECONDS):
                while any(len(page.got) < MESSAGES for page in opened):
                    await asyncio.sleep(0.1)
            seconds = time.monotonic() - started
            await asyncio.sleep(0.5)  # repeated messages would arrive now
            for page in opened:
                assert page.got == list(range(MESSAGES))
    await client.aclose()
    reconnections = sum(page.connections - 1 for page in opened)
    assert reconnections > 0, "no page had to reconnect"
    logging.getLogger(__name__).info(
        "%s pages, %s messages in %.1f s: %s kills, %s reconnections, %s snapshots",
        *(PAGES, MESSAGES, seconds, consoles.kills, reconnections),
        sum(page.snapshots - 1 for page in opened),
    )


async def publish(backplane: RedisBackplane, chance: random.Random, numbers: range) -> None:
    """Publish the messages in random bursts, spread over their share of the time."""
    number, started = numbers.start, time.monotonic()
    while number < numbers.stop:
        burst = min(chance.randrange(1, 40), numbers.stop - number)
        await backplane.publish([(KIND, {"n": n}) for n in range(number, number + burst)])
        number += burst
        due = started + SECONDS * (number - numbers.start) / MESSAGES
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def keep_killing(consoles: Fleet, chance: random.Random) -> None:
    while True:
        await asyncio.sleep(chance.uniform(0.3, 1.2))
        await consoles.kill_and_restart(chance)

"""Simultaneous operations of many processes on a real Redis.

The race to the threshold has 12 rounds; the environment variable BREAKER_RACE_ROUNDS sets another
number, e.g. all 200 that the breaker was accepted with:

    BREAKER_RACE_ROUNDS=200 .venv/bin/python -m pytest tests/integration/breaker/test_races.py
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

ROUNDS = int(os.environ.get("BREAKER_RACE_ROUNDS", "12"))
FLEET = Path(__file__).parents[2] / "support" / "breaker" / "fleet.py"


async def fleet(**orders: Any) -> list[list[Any]]:
    """Run the fleet and return the answers of its processes, one list per round."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(FLEET)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(json.dumps(orders).encode())
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("clock_offset", [0, 3600])
async def test_simultaneous_failures_open_once(redis_url: str, clock_offset: int) -> None:
    """C4: 8 processes with 50 recorders each open once, with one alert and no lost failure.

    The result is the same if the processes' clocks are wrong by an hour.
    """
    answers = await fleet(
        url=redis_url,
        mode="record",
        processes=8,
        recorders=50,
        rounds=ROUNDS,
        clock_offset=clock_offset,
        settings={"failure_threshold": 100, "window_seconds": 600},
    )
    assert len(answers) == ROUNDS
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        for number, answer in enumerate(answers):
            prefix = f"breaker:{{round-{number}}}:"
            assert max(each["generation"] for each in answer) == 1
            assert max(each["failures"] for each in answer) == 100
            assert client.hmget(prefix + "circuit", "state", "generation") == ["open", "1"]
            assert client.zcard(prefix + "window") == 100
            events = [fields["event"] for _, fields in client.xrange(prefix + "history")]
            assert events == ["opened"]
            alerts = [fields["event"] for _, fields in client.xrange(prefix + "outbox")]
            assert alerts == ["opened"]


async def test_simultaneous_failures_are_all_in_the_window(redis_url: str) -> None:
    """The window has 400 members after 8 x 50 simultaneous failures."""
    await fleet(
        url=redis_url,
        mode="record",
        processes=8,
        recorders=50,
        rounds=3,
        settings={"failure_threshold": 401, "window_seconds": 600},
    )
    with redis.Redis.from_url(redis_url) as client:
        counts = [client.zcard(f"breaker:{{round-{number}}}:window") for number in range(3)]
    assert counts == [400, 400, 400]


async def test_fifty_processes_share_seven_permits(redis_url: str) -> None:
    """In HALF_OPEN exactly as many processes start as there are permits."""
    settings = {"failure_threshold": 1, "half_open_permits": 7}
    with redis.Redis.from_url(redis_url) as client:
        for number in range(5):
            client.hset(
                f"breaker:{{round-{number}}}:circuit",
                mapping={"state": "half_open", "generation": "1"},
            )
    answers = await fleet(url=redis_url, mode="probe", processes=50, rounds=5, settings=settings)
    for answer in answers:
        granted = [probe for probe in answer if probe is not None]
        assert (len(granted), len(set(granted))) == (7, 7)

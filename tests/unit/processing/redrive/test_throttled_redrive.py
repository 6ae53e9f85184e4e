"""Redrives whose dependency limits the rate of calls."""

from __future__ import annotations

import asyncio

import httpx

from processing.event import Event
from processing.redrive.summary import RedriveSummary
from tests.support.jumping_loop import run_simulated
from tests.support.processing.events import batch
from tests.support.processing.parking_rig import Rig, keyed, open_rig


def throttled(pause: int) -> Exception:
    request = httpx.Request("GET", "http://bank/")
    response = httpx.Response(429, headers={"Retry-After": str(pause)}, request=request)
    return httpx.HTTPStatusError("429", request=request, response=response)


def redrive(
    pause: int, refusals: int, *, stop_at: float | None = None
) -> tuple[RedriveSummary, list[int], float]:
    """Redrive two poisoned events of one key in simulated time.

    Args:
        pause: what the dependency names.
        refusals: number of calls that the dependency refuses first.
        stop_at: the time at which an operator stops the redrive.

    Returns:
        The summary, the handled events, and the seconds that the redrive took.
    """

    async def run(rig: Rig) -> tuple[RedriveSummary, list[int], float]:
        rig.bad = {0, 1}
        await rig.processor(poison_ordering="skip").process(batch(keyed("a", "a")))
        rig.bad.clear()
        left = refusals

        async def limit(_each: Event) -> None:
            nonlocal left
            left -= 1
            if left >= 0:
                raise throttled(pause)

        rig.before = limit
        loop = asyncio.get_running_loop()
        started = loop.time()
        redriving = rig.redrive()
        if stop_at is not None:
            loop.call_later(stop_at, redriving.stop)
        summary = await redriving.run()
        return summary, rig.handled, round(loop.time() - started, 1)

    async def main() -> tuple[RedriveSummary, list[int], float]:
        async with open_rig() as rig:
            return await run(rig)

    return run_simulated(main())


def test_redrive_waits_as_long_as_the_dependency_says() -> None:
    """An operator need not start the redrive again for each refused call."""
    summary, handled, seconds = redrive(pause=20, refusals=3)
    assert (summary.replayed, summary.stopped, handled, seconds) == (2, "", [0, 1], 60)


def test_redrive_stops_when_one_event_has_waited_for_a_minute() -> None:
    """The messages stay, and their counts of redrives do not rise."""
    summary, handled, seconds = redrive(pause=20, refusals=4)
    assert "limits the rate" in summary.stopped
    assert (summary.left, summary.failed, handled, seconds) == (2, (), [], 60)


def test_redrive_does_not_wait_for_a_pause_that_is_too_long() -> None:
    """The operator decides when to start again."""
    summary, _, seconds = redrive(pause=61, refusals=1)
    assert "limits the rate" in summary.stopped
    assert (summary.left, seconds) == (2, 0)


def test_operator_can_stop_a_redrive_that_waits() -> None:
    """The first Ctrl-C ends the pause."""
    summary, handled, seconds = redrive(pause=50, refusals=1, stop_at=2)
    assert (summary.stopped, handled, seconds) == ("interrupted", [], 2)

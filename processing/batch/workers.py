"""The workers of one invocation: they run its lanes, at most `max_lanes` at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from processing.batch.hold import Hold
from processing.batch.lane import Lane
from processing.batch.parts import LaneParts
from processing.handlers.raised import enter_invocation


async def run_lanes(lanes: Sequence[Lane], hold: Hold, parts: LaneParts) -> None:
    """Run at most `max_lanes` lanes at the same time; of a handler of lists, the lanes of a list.

    An error of one lane stops the others before their next event. Events in flight finish:
    cancelling a handler could leave its work half done.
    """
    waiting = iter(lanes)
    enter_invocation()

    async def work() -> None:
        for lane in waiting:
            if hold.halted is not None:
                return
            try:
                await lane.run()
            except Exception as error:
                hold.halt(error)
            finally:
                parts.gate.leave_turn()

    most = parts.settings.max_lanes
    if parts.handler.takes_lists:  # a list takes events of many lanes
        most = max(most, parts.settings.batch_handler_events)
    workers = min(most, len(lanes))
    parts.gate.enter(hold, workers)
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())

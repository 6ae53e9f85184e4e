"""The delivery of a test's events: batches, the trigger's retries, and the timer of the replays."""

from __future__ import annotations

import asyncio

from processing.batch.outcome import BATCH_ERRORS
from processing.identity import Source
from processing.testing.hub import MemoryHub
from processing.testing.instance import Instance
from processing.testing.record import Record

RETRY_SECONDS = 5.0
"""Pause before a failed batch is delivered again; as in the app's trigger."""
TIMER_SECONDS = 5.0
"""Pause between two runs of the timer that replays deferred keys; as in the app."""


class Delivery:
    """The host of a test: it calls the processor for each batch, and runs the timer.

    Args:
        hub: the unfinished batches.
        record: says when the process dies, and when a call ends the test.
    """

    def __init__(self, hub: MemoryHub, record: Record) -> None:
        self._hub = hub
        self._record = record

    async def run(self, instance: Instance, until: float, errors: list[Exception]) -> bool:
        """Deliver all unfinished batches, and run the timer, at least until a time.

        Args:
            instance: the app's instance.
            until: the time of the loop after which no batch is delivered again.
            errors: receives the errors with which batches end.

        Returns:
            Whether the process has died before the end.

        Raises:
            BaseException: the outcome that the handler has raised for the whole test.
        """
        delivering = asyncio.create_task(self._deliver_all(instance, until, errors))
        ending = asyncio.create_task(self._record.ended.wait())
        try:
            await asyncio.wait({delivering, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (delivering, ending):
                task.cancel()
            await asyncio.gather(delivering, ending, return_exceptions=True)
        has_died, outcome = self._record.take_end()
        if outcome is not None:
            raise outcome
        if not has_died:
            delivering.result()
        return has_died

    async def _deliver_all(self, instance: Instance, until: float, errors: list[Exception]) -> None:
        delivering = [
            asyncio.create_task(self._deliver(instance, source, until, errors))
            for source in self._hub.sources
        ]
        timer = asyncio.create_task(self._run_timer(instance))
        tasks = [*delivering, timer]
        try:
            await asyncio.gather(*delivering)
            await asyncio.sleep(until - asyncio.get_running_loop().time())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if timer.done() and not timer.cancelled():
            timer.result()
        await instance.processor.replayer.wait_idle()

    async def _deliver(
        self, instance: Instance, source: Source, until: float, errors: list[Exception]
    ) -> None:
        loop = asyncio.get_running_loop()
        while (batch := self._hub.next(source)) is not None:
            try:
                await instance.processor.process(batch)
            except BATCH_ERRORS as error:
                errors.append(error)
                if loop.time() + RETRY_SECONDS > until:
                    return
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._hub.checkpoint(source)

    async def _run_timer(self, instance: Instance) -> None:
        seconds = instance.processor.parts.budget.timer_seconds
        while True:
            await asyncio.sleep(TIMER_SECONDS)
            await instance.processor.replayer.run_due(seconds)

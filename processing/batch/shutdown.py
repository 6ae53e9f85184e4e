"""A clean end: on SIGTERM lanes stop before their next event, and invocations end unsuccessfully,
so that the host writes no checkpoint for what is unfinished.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from contextlib import suppress
from types import FrameType

from processing.batch.processor import BatchProcessor

logger = logging.getLogger(__name__)

WRITE_SECONDS = 20.0
"""How long a stopping instance waits for what its handlers have done to be written: Redis's client
tries four times, two seconds each, and what is finished may have to wait for the write before it.
"""
LOOK_SECONDS = 0.05
"""How often it looks whether that is done, if a handler keeps its invocation from ending."""


def stop_on_sigterm(processor: BatchProcessor) -> None:
    """Stop the processor on SIGTERM, then let the signal do what it did before.

    Signal handlers belong to the main thread; where the worker runs its loop in another one, its
    host ends the process without us, and what is unfinished is redelivered.
    """
    if threading.current_thread() is not threading.main_thread():
        logger.info("Not the main thread: SIGTERM ends this instance without a hold")
        return
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGTERM)

    def handler(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(processor.stop)
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL:
            loop.call_soon_threadsafe(_end_when_idle, processor)

    signal.signal(signal.SIGTERM, handler)


async def wait_idle(processor: BatchProcessor) -> None:
    """Wait until no invocation runs; at most twice as long as one call of the handler may take,
    and then for writes that are under way, `WRITE_SECONDS` at most.

    A handler that does not end when it is cancelled would keep the instance for ever. What is
    unfinished is redelivered, as after a crash. What is finished would be, too, if the instance
    ended before that is written; so that has a time of its own, however short the handler's is.
    """
    patience = 2 * processor.parts.settings.handler_timeout_seconds
    idle = asyncio.ensure_future(processor.wait_idle())
    await asyncio.wait({idle}, timeout=patience or None)
    if not idle.done() and processor.writing:
        with suppress(TimeoutError):
            async with asyncio.timeout(WRITE_SECONDS):
                await _until_written(processor, idle)
    if not idle.done():
        idle.cancel()
        what = f"Handler {processor.parts.handler.name} has not ended"
        if processor.writing:
            what = "What is finished is not written"
            patience += WRITE_SECONDS
        logger.error("%s within %g s: the instance ends without it", what, patience)


async def _until_written(processor: BatchProcessor, idle: asyncio.Future[None]) -> None:
    """Wait until nothing is being written: for two looks, since one may fall between two writes."""
    quiet = 0
    while quiet < 2 and not idle.done():
        quiet = 0 if processor.writing else quiet + 1
        await asyncio.wait({idle}, timeout=LOOK_SECONDS)


_ending: set[asyncio.Task[None]] = set()


def _end_when_idle(processor: BatchProcessor) -> None:
    """By default SIGTERM ends the process; it still does, once no event is in flight."""

    async def end() -> None:
        await wait_idle(processor)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    task = asyncio.ensure_future(end())
    _ending.add(task)  # the loop itself keeps no reference

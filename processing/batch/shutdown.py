"""Shutdown on SIGTERM and Ctrl-C: lanes stop before their next event, and the handler is closed.

Interrupted invocations end with an error, so that the host writes no checkpoint for them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the processor imports OpenTelemetry and tenacity
    from processing.batch.processor import BatchProcessor

logger = logging.getLogger(__name__)

WRITE_SECONDS = 20.0
"""Longest time that a stopping instance waits for writes of finished events.

The Redis client tries a write four times, two seconds each, and a write may have to wait for the
previous write.
"""
POLL_SECONDS = 0.05
"""Pause between two checks for writes in progress, if a handler prevents its invocation's end."""


def stop_on_signals(processor: BatchProcessor) -> None:
    """Stop the processor on SIGTERM and SIGINT, and then run the signal's earlier handler.

    The event handler is closed when the last event has ended, also if the host ends its event loop
    without a signal, see `Lifetime`.

    Only the main thread can set signal handlers. If the worker runs its event loop in another
    thread, SIGTERM ends the process at once, and unfinished events are redelivered.
    """

    async def end() -> None:
        processor.stop()
        await wait_idle(processor)

    processor.parts.handler.on_loop_end(end)
    if threading.current_thread() is not threading.main_thread():
        logger.info(
            "The event loop is not in the main thread; SIGTERM will end this instance at once, and "
            "unfinished events will be redelivered"
        )
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        _stop_on(number, processor, asyncio.get_running_loop())


def _stop_on(
    number: signal.Signals, processor: BatchProcessor, loop: asyncio.AbstractEventLoop
) -> None:
    before = signal.getsignal(number)

    def handler(number: int, frame: FrameType | None) -> None:
        try:
            loop.call_soon_threadsafe(_close_when_idle, processor, before == signal.SIG_DFL)
        except RuntimeError:  # the loop is closed; only the earlier handler is left
            signal.signal(number, before)
            if before == signal.SIG_DFL:
                os.kill(os.getpid(), number)
        if callable(before):
            before(number, frame)

    signal.signal(number, handler)


async def wait_idle(processor: BatchProcessor) -> None:
    """Wait until no invocation runs, or until the time limits are over.

    The first limit is twice the handler's timeout: a handler that ignores its cancellation must not
    keep the instance alive. Its events are redelivered, as after a crash. The second limit,
    `WRITE_SECONDS`, is for writes in progress: finished events whose completion is not written
    would be redelivered, too.

    A start of the handler for which a batch waits is interrupted, and the handler is closed: no
    event runs yet.
    """
    if not processor.parts.handler.started:
        await processor.parts.handler.aclose()
    waited = 2 * processor.parts.settings.handler_timeout_seconds
    idle = asyncio.ensure_future(processor.wait_idle())
    await asyncio.wait({idle}, timeout=waited or None)
    if not idle.done() and processor.writing:
        with suppress(TimeoutError):
            async with asyncio.timeout(WRITE_SECONDS):
                await _until_written(processor, idle)
    if not idle.done():
        idle.cancel()
        problem = f"Handler {processor.parts.handler.name} has not ended"
        if processor.writing:
            problem = "The completion of finished events was not written"
            waited += WRITE_SECONDS
        logger.error(
            "%s within %g s; the instance ends, and these events are redelivered", problem, waited
        )


async def _until_written(processor: BatchProcessor, idle: asyncio.Future[None]) -> None:
    """Wait until two checks in a row find no write; a single check may fall between two writes."""
    quiet = 0
    while quiet < 2 and not idle.done():
        quiet = 0 if processor.writing else quiet + 1
        await asyncio.wait({idle}, timeout=POLL_SECONDS)


_closing: set[asyncio.Task[None]] = set()
_ending: set[asyncio.Task[None]] = set()


def _close_when_idle(processor: BatchProcessor, kills: bool) -> None:
    """Close the event handler once no event is in flight.

    Args:
        processor: the processor, which stops at once.
        kills: whether SIGTERM's default action then ends the process; otherwise the host ends it.
    """
    processor.stop()

    async def end() -> None:
        try:
            await wait_idle(processor)
            await processor.parts.handler.aclose()
        finally:
            _closing.discard(task)
        if kills:
            while _closing:  # a process may have several processors
                await asyncio.wait(_closing)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    task = asyncio.ensure_future(end())
    _closing.add(task)
    _ending.add(task)  # the loop itself keeps no strong reference
    task.add_done_callback(_ending.discard)

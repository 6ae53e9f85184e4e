"""The watch over the event loop, from a thread: a loop that stands still is named."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from processing.event import Event
from processing.identity import PIPELINE
from processing.watchdog.recording import NoRecorder, Recorder

logger = logging.getLogger(__name__)

BEAT_SECONDS = 0.5
LATE_SECONDS = 1.0
SHOWN_SECONDS = 600.0
"""Time for which health shows the last standstill."""

type FindEvent = Callable[[asyncio.Task[object]], Event | None]


@dataclass(frozen=True, slots=True)
class Block:
    """A standstill of the event loop.

    Attributes:
        began: monotonic time of the last beat before.
        event: the event whose call blocks the loop; None: not known.
        place: the innermost frame of the loop's thread: file, line and function.
    """

    began: float
    event: Event | None
    place: str


class LoopWatch:
    """The watch over the event loop that runs now.

    Args:
        handler: the handler's name, for the log.
        find_event: returns the event of a task's call of the handler.
        beaten: called on the loop at each beat.
        blocked: called on the loop after each standstill, with its seconds.
        recorder: records the event while the loop stands still.
        beat_seconds: pause between two beats of the loop.
        late_seconds: time after which a beat that does not come means that the loop stands still.
    """

    def __init__(
        self,
        handler: str,
        find_event: FindEvent,
        *,
        beaten: Callable[[], None] = lambda: None,
        blocked: Callable[[float], None] = lambda _seconds: None,
        recorder: Recorder | None = None,
        beat_seconds: float = BEAT_SECONDS,
        late_seconds: float = LATE_SECONDS,
    ) -> None:
        self._pause = beat_seconds
        self._most = beat_seconds + late_seconds
        self._handler = handler
        self._find_event = find_event
        self._beaten = beaten
        self._blocked = blocked
        self._recorder = recorder or NoRecorder()
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._ended = threading.Event()
        self._beat_at = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._watch, name="loop-watch", daemon=True)
        self._block: Block | None = None
        self._last: tuple[float, str] | None = None

    def start(self) -> None:
        """Start the beat and the thread."""
        self._beat()
        self._thread.start()

    async def aclose(self) -> None:
        """End both, if they were started."""
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.to_thread(self._thread.join)

    @property
    def notice(self) -> str | None:
        """A text about the last standstill, for health; None without a recent one."""
        if self._last is None or time.monotonic() - self._last[0] > SHOWN_SECONDS:
            return None
        return self._last[1]

    def _beat(self) -> None:
        now = time.monotonic()
        block, self._block = self._block, None
        if block is None and now - self._beat_at >= self._most:
            # The watching thread could not run, because a call held the interpreter.
            block = Block(self._beat_at, None, "an unknown place, which held the interpreter")
        self._beat_at = now
        self._timer = self._loop.call_later(self._pause, self._beat)
        self._beaten()
        if block is not None:
            seconds = now - block.began
            text = self._text(block, f"stood still for {seconds:.1f} s")
            self._last = (now, text)
            logger.warning("Blocked loop: %s", text)
            self._blocked(seconds)

    def _watch(self) -> None:
        slot, named_at = 0, 0.0
        while not self._ended.wait(self._pause):
            began = self._beat_at
            if time.monotonic() - began < self._most:
                if slot:
                    self._recorder.end(slot)
                    slot = 0
                continue
            if began == named_at:
                continue
            named_at = began
            block = self._find(began)
            if block.event is not None and not slot:
                slot = self._recorder.begin("late", block.event.id)
            self._block = block
            if self._beat_at != began:
                continue  # the loop runs again; its next beat logs the standstill
            logger.error("Blocked loop: %s", self._text(block, "stands still"))
        self._recorder.end(slot)

    def _find(self, began: float) -> Block:
        task = asyncio.current_task(self._loop)
        event = None if task is None else self._find_event(task)
        frame = sys._current_frames().get(self._loop_thread)
        place = "an unknown place"
        if frame is not None:
            last = traceback.extract_stack(frame, limit=None)[-1]
            place = f"{last.filename}, line {last.lineno}, in {last.name}"
        return Block(began, event, place)

    def _text(self, block: Block, what: str) -> str:
        caller = f"handler {self._handler}"
        if block.event is not None:
            caller += f", event {block.event.id}"
            if (pipeline := block.event.source.identity.pipeline) != PIPELINE:
                caller += f" of pipeline {pipeline}"
            caller += ","
        return (
            f"the event loop {what} ({caller} at {block.place}); nothing else runs in this process "
            "at that time: make the call asynchronous, or make the handler a plain function"
        )

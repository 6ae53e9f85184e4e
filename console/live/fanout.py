"""Fan-out: one reader of the backplane for all browsers of an instance.

A browser costs a position and nothing else: messages are read once, encoded once, and a browser
that is too slow loses its place to a snapshot instead of filling memory.
"""

from __future__ import annotations

import asyncio
import logging
import time

from console.backplane.stream import START, Backplane, order
from console.errors import BackplaneError
from console.live.ring import Ring
from console.live.snapshot import LINES, Snapshot

logger = logging.getLogger(__name__)

READ = 1_000
RING = 10_000
RETRY_SECONDS = 0.5
AHEAD_SECONDS = 3.0
BEAT_SECONDS = 2.0
PAUSE_SECONDS = 0.01
PAUSE_SECONDS_EACH = 0.0001


class Fanout:
    """What the browsers of one instance see.

    Args:
        backplane: read by this alone.
        instance: this instance's name, shown on the page.
        most: messages that browsers may be behind.

    Attributes:
        ring: the messages.
        snapshot: the state behind them.
        epoch: rises when the ring was filled anew; whoever has an older one takes a snapshot.
        circuit: the circuit for a browser, as JSON; `history` likewise.
        circuit_version, beats: rise with what they count.
        pages: browsers that are connected.
        wake: set when there is something new; another one takes its place then.
    """

    def __init__(self, backplane: Backplane, *, instance: str = "", most: int = RING) -> None:
        self._backplane = backplane
        self._instance = instance
        self._most = most
        self._snapshot_text: tuple[tuple[int, int, int], str] | None = None
        self.ring = Ring(most)
        self.snapshot = Snapshot()
        self.epoch = 0
        self.circuit = "null"
        self.history = "[]"
        self.circuit_version = 0
        self.beats = 0
        self.pages = 0
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Read for ever; a backplane that is away is waited for."""
        while True:
            try:
                await self._load()
                while await self._read():  # noqa: ASYNC110 - it waits for more than an event
                    # Lets what comes close together go out in one frame: with many browsers a
                    # frame each for every message would be all that an instance does.
                    await asyncio.sleep(PAUSE_SECONDS + PAUSE_SECONDS_EACH * self.pages)
                logger.warning("the backplane lost what was read last: snapshots for all")
            except BackplaneError as error:
                logger.warning("%s; trying again", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def beat(self) -> None:
        """Give a sign of life for ever, so that a page knows that it is connected."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            self.beats += 1
            self._notify()

    def show_circuit(self, circuit: str, history: str) -> None:
        """Show all browsers the circuit, both as JSON."""
        self.circuit, self.history = circuit, history
        self.circuit_version += 1
        self._notify()

    @property
    def circuit_text(self) -> str:
        """The circuit as it is sent."""
        return f'{{"type":"circuit","data":{self.circuit},"history":{self.history}}}'

    @property
    def beat_text(self) -> str:
        """The sign of life as it is sent."""
        return f'{{"type":"beat","time":{time.time_ns() // 1_000_000}}}'

    @property
    def snapshot_text(self) -> str:
        """The snapshot as it is sent, made once for all browsers that need the same."""
        state = (self.epoch, self.ring.end, self.circuit_version)
        if self._snapshot_text is None or self._snapshot_text[0] != state:
            text = self.snapshot.encoded(
                cursor=self.ring.cursor,
                instance=self._instance,
                circuit=self.circuit,
                history=self.history,
            )
            self._snapshot_text = (state, text)
        return self._snapshot_text[1]

    async def resume(self, cursor: str | None) -> int | None:
        """The position behind a cursor, or None when only a snapshot helps.

        A browser may come from an instance that was further than this one; it is waited for.
        """
        try:
            place = order(cursor) if cursor else None
        except ValueError:
            place = None
        try:
            async with asyncio.timeout(AHEAD_SECONDS):
                while not self._has_reached(place):
                    await self.wake.wait()
        except TimeoutError:
            return None
        return self.ring.behind(cursor) if cursor and place else None

    def _has_reached(self, place: tuple[int, int] | None) -> bool:
        if self.ring.cursor is None:
            return False
        return place is None or order(self.ring.cursor) >= place

    async def _load(self) -> None:
        """Fill the ring, unless it can go on where it stood."""
        here = self.ring.cursor
        if here is not None and await self._backplane.has(here):
            return
        messages = await self._backplane.latest(self._most)
        if not messages:
            await self._backplane.publish([(START, {})])
            messages = await self._backplane.latest(self._most)
        snapshot = Snapshot()
        for message in messages:
            snapshot.apply(message)
        snapshot.log_before(await self._backplane.log(messages[0].cursor, LINES))
        ring = Ring(self._most)
        ring.extend(messages)
        self.ring, self.snapshot = ring, snapshot
        self.epoch += 1
        self._notify()

    async def _read(self) -> bool:
        """Take in what comes next; False when something before it is gone already."""
        here = self.ring.cursor or "0-0"
        messages = await self._backplane.read(here, READ)
        # Only a stream that has far more than this can have trimmed what was not read yet. One in
        # which nothing comes may be another: a Redis that lost its last messages, or all of them,
        # may count on from a place before this one.
        if len(messages) in {0, READ} and not await self._backplane.has(here):
            return False
        if messages:
            for message in messages:
                self.snapshot.apply(message)
            self.ring.extend(messages)
            self._notify()
        return True

    def _notify(self) -> None:
        self.wake.set()
        self.wake = asyncio.Event()

"""Fan-out of backplane messages: one reader for all browsers of an instance.

Messages are read once and encoded once, and a browser adds only its position. A browser that is too
slow gets a snapshot instead of the missed messages, so that no queue fills the memory.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence

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
    """The messages and the state for the browsers of one instance.

    Args:
        backplane: the backplane; the instance has no other reader.
        instance: this instance's name, shown on the page.
        most: how many messages a browser may be behind.

    Attributes:
        ring: the latest messages.
        snapshot: the state after the last message.
        epoch: rises when the ring is refilled; a browser with an older epoch gets a snapshot.
        circuit: the circuit as JSON.
        history: the circuit's history as JSON.
        circuit_version: rises when the circuit changes.
        dependencies_version: rises when a dependency's circuit changes.
        pipelines_version: rises when the list of pipelines changes.
        beats: number of heartbeats.
        pages: number of connected browsers.
        wake: set when there is something new to send, and then replaced by an unset event.
    """

    def __init__(self, backplane: Backplane, *, instance: str = "", most: int = RING) -> None:
        self._backplane = backplane
        self._instance = instance
        self._most = most
        self._snapshot_text: tuple[tuple[int, ...], str] | None = None
        self._dependencies: dict[str, tuple[int, str]] = {}  # name: version, JSON
        self._pipelines = "[]"
        self.ring = Ring(most)
        self.snapshot = Snapshot()
        self.epoch = 0
        self.circuit = "null"
        self.history = "[]"
        self.circuit_version = 0
        self.dependencies_version = 0
        self.pipelines_version = 0
        self.beats = 0
        self.pages = 0
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Read the backplane until cancelled; retry when the backplane does not answer."""
        while True:
            try:
                await self._load()
                while await self._read():  # noqa: ASYNC110 - reading blocks; no event to wait for
                    # The pause lets messages that arrive close together share a frame. With many
                    # browsers, a frame for each message would use up the instance's CPU.
                    await asyncio.sleep(PAUSE_SECONDS + PAUSE_SECONDS_EACH * self.pages)
                logger.warning("the backplane lost the last message; all browsers get a snapshot")
            except BackplaneError as error:
                logger.warning("%s; retrying in %g s", error, RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)

    async def beat(self) -> None:
        """Send heartbeats until cancelled; a page without heartbeats reconnects."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            self.beats += 1
            self._notify()

    def show_circuit(self, circuit: str, history: str) -> None:
        """Show the circuit and its history, both as JSON, to all browsers."""
        self.circuit, self.history = circuit, history
        self.circuit_version += 1
        self._notify()

    def show_dependencies(self, changed: Mapping[str, str], names: Sequence[str]) -> None:
        """Show the circuits of dependencies to all browsers.

        Args:
            changed: each changed circuit with its history as JSON, by the dependency's name.
            names: the names of all dependencies, in the order of the page.
        """
        self.dependencies_version += 1
        latest = {name: (self.dependencies_version, text) for name, text in changed.items()}
        found = self._dependencies | latest
        self._dependencies = {name: found[name] for name in names}
        self._notify()

    def dependencies_text(self, version: int) -> str:
        """Return the encoded message with the dependencies that changed after a version."""
        items = [text for at, text in self._dependencies.values() if at > version]
        names = json.dumps(list(self._dependencies))
        return f'{{"type":"dependencies","names":{names},"items":[{",".join(items)}]}}'

    def show_pipelines(self, pipelines: str) -> None:
        """Show the list of the app's pipelines, as JSON, to all browsers."""
        self._pipelines = pipelines
        self.pipelines_version += 1
        self._notify()

    @property
    def pipelines_text(self) -> str:
        """Encoded message with the list of pipelines."""
        return f'{{"type":"pipelines","items":{self._pipelines}}}'

    @property
    def circuit_text(self) -> str:
        """Encoded message with the circuit."""
        return f'{{"type":"circuit","data":{self.circuit},"history":{self.history}}}'

    @property
    def beat_text(self) -> str:
        """Encoded heartbeat."""
        return f'{{"type":"beat","time":{time.time_ns() // 1_000_000}}}'

    @property
    def snapshot_text(self) -> str:
        """Encoded snapshot, cached while the state is the same."""
        versions = (self.circuit_version, self.dependencies_version, self.pipelines_version)
        state = (self.epoch, self.ring.end, *versions)
        if self._snapshot_text is None or self._snapshot_text[0] != state:
            text = self.snapshot.encoded(
                cursor=self.ring.cursor,
                instance=self._instance,
                circuit=self.circuit,
                history=self.history,
                dependencies=f"[{','.join(text for _, text in self._dependencies.values())}]",
                pipelines=self._pipelines,
            )
            self._snapshot_text = (state, text)
        return self._snapshot_text[1]

    async def resume(self, cursor: str | None) -> int | None:
        """Return the position after a cursor, or None when the browser needs a snapshot.

        A browser may come from an instance that was ahead of this one. Then this method waits up to
        `AHEAD_SECONDS` until this instance has read that cursor.
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
        """Fill the ring, unless the backplane still has the ring's last message."""
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
        """Read the next messages; return False when messages before them were lost."""
        here = self.ring.cursor or "0-0"
        messages = await self._backplane.read(here, READ)
        # A full batch may mean that the stream trimmed unread messages. An empty batch may mean
        # that Redis lost messages and continues at an earlier position than this one.
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

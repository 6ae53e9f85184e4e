"""Writing late, in order: what a slow network does to what we say."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

MAX_HELD = 512 * 1024


class DelayedWriter:
    """Writes to a transport after the latency of the moment; without any, at once.

    Args:
        transport: the socket.
        loop: its loop.
        latency_seconds: asked at every write.
        on_room: called when so much has gone out that there is room again.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        latency_seconds: Callable[[], float],
        on_room: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._latency_seconds = latency_seconds
        self._on_room = on_room
        self._held: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def full(self) -> bool:
        """Whether as much is held back as may be."""
        return self._size > MAX_HELD

    def write(self, data: bytes) -> None:
        """Write, or hold back until it is time."""
        if self._transport.is_closing():
            return
        seconds = self._latency_seconds()
        if not self._held and seconds <= 0:
            self._transport.write(data)
            return
        self._held.append((self._loop.time() + seconds, data))
        self._size += len(data)
        self._schedule()

    def finish(self) -> None:
        """Write what is held back and close the socket."""
        for _, data in self._held:
            self._transport.write(data)
        self._transport.close()
        self.discard()

    def discard(self) -> None:
        """Forget what is held back."""
        self._held.clear()
        self._size = 0
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self) -> None:
        if self._timer is None and self._held:
            self._timer = self._loop.call_at(self._held[0][0], self._release)

    def _release(self) -> None:
        self._timer = None
        was_full = self.full
        now = self._loop.time()
        while self._held and self._held[0][0] <= now:
            data = self._held.popleft()[1]
            self._size -= len(data)
            self._transport.write(data)
        self._schedule()
        if was_full and not self.full:
            self._on_room()

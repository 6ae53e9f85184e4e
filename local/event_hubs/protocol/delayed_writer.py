"""Delayed output in order, as over a slow network."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

MAX_HELD = 512 * 1024


class DelayedWriter:
    """A writer that delays output by the current latency; without latency it writes at once.

    Args:
        transport: the socket.
        loop: the transport's event loop.
        latency_seconds: called at every write.
        on_room: called when the writer is no longer full.
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
        """Return whether more than `MAX_HELD` bytes are held back."""
        return self._size > MAX_HELD

    def write(self, data: bytes) -> None:
        """Write the data now, or hold the data back for the current latency."""
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
        """Write the held data and close the socket."""
        for _, data in self._held:
            self._transport.write(data)
        self._transport.close()
        self.discard()

    def discard(self) -> None:
        """Drop the held data."""
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

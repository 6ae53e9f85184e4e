"""The ledger with events that harm their process, for `crash-loop` and `blocked-loop`."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
from collections.abc import Mapping
from typing import Self

from processing.event import Event
from processing.handlers.ledger import LedgerHandler

MOST_MILLISECONDS = 10_000
_BACKTRACKING = re.compile(r"(a+)+$")
_NEVER_MATCHES = "a" * 60 + "b"
"""The expression would search for years, in one call that keeps the interpreter's lock."""


class HarmfulHandler(LedgerHandler):
    """A ledger whose marked events end their process, or block its event loop.

    The application property `simulate` is the mark: `kill` ends the process with SIGKILL, and
    `block` blocks the event loop for the property `milliseconds`. The counter
    `ledger:{<run>}:deaths` has the calls with `kill`.
    """

    async def __call__(self, event: Event) -> None:
        """Harm the process if the event asks for it, and append the event."""
        match event.properties.get("simulate"):
            case "kill":
                await self.note_death(event)
                os.kill(os.getpid(), signal.SIGKILL)
            case "block":
                milliseconds = float(event.properties.get("milliseconds", 0))
                time.sleep(min(milliseconds, MOST_MILLISECONDS) / 1000)  # noqa: ASYNC251 - the harm
        await super().__call__(event)

    async def note_death(self, event: Event) -> None:
        """Count a call that ends the process."""
        await self._client.incr(f"ledger:{{{event.properties.get('run')}}}:deaths")


class PlainHarmfulHandler:
    """A plain handler, which the app runs in threads, with events that hold the interpreter.

    An event with `simulate=seize` holds the interpreter's lock for years, and counts as a death.
    All events are appended on an event loop of the handler's own thread.

    Args:
        settings: the app's settings.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ledger", daemon=True)
        self._thread.start()
        self._ledger = HarmfulHandler.from_settings(settings)

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """Return a handler for the Redis of the setting REDIS_URL."""
        return cls(settings)

    def __call__(self, event: Event) -> None:
        """Hold the interpreter if the event asks for it, or append the event."""
        if event.properties.get("simulate") == "seize":
            asyncio.run_coroutine_threadsafe(self._ledger.note_death(event), self._loop).result()
            _BACKTRACKING.match(_NEVER_MATCHES)
        asyncio.run_coroutine_threadsafe(self._ledger(event), self._loop).result()

    async def aclose(self) -> None:
        """Close the connection, and end the thread and its loop."""
        closing = asyncio.run_coroutine_threadsafe(self._ledger.aclose(), self._loop)
        await asyncio.wrap_future(closing)
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

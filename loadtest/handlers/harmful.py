"""The ledger with events that harm their process, for `crash-loop` and `blocked-loop`."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time

from processing.event import Event
from processing.handlers.ledger import LedgerHandler

MOST_MILLISECONDS = 10_000
_BACKTRACKING = re.compile(r"(a+)+$")
_NEVER_MATCHES = "a" * 60 + "b"
"""The expression would search for years, in one call that keeps the interpreter's lock."""


class HarmfulHandler(LedgerHandler):
    """A ledger whose marked events end their process, or block its event loop.

    The application property `simulate` is the mark: `kill` ends the process with SIGKILL, `seize`
    holds the interpreter in a thread, and `block` blocks the event loop for the property
    `milliseconds`. The counter `ledger:{<run>}:deaths` has the calls with `kill` and `seize`.
    """

    async def __call__(self, event: Event) -> None:
        """Harm the process if the event asks for it, and append the event."""
        match event.properties.get("simulate"):
            case "kill":
                await self._note_death(event)
                os.kill(os.getpid(), signal.SIGKILL)
            case "seize":
                await self._note_death(event)
                await asyncio.to_thread(_BACKTRACKING.match, _NEVER_MATCHES)
            case "block":
                milliseconds = float(event.properties.get("milliseconds", 0))
                time.sleep(min(milliseconds, MOST_MILLISECONDS) / 1000)  # noqa: ASYNC251 - the harm
        await super().__call__(event)

    async def _note_death(self, event: Event) -> None:
        await self._client.incr(f"ledger:{{{event.properties.get('run')}}}:deaths")

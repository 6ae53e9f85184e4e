"""The ledger as a handler of lists, for `lists`, and for `crash-loop` if it is chosen."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from typing import Any

from processing.errors import DependencyUnavailableError
from processing.event import Event
from processing.handlers.ledger import OUTAGE, REFUSED, Ledger, raise_simulated

LINGER_SECONDS = 0.05
"""The time that a call takes after its append, in which a kill repeats all events of the list."""


class ListLedgerHandler(Ledger):
    """A handler that appends all events of a list to the ledger, or none of them.

    The handler notes for the judge, in `ledger:{<run>}:lists`, how many lists of each size it got.
    `ledger:{<run>}:wrong` has each list whose events were not in order, or of a key that another
    call of this process had at the same time. An event with `simulate=kill` ends the process with
    SIGKILL, and `ledger:{<run>}:deaths` counts the calls with such an event.

    Args:
        client: a redis.asyncio client; the handler closes it.
    """

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self._running: set[tuple[str, str | None]] = set()  # partition and key

    async def __call__(self, events: list[Event]) -> None:
        """Append the events.

        Raises:
            PoisonEventError, RuntimeError: an event asks for it; no event is appended.
            DependencyUnavailableError: the downstream refuses, or Redis cannot be reached.
        """
        keys = {(each.source.partition, each.key) for each in events}
        shared = keys & self._running
        self._running |= keys
        try:
            await self._note(events, "" if not shared else f"{shared} run in another call")
            for each in events:
                await self._die(each)
                raise_simulated(each)
            await self._append_list(events)
        except self._failures as error:
            raise DependencyUnavailableError(f"the ledger's Redis: {error}") from error
        finally:
            self._running -= keys

    async def _die(self, event: Event) -> None:
        """End the process if the event asks for it, and count its death."""
        if event.properties.get("simulate") == "kill":
            await self._client.incr(f"ledger:{{{event.properties.get('run')}}}:deaths")
            os.kill(os.getpid(), signal.SIGKILL)

    async def _append_list(self, events: Sequence[Event]) -> None:
        await self._delay(events, "hang")
        if REFUSED in await self.append(events):
            raise DependencyUnavailableError(OUTAGE)
        await self._delay(events, "slow")
        await asyncio.sleep(LINGER_SECONDS)

    async def _delay(self, events: Sequence[Event], kind: str) -> None:
        marked = [each for each in events if each.properties.get("simulate") == kind]
        if marked:
            once = kind == "hang"
            await asyncio.gather(*(self._take_long(each, only_once=once) for each in marked))

    async def _note(self, events: Sequence[Event], wrong: str) -> None:
        places = [each.sequence_number for each in events]
        if places != sorted(set(places)):
            wrong = f"{places} are not in order"
        name = f"ledger:{{{events[0].properties.get('run')}}}"
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.zincrby(f"{name}:lists", 1, str(len(events)))
            if wrong:
                pipe.rpush(f"{name}:wrong", wrong)
            await pipe.execute()

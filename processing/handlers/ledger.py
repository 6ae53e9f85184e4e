"""The sample handler: appends each key's counters to a list in Redis, exactly once.

The load test verifies this list, the ledger. One script appends the event and records that it was
appended. Therefore an event that is delivered twice is in the ledger once: an *atomic sink*. The
handler also shows the errors that a handler may raise, if the event's application property
`simulate` or the downstream asks for an error. The property `needs` names the dependency that an
event's append needs, whose circuit counts the outcome; an outage may hit one dependency only.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from breaker import BreakerSettings
from processing.dependencies import dependency
from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event
from processing.handlers.group_calls import GroupedCalls

if TYPE_CHECKING:
    from breaker.stores.redis import Client

TTL_SECONDS = 7 * 24 * 3600
MAX_REFUSED = 1_000_000
MOST_MILLISECONDS = 20_000
REFUSED = -1
OUTAGE = "the ledger refuses all appends (simulated outage)"
_APPEND = (Path(__file__).parent / "scripts" / "append.lua").read_text()


class Ledger:
    """The ledger: a list of the appended events for each key, `ledger:{<run>}:key:<key>`.

    `<run>` is the event's application property `run`, else the name of its pipeline.

    Args:
        client: a redis.asyncio client; the handler closes it.
    """

    def __init__(self, client: Client) -> None:
        # The handler's module is imported when an instance starts, and redis at the first event.
        from breaker.stores.redis import FAILURES  # noqa: PLC0415

        self._failures = FAILURES
        self._client = client
        self._append = client.register_script(_APPEND)

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """Return a ledger in the Redis of the setting REDIS_URL, with the circuit's timeouts."""
        from breaker.stores.redis import connect  # noqa: PLC0415 - see `__init__`

        return cls(connect(settings["REDIS_URL"], BreakerSettings.from_mapping(settings)))

    async def _take_long(self, event: Event, *, only_once: bool) -> None:
        """Sleep for the event's property `milliseconds`, or only at its first delivery.

        The time is bounded, so that a sleeping handler is not mistaken for a stuck instance.
        """
        if only_once:
            hung = f"ledger:{{{_run(event)}}}:hung"
            name = f"{event.partition}/{event.sequence_number}/{event.enqueued_ms}"
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.sadd(hung, name)
                pipe.expire(hung, TTL_SECONDS)
                if not (await pipe.execute())[0]:
                    return
        milliseconds = event.properties.get("milliseconds", 0)
        await asyncio.sleep(min(float(milliseconds), MOST_MILLISECONDS) / 1000)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def append(self, events: Sequence[Event]) -> list[int | Exception]:
        """Append events with one call of the script for each run; usually there is one run.

        Returns:
            For each event 1: appended, 0: it was in the ledger already, or `REFUSED`.
        """
        replies: list[int | Exception] = [REFUSED] * len(events)
        runs: dict[str, list[int]] = defaultdict(list)
        for index, event in enumerate(events):
            runs[_run(event)].append(index)
        for run, indices in runs.items():
            for index, reply in zip(
                indices, await self._append_run(run, [events[i] for i in indices]), strict=True
            ):
                replies[index] = reply
        return replies

    async def _append_run(self, run: str, events: Sequence[Event]) -> Sequence[int]:
        prefix = f"ledger:{{{run}}}:"
        keys = [f"{prefix}outage", f"{prefix}refused", f"{prefix}suppressed"]
        args: list[Any] = [TTL_SECONDS, MAX_REFUSED]
        for event in events:
            key = event.key or ""
            keys += (f"{prefix}key:{key}", f"{prefix}seen:{key}")
            counter = event.properties.get("counter", -1)
            text = f"{counter} {event.partition} {event.sequence_number} {event.enqueued_ms}"
            args.append(f"{text}\t{needs}" if (needs := _needs(event)) else text)
        replies: Sequence[int] = await self._append(keys, args)
        return replies


class LedgerHandler(Ledger):
    """A handler that appends each event to the ledger."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._events = GroupedCalls[Event, int](self.append)

    async def __call__(self, event: Event) -> None:
        """Append one event.

        Raises:
            PoisonEventError: the event has `simulate=poison`.
            RuntimeError: the event has `simulate=error`.
            DependencyUnavailableError: the downstream refuses, or Redis cannot be reached.
            DependencyRefusedError: the circuit of the dependency that the event needs is open.
        """
        raise_simulated(event)
        simulate = event.properties.get("simulate")
        try:
            if simulate in {"slow", "hang"}:
                await self._take_long(event, only_once=simulate == "hang")
            if needs := _needs(event):
                async with dependency(needs):
                    await self._append_event(event)
            else:
                await self._append_event(event)
        except self._failures as error:
            raise DependencyUnavailableError(f"the ledger's Redis: {error}") from error

    async def _append_event(self, event: Event) -> None:
        if await self._events.submit(event) == REFUSED:
            raise DependencyUnavailableError(OUTAGE)


def raise_simulated(event: Event) -> None:
    """Raise the error that the event asks for, if any.

    Raises:
        PoisonEventError: the event has `simulate=poison`.
        RuntimeError: the event has `simulate=error`.
    """
    simulate = event.properties.get("simulate")
    if simulate == "poison":
        raise PoisonEventError("the event asked to be poison")
    if simulate == "error":
        raise RuntimeError("the event asked to fail")


def _run(event: Event) -> str:
    # Never empty: an empty name is not a hash tag, and a cluster refuses keys in several slots.
    return str(event.properties.get("run") or event.source.identity.pipeline)


def _needs(event: Event) -> str:
    """Return the name of the dependency that the event needs; "" for none."""
    needs = event.properties.get("needs")
    return needs if isinstance(needs, str) and needs.split() == [needs] else ""

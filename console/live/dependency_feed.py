"""Feed of the dependencies' circuits to the browsers: changes at once, counters each second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from breaker import CircuitBreaker
from console.live import circuit_feed
from console.live.circuit_feed import Reading, encoded
from console.live.fanout import Fanout

ENTRIES = 20


async def feed_dependencies(
    find: Callable[[], Mapping[str, CircuitBreaker]], fanout: Fanout
) -> None:
    """Show the circuits of all known dependencies to all browsers until cancelled.

    Args:
        find: returns the known circuits by their dependencies' names; does no I/O.
        fanout: the browsers.
    """
    readings: dict[str, Reading] = {}
    while True:
        known = find()
        gone = readings.keys() - known.keys()
        readings = {
            name: readings.get(name) or Reading(breaker, ENTRIES)
            for name, breaker in sorted(known.items())
        }
        pages = bool(fanout.pages)
        changed = await asyncio.gather(*(each.read(pages=pages) for each in readings.values()))
        texts = {
            name: _text(name, reading)
            for (name, reading), is_new in zip(readings.items(), changed, strict=True)
            if is_new
        }
        if texts or gone:
            fanout.show_dependencies(texts, list(readings))
        await next_change(readings.values())


def _text(name: str, reading: Reading) -> str:
    document = encoded(reading.document | {"dependency": name})
    return f'{{"data":{document},"history":{reading.history}}}'


class Waits(Protocol):
    """A view of a circuit that can wait for the circuit's next change."""

    async def wait(self) -> None:
        """Wait for the next change, for `circuit_feed.SECONDS` at most."""
        ...


async def next_change(readings: Iterable[Waits]) -> None:
    """Wait for a change of any circuit, for `circuit_feed.SECONDS` at most."""
    waits = [asyncio.create_task(each.wait()) for each in readings]
    if not waits:
        await asyncio.sleep(circuit_feed.SECONDS)
        return
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

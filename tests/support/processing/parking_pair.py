"""A memory store and a Redis store of parked events, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from processing.errors import ProcessingError
from processing.identity import Source
from processing.parking.event import ListKey, Lone, Position
from processing.parking.memory import MemoryParkingStore
from processing.parking.redis import RedisParkingStore
from processing.parking.store import Claim, ParkedKey, ParkingStore, WritingAs
from processing.progress.memory import MemoryProgressStore
from processing.progress.redis import RedisProgressStore
from processing.progress.store import ProgressStore
from tests.support.processing.parking_stores import (
    IDENTITY,
    OTHER,
    SOURCE,
    at,
)

LATER_MS = 4_000_000_000_000
"""A time after every rewind of a test."""
LIMITS: dict[str, Any] = {"most": 3, "most_events": 5, "most_bytes": 40}
ALL_KEYS: list[ListKey] = ["a", None, Lone(at(2))]


type Pair = tuple[Any, Any]


class StorePair:
    """Two stores that run the same operations.

    Tokens of claims and epochs differ between the stores, so they are kept in pairs. The clocks of
    the stores may differ: each key of a test is due at once or in an hour.
    """

    loop: asyncio.AbstractEventLoop
    client: Redis

    def __init__(self) -> None:
        super().__init__()
        self.loop.run_until_complete(self.client.flushdb())
        progress = MemoryProgressStore()
        self.memory = MemoryParkingStore(progress, **LIMITS)
        shared = RedisParkingStore(self.client, ttl_seconds=3600, identity=IDENTITY, **LIMITS)
        self.stores: tuple[ParkingStore, ParkingStore] = (self.memory, shared)
        self.progress: tuple[ProgressStore, ProgressStore] = (
            progress,
            RedisProgressStore(self.client, ttl_seconds=3600),
        )
        self.claims: dict[Source, list[Pair]] = {SOURCE: [], OTHER: []}
        self.epochs: list[Pair] = [(0, 0)]

    def both(self, act: Callable[[int], Awaitable[Any]]) -> Pair:
        """Run an operation on store 0 and on store 1; an error counts as its type."""

        async def one(index: int) -> Any:
            try:
                return await act(index)
            except ProcessingError as error:
                return type(error), str(error)

        return self.loop.run_until_complete(one(0)), self.loop.run_until_complete(one(1))

    def same(self, act: Callable[[int], Awaitable[Any]]) -> Any:
        """Run an operation whose results must be equal."""
        memory, shared = self.both(act)
        assert shared == memory, f"redis {shared}, memory {memory}"
        return memory

    def writing(self, index: int, source: Source, back: int, mark: str, creates: bool) -> WritingAs:
        known = self.claims[source]
        return WritingAs(known[-min(back, len(known))][index], mark, creates)

    def place(self, source: Source, key: ListKey, position: Position) -> Position:
        """Return a position of the key's list, near the given one, or the given one if none is."""
        found = self.loop.run_until_complete(self.stores[0].entries(source, key))
        return found[int(position[-20:]) % len(found)].position if found else position

    def check_content(self) -> None:
        async def content(index: int) -> Any:
            store = self.stores[index]
            found = sorted(await store.keys(), key=lambda each: repr((each.source, each.key)))
            summaries = [
                replace(summary, oldest=summary.oldest is not None)
                for summary in [await store.summary(source) for source in (SOURCE, OTHER)]
            ]
            lists = [await store.entries(each.source, each.key, most=99) for each in found]
            progress = [await self.progress[index].load(source) for source in (SOURCE, OTHER)]
            owns = [
                await self.progress[index].owns(source, claims[-1][index])
                for source, claims in self.claims.items()
                if claims
            ]
            stale = await store.is_stale(SOURCE, "v")
            return [*map(_without_times, found)], summaries, lists, progress, owns, stale

        self.same(content)


def comparable(claim: Claim, earlier: list[int]) -> Any:
    """Return a claim without what differs between the stores: tokens and times."""
    assert claim.owner > max(earlier, default=0)
    previous = earlier.index(claim.previous) if claim.previous in earlier else None
    progress = replace(claim.progress, owner=0)
    same = replace(claim, progress=progress, previous=0, due=(), latest={})
    return same, previous, set(claim.due), list(claim.latest)


def timeless(deferral: Any) -> Any:
    return deferral and replace(deferral, since=0.0, last_try=0.0)


def _without_times(key: ParkedKey) -> Any:
    return key.source, key.key, key.entries, timeless(key.deferral), key.due is None

"""Queries of parked lists in Redis; see `processing.parking.redis` for the layout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import batched
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from processing.formats.keys import parked_partitions_key
from processing.identity import Identity, Source
from processing.parking import redis_replies as replies
from processing.parking.event import ListKey, Position
from processing.parking.names import ListName, label_of
from processing.parking.redis_calls import RedisCalls, reply_of
from processing.parking.redis_names import parking_keys, text_of
from processing.parking.store import (
    PAGE_LISTS,
    Entry,
    ListHead,
    ParkedKey,
    PartitionLists,
)


class RedisParkingQueries:
    """The queries of a parking store, which change nothing.

    Args:
        client: a redis.asyncio client; the caller closes it.
        calls: calls the scripts.
        identity: the app whose parked keys are listed.
        timeout_seconds: timeout of each query of a listing; None: a query ends when the client has
            made all its retries.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        calls: RedisCalls,
        identity: Identity,
        timeout_seconds: float | None,
    ) -> None:
        self._client: Any = client
        self._calls = calls
        self._identity = identity
        self._partitions = parked_partitions_key(identity)
        self._query_timeout = timeout_seconds

    async def document(self, source: Source, key: ListKey, position: Position) -> Entry | None:
        """See `ParkingStore.document`."""
        (name,) = parking_keys(source, f"documents:{label_of(key)}")
        found = await reply_of(self._client.hget(name, position))
        return None if found is None else replies.entry(position, found)

    async def keys(self) -> list[ParkedKey]:
        """See `ParkingStore.keys`."""
        return [
            head.parked
            for source in await self.sources()
            for names in batched(await self.names(source), PAGE_LISTS)
            for head in await self.heads(source, names)
        ]

    async def names(self, source: Source) -> list[ListName]:
        """See `ParkingStore.names`."""
        (name,) = parking_keys(source, "keys")
        found = await self._query(self._client.hgetall(name))
        return sorted(
            ListName(replies.microseconds(since), source.partition, text_of(label))
            for label, since in found.items()
        )

    async def heads(
        self, source: Source, names: Sequence[ListName], *, documents: bool = False
    ) -> list[ListHead]:
        """See `ParkingStore.heads`."""
        keys = parking_keys(source, "keys", "deferred", "due", "deferred_since")
        args = ["1" if documents else "0", *(name.label for name in names)]
        reply = await self._query(self._calls.run("heads", keys, args))
        return [
            replies.head(source, name.key, found)
            for name, found in zip(names, reply, strict=True)
            if found
        ]

    async def sources(self) -> list[Source]:
        """See `ParkingStore.sources`."""
        names = await self._query(self._client.smembers(self._partitions))
        return [Source(self._identity, name) for name in sorted(map(text_of, names))]

    async def summary(self, source: Source) -> PartitionLists:
        """See `ParkingStore.summary`."""
        keys = parking_keys(source, "keys", "state", "deferred_since")
        return replies.summary(await self._query(self._calls.run("summary", keys, [])))

    async def needs(self, source: Source) -> dict[str, int]:
        """See `ParkingStore.needs`."""
        reply = await self._query(self._calls.run("needs", parking_keys(source, "deferred"), []))
        return {
            text_of(name): int(keys) for name, keys in zip(reply[::2], reply[1::2], strict=True)
        }

    async def entries(
        self, source: Source, key: ListKey, *, after: Position = "", most: int = 100
    ) -> list[Entry]:
        """See `ParkingStore.entries`."""
        label = label_of(key)
        entries, documents = parking_keys(source, f"entries:{label}", f"documents:{label}")
        start = f"({after}" if after else "-"
        names = await self._query(self._client.zrangebylex(entries, start, "+", 0, most))
        if not (positions := [text_of(each) for each in names]):
            return []
        found = await self._query(self._client.hmget(documents, positions))
        return [
            replies.entry(position, document)
            for position, document in zip(positions, found, strict=True)
            if document is not None  # a replay finished the entry between the two reads
        ]

    async def is_stale(self, source: Source, verdict: str) -> bool:
        """See `ParkingStore.is_stale`."""
        (verdicts,) = parking_keys(source, "verdicts")
        return await reply_of(self._client.zscore(verdicts, verdict)) is not None

    async def _query(self, command: Any) -> Any:
        return await reply_of(command, self._query_timeout)

"""The migration of data in Redis that version 0.1 wrote (format 1) to today's format.

Parked lists and progress move to their new names, in this order, before the first batch. Every step
may be repeated, and two instances may migrate at the same time: an entry that a redrive has
replayed in the meantime is not added again. The old keys are deleted after their data are written.

Version 0.1 does not know of formats, so it must be stopped before a newer version starts. `running`
finds keys that it wrote afterwards.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES, PatientTimeout, explained
from processing.errors import StorageUnavailableError
from processing.formats.keys import parked_partitions_key, partition_prefix
from processing.identity import Identity, Source
from processing.migration.version_1 import OldSource, upgraded_entry, upgraded_verdict
from processing.progress.store import Mark, ProgressStore

logger = logging.getLogger(__name__)

_SCRIPT = Path(__file__).parent / "scripts" / "import_parked.lua"
ENTRIES = 100
"""Entries that one call reads and writes; an entry has at most 48 KiB."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """The migrated data of one partition.

    Attributes:
        watermark: the partition's watermark; None: no event was finished.
        finished: number of finished events above the watermark.
        keys: number of parked keys.
        entries: number of parked events.
    """

    source: Source
    watermark: Mark | None
    finished: int
    keys: int
    entries: int


class Migration:
    """The migration of one app's data.

    Args:
        client: a redis.asyncio client; the caller closes it.
        progress: the store that the progress is migrated to.
        identity: the app whose data are migrated.
        namespace: the namespace as version 0.1 named it: with its port, if it has one.
        hub, consumer_group: the names as they are configured.
        ttl_seconds: time after which an idle partition's progress is deleted.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        progress: ProgressStore,
        identity: Identity,
        *,
        namespace: str,
        hub: str,
        consumer_group: str,
        ttl_seconds: int,
    ) -> None:
        self._client: Any = client
        self._identity = identity
        self._configured = (namespace.lower(), hub, consumer_group)
        self._ttl = ttl_seconds
        self._progress = progress
        self._import = client.register_script(_SCRIPT.read_text())
        self._marker = f"breakwater:{{{identity}}}:migrated"

    async def ensure(self, *, timeout_seconds: float | None = None) -> None:
        """Migrate the data if no instance has done so yet.

        Args:
            timeout_seconds: longest wait for the first answer; None: until the client has made all
                its retries.

        Raises:
            StorageUnavailableError: Redis did not answer; nothing is lost, and a repeat continues.
        """
        try:
            async with PatientTimeout(timeout_seconds):
                done = await self._client.exists(self._marker)
            if not done:
                await self._run()
        except FAILURES as error:
            raise _unavailable(error) from error

    async def run(self) -> list[Migrated]:
        """Migrate the data, also if an instance has done so before.

        Raises:
            StorageUnavailableError: Redis did not answer; nothing is lost, and a repeat continues.
        """
        try:
            return await self._run()
        except FAILURES as error:
            raise _unavailable(error) from error

    async def running(self, partitions: Iterable[str]) -> list[str]:
        """Return the partitions that an instance of version 0.1 has processed since the migration.

        Raises:
            StorageUnavailableError: Redis did not answer.
        """
        found = []
        try:
            if not await self._client.exists(self._marker):
                return []
            for partition in partitions:
                watermark, _ = OldSource(*self._configured, partition).progress_keys
                if await self._client.exists(watermark):
                    found.append(partition)
        except FAILURES as error:
            raise _unavailable(error) from error
        return found

    async def _run(self) -> list[Migrated]:
        spellings: dict[Source, set[OldSource]] = defaultdict(set)
        for old in await self._find():
            if old.source.identity == self._identity:
                spellings[old.source].add(old)
        done = [
            await self._partition(source, spellings[source])
            for source in sorted(spellings, key=lambda each: each.partition)
        ]
        await self._client.set(self._marker, "2")
        for each in done:
            logger.warning(
                "Migrated partition %s from version 0.1: watermark %s, %s finished events above "
                "it, %s parked keys with %s events",
                *(each.source, each.watermark and each.watermark.sequence_number),
                *(each.finished, each.keys, each.entries),
            )
        return done

    async def _find(self) -> set[OldSource]:
        """Return the partitions of every app that have data of version 0.1."""
        found: set[OldSource | None] = set()
        async for key in self._client.scan_iter(match="progress:{*}:watermark", count=1000):
            found.add(OldSource.from_progress_key(_text(key)))
        async for key in self._client.scan_iter(match="parking:*:sources", count=1000):
            for member in await self._client.smembers(key):
                found.add(OldSource.from_parking_set(_text(key), _text(member)))
        return {each for each in found if each is not None}

    async def _partition(self, source: Source, olds: set[OldSource]) -> Migrated:
        """Migrate one partition: parked lists first, so that no event overtakes them."""
        keys = entries = finished = 0
        highest: Mark | None = None
        for old in sorted(olds, key=str):
            counts = await self._parked(source, old)
            keys, entries = keys + counts[0], entries + counts[1]
            watermark, above = await self._progress_of(old)
            if watermark is not None or above:
                await self._progress.commit(source, 0, watermark, above)
            finished += len(above)
            if watermark and (highest is None or highest.enqueued_ms < watermark.enqueued_ms):
                highest = watermark
        for old in olds:
            await self._delete(old)
        return Migrated(source, highest, finished, keys, entries)

    async def _progress_of(self, old: OldSource) -> tuple[Mark | None, list[Mark]]:
        watermark_key, finished_key = old.progress_keys
        values = await self._client.hmget(watermark_key, "sequence_number", "enqueued_ms")
        watermark = None if None in values else Mark(*map(int, values))
        members = await self._client.zrange(finished_key, 0, -1)
        return watermark, [Mark(*map(int, _text(each).split(":"))) for each in members]

    async def _parked(self, source: Source, old: OldSource) -> tuple[int, int]:
        """Copy a partition's parked lists; return the number of keys and of entries."""
        parked = await self._client.hgetall(old.parking_key("keys"))
        replayed = await self._client.hgetall(old.parking_key("replayed"))
        verdicts = await self._client.zrange(old.parking_key("verdicts"), 0, -1, withscores=True)
        prefix = f"{partition_prefix(source)}parking:"
        namespace = self._identity.namespace
        if verdicts:
            await self._client.zadd(
                f"{prefix}verdicts",
                {upgraded_verdict(_text(each), namespace): score for each, score in verdicts},
            )
            await self._client.expire(f"{prefix}verdicts", self._ttl)
        if parked:  # the set first: an unneeded partition is harmless, a missing one is not
            await self._client.sadd(parked_partitions_key(self._identity), source.partition)
        for label, position in replayed.items():
            await self._import_entries(prefix, _text(label), "", _text(position), [])
        entries = 0
        for label, since in parked.items():
            entries += await self._key(prefix, old, _text(label), _text(since))
        return len(parked), entries

    async def _key(self, prefix: str, old: OldSource, label: str, since: str) -> int:
        positions = await self._client.zrange(old.parking_key(f"entries:{label}"), 0, -1)
        documents = old.parking_key(f"documents:{label}")
        for some in batched(map(_text, positions), ENTRIES):
            texts = await self._client.hmget(documents, list(some))
            pairs = [
                (position, self._upgraded(_text(text), f"{old}: {label[1:]!r} at {position}"))
                for position, text in zip(some, texts, strict=True)
                if text is not None
            ]
            await self._import_entries(prefix, label, since, "", pairs)
        return len(positions)

    def _upgraded(self, document: str, place: str) -> str:
        """Return an entry in today's form; an unreadable entry stays as it is, and holds its key.

        The events of all other keys are migrated.
        """
        try:
            return upgraded_entry(document, self._identity.namespace)
        except ValueError as error:
            logger.warning(
                "Entry of version 0.1 is unreadable and migrated as it is; its key waits (%s): %s",
                *(place, error),
            )
            return document

    async def _import_entries(
        self,
        prefix: str,
        label: str,
        since: str,
        replayed: str,
        pairs: Sequence[tuple[str, str]],
    ) -> None:
        lists = ("keys", f"entries:{label}", f"documents:{label}")
        names = (*lists, "replayed", "replayed_at", "state")
        args: list[Any] = [label, since, replayed, self._ttl]
        for pair in pairs:
            args += pair
        await self._import([prefix + name for name in names], args)

    async def _delete(self, old: OldSource) -> None:
        """Delete the old keys of a partition, the lists before the hash that names them."""
        for label in await self._client.hkeys(old.parking_key("keys")):
            for name in ("entries", "documents", "lease"):
                await self._client.unlink(old.parking_key(f"{name}:{_text(label)}"))
        for name in ("keys", "replayed", "verdicts", "owner"):
            await self._client.unlink(old.parking_key(name))
        await self._client.srem(
            f"parking:{old.namespace}:sources", f"{old.hub}/{old.consumer_group}/{old.partition}"
        )
        for key in old.progress_keys:
            await self._client.unlink(key)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _unavailable(error: Exception) -> StorageUnavailableError:
    return StorageUnavailableError(f"Redis, asked for data of version 0.1: {explained(error)}")

"""The data that a pipeline of another name has left: the same hub and consumer group, renamed.

The data of a pipeline carry its name. A hub whose pipeline gets another name, as when an app with
one pipeline declares several, would be read by a pipeline that knows neither the parked events nor
the progress. Such a pipeline therefore starts no batch until nothing waits under the other name.
From then on the progress of the former name is out of date: after a rewind, or with a new hub, the
checkpoint is rightly below it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.configuration.pipelines import DEFAULT
from breaker.stores.redis import FAILURES, explained
from processing.errors import PipelineRenamedError, StorageUnavailableError
from processing.formats.keys import (
    parked_partitions_key,
    pipeline_names_key,
    pipeline_reader_key,
)
from processing.identity import Identity, Source
from processing.parking.redis_names import parking_keys
from processing.partitions.lag import ReadCheckpoint
from processing.progress.store import ProgressStore

MOST_NAMED = 5
"""Greatest number of partitions that the error names."""


class PipelineNames:
    """The names of the pipelines that have read a hub with a consumer group.

    Args:
        client: a redis.asyncio client; the caller closes it.
        identity: the pipeline that reads them now.
        progress: the store of progress.
        partitions: returns the hub's partitions.
        checkpoint: returns the host's checkpoint of a partition, which all names share.

    Attributes:
        problem: what waits under another name, for health; "": nothing is known to wait.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        identity: Identity,
        *,
        progress: ProgressStore,
        partitions: Callable[[], Awaitable[list[str]]],
        checkpoint: ReadCheckpoint,
    ) -> None:
        self._client: Any = client
        self._identity = identity
        self._progress = progress
        self._partitions = partitions
        self._checkpoint = checkpoint
        self.problem = ""

    async def check(self) -> None:
        """Note this pipeline's name, and refuse to start while data wait under another name.

        Raises:
            PipelineRenamedError: parked events, or progress beyond the checkpoint, wait there.
            StorageUnavailableError: Redis, the hub or the storage account did not answer.
        """
        self.problem = ""
        others, reads_already = await self._others()
        for name in others:
            if waiting := await self._waiting(name, parked_only=reads_already):
                shown = ", ".join(waiting[:MOST_NAMED]) + ("..." if waiting[MOST_NAMED:] else "")
                own = self._identity
                self.problem = (
                    f"the pipeline {name} has read the hub {own.hub} with the consumer group "
                    f"{own.consumer_group} before, and its parked events, or finished events "
                    f"beyond the checkpoint, wait in partition {shown}; the pipeline "
                    f"{own.pipeline} knows nothing of them and starts no batch. Give the hub its "
                    f"former pipeline again ({self._remedy(name)}); it may be renamed once "
                    "`breakwater redrive` has released the parked events and the app was stopped "
                    "without a crash"
                )
                raise PipelineRenamedError(self.problem)
        if not reads_already:
            with suppress(*FAILURES):  # such as a full Redis; the next start checks again
                await self._client.set(pipeline_reader_key(self._identity), self._identity.pipeline)

    @staticmethod
    def _remedy(name: str) -> str:
        if name == DEFAULT:
            return f"remove PIPELINES, or declare {name} in it for this hub"
        return f"declare {name} in PIPELINES for this hub"

    async def _others(self) -> tuple[list[str], bool]:
        """Return the other names, and whether this pipeline was the last one that might read."""
        own = self._identity
        key = pipeline_names_key(own)
        try:
            known = set(map(_text, await self._client.smembers(key)))
            if own.pipeline not in known:  # a full Redis takes no write
                await self._client.sadd(key, own.pipeline)
            reader = await self._client.get(pipeline_reader_key(own))
        except FAILURES as error:
            raise _unavailable(error) from error
        # Earlier versions noted no name; their only one was the default.
        others = sorted({DEFAULT, *known} - {own.pipeline})
        return others, reader is not None and _text(reader) == own.pipeline

    async def _waiting(self, name: str, *, parked_only: bool) -> list[str]:
        """Return the partitions in which data of another name wait."""
        identity = replace(self._identity, pipeline=name)
        try:
            listed = map(_text, await self._client.smembers(parked_partitions_key(identity)))
            found = [each for each in listed if await self._has_parked(Source(identity, each))]
        except FAILURES as error:
            raise _unavailable(error) from error
        if found or parked_only:
            return sorted(found)
        partitions = await self._partitions()
        waits = await asyncio.gather(
            *(self._is_beyond(Source(identity, each)) for each in partitions)
        )
        return [each for each, waits_here in zip(partitions, waits, strict=True) if waits_here]

    async def _has_parked(self, source: Source) -> bool:
        return bool(await self._client.hlen(*parking_keys(source, "keys")))

    async def _is_beyond(self, source: Source) -> bool:
        """Return whether events above the host's checkpoint are finished under another name."""
        progress = await self._progress.load(source)
        if progress.watermark is None and not progress.finished:
            return False
        checkpoint = await self._checkpoint(source.partition)
        below = -1 if checkpoint is None else checkpoint.sequence_number
        numbers = [*progress.finished]
        if progress.watermark is not None:
            numbers.append(progress.watermark.sequence_number)
        return max(numbers) > below


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _unavailable(error: Exception) -> StorageUnavailableError:
    return StorageUnavailableError(f"names of the hub's pipelines: {explained(error)}")

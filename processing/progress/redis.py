"""Progress in Redis: one read per batch, and group commits of finished events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES
from processing.errors import StorageUnavailableError
from processing.formats.keys import FORMAT, OLDEST_FORMAT, newer_format, partition_prefix
from processing.identity import Source
from processing.progress.store import Mark, Progress

_SCRIPTS = Path(__file__).parent / "scripts"


class RedisProgressStore:
    """A progress store in Redis: a hash and a sorted set per partition, both with an expiry.

    Args:
        client: a redis.asyncio client; the caller closes it.
        ttl_seconds: time after which an idle partition's progress expires; longer than the hub's
            retention.
    """

    def __init__(self, client: Redis | RedisCluster, *, ttl_seconds: int) -> None:
        self._client = client
        self._ttl = ttl_seconds
        self._open = client.register_script((_SCRIPTS / "open.lua").read_text())
        self._commit = client.register_script((_SCRIPTS / "commit.lua").read_text())

    async def open(self, source: Source) -> Progress:
        """See `ProgressStore.open`."""
        return await self._claim(source, "open", "")

    async def load(self, source: Source) -> Progress:
        """See `ProgressStore.load`."""
        watermark_key, finished_key, _ = self._keys(source)
        try:
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.hmget(watermark_key, "sequence_number", "enqueued_ms")
                pipe.zrange(finished_key, 0, -1)
                (sequence_number, enqueued_ms), members = await pipe.execute()
        except FAILURES as error:
            raise _unavailable("load", source, error) from error
        return _progress(0, sequence_number, enqueued_ms, members)

    async def commit(
        self, source: Source, owner: int, watermark: Mark | None, finished: Sequence[Mark]
    ) -> bool:
        """See `ProgressStore.commit`."""
        args: list[Any] = [self._ttl, owner, "", ""]
        if watermark is not None:
            args[2:] = [watermark.sequence_number, watermark.enqueued_ms]
        # One text: encoding two arguments per event would cost more than the whole command.
        args.append(" ".join([f"{mark.sequence_number}:{mark.enqueued_ms}" for mark in finished]))
        try:
            return bool(await self._commit(self._keys(source)[:2], args))
        except FAILURES as error:
            raise _unavailable("commit", source, error) from error

    async def reset(self, source: Source) -> Progress:
        """See `ProgressStore.reset`."""
        return await self._claim(source, "reset", "1")

    def _keys(self, source: Source) -> list[str]:
        prefix = partition_prefix(source)
        return [f"{prefix}progress:watermark", f"{prefix}progress:finished", f"{prefix}format"]

    async def _claim(self, source: Source, operation: str, drop: str) -> Progress:
        try:
            args: list[Any] = [self._ttl, drop, FORMAT, OLDEST_FORMAT]
            owner, *found = await self._open(self._keys(source), args)
        except FAILURES as error:
            raise _unavailable(operation, source, error) from error
        if owner in (b"newer", "newer"):
            raise newer_format(source, int(found[0]))
        return _progress(int(owner), *found)


def _progress(
    owner: int,
    sequence_number: bytes | str | None,
    enqueued_ms: bytes | str | None,
    members: Sequence[bytes | str],
) -> Progress:
    watermark = None
    if sequence_number is not None and enqueued_ms is not None:
        watermark = Mark(int(sequence_number), int(enqueued_ms))
    return Progress(watermark, dict(_parse(member) for member in members), owner)


def _parse(member: bytes | str) -> tuple[int, int]:
    text = member.decode() if isinstance(member, bytes) else member
    sequence_number, _, enqueued_ms = text.partition(":")
    return int(sequence_number), int(enqueued_ms)


def _unavailable(operation: str, source: Source, error: Exception) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"progress of {source}: {operation} failed: {type(error).__name__}: {error}"
    )

"""Progress in Redis: one load per batch, completions by group commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisError

from processing.errors import StorageUnavailableError
from processing.event import Source
from processing.progress import Mark, Progress

_COMMIT = (Path(__file__).parent / "scripts" / "commit_progress.lua").read_text()


class RedisProgressStore:
    """A hash and a sorted set per partition, both with an expiry.

    Args:
        client: a redis.asyncio client; stays the caller's to close.
        ttl_seconds: how long an idle partition is remembered; longer than the hub keeps events.
    """

    def __init__(self, client: Redis | RedisCluster, *, ttl_seconds: int) -> None:
        self._client = client
        self._ttl = ttl_seconds
        self._commit = client.register_script(_COMMIT)

    async def load(self, source: Source) -> Progress:
        """See `ProgressStore.load`."""
        watermark_key, finished_key = _keys(source)
        try:
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.hmget(watermark_key, "sequence_number", "enqueued_ms")
                pipe.zrange(finished_key, 0, -1)
                (sequence_number, enqueued_ms), members = await pipe.execute()
        except (RedisError, OSError) as error:
            raise _unavailable("load", source, error) from error
        watermark = (
            None if sequence_number is None else Mark(int(sequence_number), int(enqueued_ms))
        )
        return Progress(watermark, dict(_parse(member) for member in members))

    async def commit(
        self, source: Source, watermark: Mark | None, finished: Sequence[Mark]
    ) -> None:
        """See `ProgressStore.commit`."""
        args: list[Any] = [self._ttl, "", ""]
        if watermark is not None:
            args[1:] = [watermark.sequence_number, watermark.enqueued_ms]
        for mark in finished:
            args += (mark.sequence_number, mark.enqueued_ms)
        try:
            await self._commit(_keys(source), args)
        except (RedisError, OSError) as error:
            raise _unavailable("commit", source, error) from error

    async def reset(self, source: Source) -> None:
        """See `ProgressStore.reset`."""
        try:
            await self._client.delete(*_keys(source))
        except (RedisError, OSError) as error:
            raise _unavailable("reset", source, error) from error


def _keys(source: Source) -> list[str]:
    prefix = f"progress:{{{source}}}"  # one hash tag: the script works on both keys
    return [f"{prefix}:watermark", f"{prefix}:finished"]


def _parse(member: bytes | str) -> tuple[int, int]:
    text = member.decode() if isinstance(member, bytes) else member
    sequence_number, _, enqueued_ms = text.partition(":")
    return int(sequence_number), int(enqueued_ms)


def _unavailable(what: str, source: Source, error: Exception) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"progress of {source}: {what} failed: {type(error).__name__}: {error}"
    )

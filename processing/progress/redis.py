"""Progress in Redis: group commits of finished events.

The claim on a partition reads the progress together with the state of the parked lists
(`processing/parking/scripts/claim.lua`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES, explained
from processing.errors import StorageUnavailableError
from processing.formats.keys import FORMAT, OLDEST_FORMAT, newer_format, partition_prefix
from processing.identity import Source
from processing.progress.store import MOST_MARKS, ClockStep, Mark, Progress, SentMarks

_SCRIPTS = Path(__file__).parent / "scripts"
_LOADED = ("sequence_number", "enqueued_ms", "hub_created_ms", "clock_step")


class RedisProgressStore:
    """A progress store in Redis: a hash and two sorted sets per partition, all with an expiry.

    Args:
        client: a redis.asyncio client; the caller closes it.
        ttl_seconds: time after which an idle partition's progress expires; longer than the hub's
            retention.
    """

    def __init__(self, client: Redis | RedisCluster, *, ttl_seconds: int) -> None:
        self._client = client
        self._ttl = ttl_seconds
        self._reset = client.register_script((_SCRIPTS / "reset.lua").read_text())
        self._commit = client.register_script((_SCRIPTS / "commit.lua").read_text())
        note_created = (_SCRIPTS / "note_created.lua").read_text()
        self._note_created = client.register_script(note_created)
        self._note_step = client.register_script((_SCRIPTS / "note_step.lua").read_text())

    async def load(self, source: Source) -> Progress:
        """See `ProgressStore.load`."""
        watermark_key, finished_key, _ = progress_keys(source)
        try:
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.hmget(watermark_key, *_LOADED)
                pipe.zrange(finished_key, 0, -1)
                (number, enqueued_ms, created_ms, step), members = await pipe.execute()
        except FAILURES as error:
            raise _unavailable("load", source, error) from error
        progress = parsed(0, number, enqueued_ms, members, created_ms)
        return replace(progress, step=ClockStep(*map(int, step.split()))) if step else progress

    async def owns(self, source: Source, owner: int) -> bool:
        """See `ProgressStore.owns`."""
        try:
            latest = await self._client.hget(progress_keys(source)[0], "owner")
        except FAILURES as error:
            raise _unavailable("owner", source, error) from error
        return latest is None or int(latest) <= owner

    async def commit(
        self,
        source: Source,
        owner: int,
        watermark: Mark | None,
        finished: Sequence[Mark],
        sent: SentMarks | None = None,
    ) -> bool:
        """See `ProgressStore.commit`."""
        args: list[Any] = [self._ttl, owner, "", ""]
        if watermark is not None:
            args[2:] = [watermark.sequence_number, watermark.enqueued_ms]
        # One text: encoding two arguments per event would cost more than the whole command.
        args.append(" ".join([f"{mark.sequence_number}:{mark.enqueued_ms}" for mark in finished]))
        keys = progress_keys(source)[:2]
        if sent is not None:
            keys.append(sent_key(source))
            marks = " ".join([f"{mark.id}:{mark.enqueued_ms}" for mark in sent.marks])
            args += [marks, sent.oldest_ms, MOST_MARKS]
        try:
            return bool(await self._commit(keys, args))
        except FAILURES as error:
            raise _unavailable("commit", source, error) from error

    async def sent(self, source: Source, ids: Collection[str]) -> dict[str, int]:
        """See `ProgressStore.sent`."""
        if not ids:
            return {}
        try:
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.hmget(progress_keys(source)[0], "since", "sent_since")
                pipe.zmscore(sent_key(source), list(ids))
                (since, written), scores = await pipe.execute()
        except FAILURES as error:
            raise _unavailable("sent", source, error) from error
        # A reset by an older version leaves the marks, which belong to events from before.
        if written is None or int(written) != int(since or 0):
            return {}
        found = zip(ids, scores, strict=True)
        return {each: int(score) for each, score in found if score is not None}

    async def note_created(self, source: Source, created_ms: int) -> None:
        """See `ProgressStore.note_created`."""
        try:
            await self._note_created(progress_keys(source)[:1], [self._ttl, created_ms])
        except FAILURES as error:
            raise _unavailable("note_created", source, error) from error

    async def note_step(self, source: Source, back_ms: int, sequence_number: int) -> None:
        """See `ProgressStore.note_step`."""
        try:
            args = [self._ttl, back_ms, sequence_number]
            await self._note_step(progress_keys(source)[:1], args)
        except FAILURES as error:
            raise _unavailable("note_step", source, error) from error

    async def reset(self, source: Source, created_ms: int = 0) -> Progress:
        """See `ProgressStore.reset`."""
        try:
            args: list[Any] = [self._ttl, FORMAT, OLDEST_FORMAT, created_ms]
            keys = [*progress_keys(source), sent_key(source)]
            owner, *found = await self._reset(keys, args)
        except FAILURES as error:
            raise _unavailable("reset", source, error) from error
        if owner in (b"newer", "newer"):
            raise newer_format(source, int(found[0]))
        return Progress(owner=int(owner), created_ms=created_ms)


def progress_keys(source: Source) -> list[str]:
    """Return a partition's keys: watermark and owner, finished events, lowest format."""
    prefix = partition_prefix(source)
    return [f"{prefix}progress:watermark", f"{prefix}progress:finished", f"{prefix}format"]


def sent_key(source: Source) -> str:
    """Return the key of a partition's marks for copies of finished events."""
    return f"{partition_prefix(source)}progress:sent"


def parsed(
    owner: int,
    sequence_number: bytes | str | None,
    enqueued_ms: bytes | str | None,
    members: Sequence[bytes | str],
    created_ms: bytes | str | None = None,
) -> Progress:
    """Return the progress that Redis has stored."""
    watermark = None
    if sequence_number is not None and enqueued_ms is not None:
        watermark = Mark(int(sequence_number), int(enqueued_ms))
    finished = dict(_parse(member) for member in members)
    return Progress(watermark, finished, owner, int(created_ms or 0))


def _parse(member: bytes | str) -> tuple[int, int]:
    text = member.decode() if isinstance(member, bytes) else member
    sequence_number, _, enqueued_ms = text.partition(":")
    return int(sequence_number), int(enqueued_ms)


def _unavailable(operation: str, source: Source, error: Exception) -> StorageUnavailableError:
    return StorageUnavailableError(f"progress of {source}: {operation} failed: {explained(error)}")

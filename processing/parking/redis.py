"""Parked events in Redis: all keys of one partition in one slot, one script per operation.

`breakwater:{<identity>}:parked` is the set of partitions with parked keys, by partition id.
Each partition has the following keys with the prefix
`breakwater:{<identity>/<partition>}:parking:`. `<label>` is `=<event key>`, empty for the events
without a key, or `#<position>` for an event without a key that waits alone.

- `keys`: hash, label to the time of parking in microseconds since 1970
- `entries:<label>`: sorted set of positions
- `documents:<label>`: hash, position to kind and JSON
- `deferred`: hash, label to the time of the last try and the deferral
- `due`, `deferred_since`: sorted sets of labels by time in microseconds since 1970
- `replayed`: hash, label to the key's replayed positions, `<last>|<first>`
- `replayed_at`: sorted set of those labels by the enqueued time of the last position
- `verdicts`: sorted set of replayed poisonings
- `state`: hash, the totals of the lists, the mark's token and single values; `wake:<dependency>`:
  the state of that dependency's circuit for which its keys were made due
- `lease:<label>`: string

Parked events, their totals and the mark's token never expire. The partition's progress has the same
hash tag, so that a claim reads both in one script.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from processing.formats.keys import FORMAT, OLDEST_FORMAT, newer_format
from processing.identity import Identity, Source
from processing.parking import redis_replies as replies
from processing.parking.deferral import Deferral
from processing.parking.event import ListKey, Position
from processing.parking.memory_guard import MemoryGuard, guard_full
from processing.parking.names import label_of
from processing.parking.redis_calls import RedisCalls, reply_of
from processing.parking.redis_names import (
    claim_keys,
    key_of,
    keys_as_json,
    list_keys,
    parking_keys,
    text_of,
)
from processing.parking.redis_queries import RedisParkingQueries
from processing.parking.store import (
    DUE_KEYS,
    LATEST_KEYS,
    OPENINGS,
    OVERDUE_MARKS,
    OVERDUE_SECONDS,
    Claim,
    DeferReply,
    EntryKind,
    Lease,
    ParkReply,
    ParkState,
    WritingAs,
    lease_lost,
)
from processing.parking.waking import WOKEN_SECONDS, Seen, Waking
from processing.progress.redis import progress_keys


class RedisParkingStore(RedisParkingQueries):
    """A store of parked events in Redis; see `ParkingStore`.

    Args:
        client: a redis.asyncio client; the caller closes it.
        most: most entries of one key.
        most_events: number of events in all lists of one partition at which no event is deferred
            or joins a deferred key.
        most_bytes: greatest size of all lists of one partition together.
        ttl_seconds: time after which replayed positions and verdicts are deleted; longer than the
            hub's retention.
        identity: the app whose parked keys are listed.
        replicas: number of Redis's replicas that must confirm each write that must not be lost.
        confirm_milliseconds: timeout of their confirmation.
        query_timeout_seconds: timeout of each read-only query of a listing; None: a query ends when
            the client has made all its retries.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        *,
        most: int,
        ttl_seconds: int,
        identity: Identity,
        most_events: int = 10_000,
        most_bytes: int = 64 * 1024 * 1024,
        replicas: int = 0,
        confirm_milliseconds: int = 1000,
        query_timeout_seconds: float | None = None,
    ) -> None:
        calls = RedisCalls(client, replicas, confirm_milliseconds)
        super().__init__(client, calls, identity, query_timeout_seconds)
        self._limits = (most, most_events, most_bytes)
        self._ttl = ttl_seconds
        same = (ttl_seconds, FORMAT, OLDEST_FORMAT, DUE_KEYS, LATEST_KEYS)
        self._claim_args = [str(each).encode() for each in same]  # encoded once, not for each batch
        self._guard = MemoryGuard(client)

    async def confirm(self) -> bool:
        """See `ParkingStore.confirm`."""
        return await self._calls.confirm(f"{self._partitions}:confirm")

    async def claim(
        self,
        source: Source,
        keys: Collection[ListKey] = (),
        *,
        generation: int = 0,
        opening: str = "",
    ) -> Claim:
        """See `ParkingStore.claim`."""
        asked = list(keys)
        args = [*self._claim_args, generation, keys_as_json(asked), opening, OPENINGS]
        reply = await self._calls.run("claim", claim_keys(source), args)
        if reply[0] in (b"newer", "newer"):
            raise newer_format(source, int(reply[1]))
        return replies.claim(asked, reply)

    async def poison(
        self,
        writing: WritingAs,
        source: Source,
        key: ListKey,
        position: Position,
        document: str,
    ) -> str | None:
        """See `ParkingStore.poison`."""
        await self._list_partition(source)
        entry = EntryKind.UNANNOUNCED + document
        outcome, details = await self._add("poison", writing, source, key, position, entry)
        return None if outcome == "replayed" else text_of(details[0])[1:]

    async def announced(self, source: Source, key: ListKey, position: Position) -> None:
        """See `ParkingStore.announced`."""
        label = label_of(key)
        await self._calls.run("announced", list_keys(source, label), [label, position])

    async def defer(
        self,
        writing: WritingAs,
        source: Source,
        key: ListKey,
        event: tuple[Position, str],
        *,
        deferral: Deferral,
        pause_seconds: float,
        seen: Seen | None = None,
    ) -> DeferReply:
        """See `ParkingStore.defer`."""
        await self._list_partition(source)
        position, document = event
        pause = (_us(pause_seconds), *_seen_args(seen))
        args = (position, EntryKind.EVENT + document, deferral.to_json(), *pause)
        _, (state, since) = await self._add("defer", writing, source, key, *args)
        return DeferReply(ParkState(state), 0.0 if since is None else float(since) / 1e6)

    async def park(
        self,
        writing: WritingAs,
        source: Source,
        key: ListKey,
        events: Sequence[tuple[Position, str]],
    ) -> ParkReply:
        """See `ParkingStore.park`."""
        args = [text for at, document in events for text in (at, EntryKind.EVENT + document)]
        outcome, details = await self._add("park", writing, source, key, *args)
        if outcome == "released":
            return ParkReply(released=True, replayed=text_of(details[0]))
        return ParkReply(tuple(map(ParkState, details)))

    async def due(self, source: Source, *, most: int, generation: int = 0) -> list[ListKey]:
        """See `ParkingStore.due`."""
        keys = parking_keys(source, "state", "due")
        return [key_of(label) for label in await self._calls.run("due", keys, [most, generation])]

    async def wake(self, source: Source, waking: Waking) -> int:
        """See `ParkingStore.wake`."""
        keys = parking_keys(source, "state", "deferred", "due")
        generation, state = waking.position
        limits = (waking.most, _us(waking.again_seconds), _us(waking.lost_seconds))
        args = (waking.dependency, generation, state, *limits)
        return int(await self._calls.run("wake", keys, args))

    async def lease(
        self, source: Source, key: ListKey, token: str, milliseconds: int
    ) -> Lease | None:
        """See `ParkingStore.lease`."""
        label = label_of(key)
        keys = [*list_keys(source, label), progress_keys(source)[2]]
        reply = await self._calls.run("lease", keys, [token, label, milliseconds, FORMAT])
        match text_of(reply[0]):
            case "newer":
                raise newer_format(source, int(reply[1]))
            case "held":
                return None
        return Lease(int(reply[1]), replies.deferral(reply[2], reply[3]))

    async def renew(self, source: Source, key: ListKey, token: str, milliseconds: int) -> bool:
        """See `ParkingStore.renew`."""
        keys = parking_keys(source, f"lease:{label_of(key)}")
        return bool(await self._calls.run("renew", keys, [token, milliseconds]))

    async def release(self, source: Source, key: ListKey, token: str) -> None:
        """See `ParkingStore.release`."""
        await self._calls.run("release", parking_keys(source, f"lease:{label_of(key)}"), [token])

    async def postpone(
        self,
        source: Source,
        key: ListKey,
        token: str,
        deferral: Deferral,
        pause_seconds: float,
        *,
        seen: Seen | None = None,
    ) -> None:
        """See `ParkingStore.postpone`."""
        args = (deferral.to_json(), _us(pause_seconds), *_seen_args(seen))
        await self._replay("postpone", source, key, token, *args)

    async def replace(
        self, source: Source, key: ListKey, token: str, position: Position, document: str
    ) -> None:
        """See `ParkingStore.replace`."""
        await self._replay("replace", source, key, token, position, document)

    async def finish(
        self,
        source: Source,
        key: ListKey,
        token: str,
        position: Position,
        verdict: str = "",
        *,
        epoch: int = 0,
    ) -> int:
        """See `ParkingStore.finish`."""
        args = (position, verdict, epoch, self._ttl)
        return int((await self._replay("finish", source, key, token, *args))[0])

    async def forget(self, source: Source, after: Position) -> None:
        """See `ParkingStore.forget`."""
        await self._calls.run("forget", parking_keys(source, "replayed", "replayed_at"), [after])

    async def drop_mark(self, source: Source, mark: str) -> bool:
        """See `ParkingStore.drop_mark`."""
        return bool(
            await self._calls.run("drop_mark", parking_keys(source, "keys", "state"), [mark])
        )

    async def mark_overdue(self, source: Source, positions: Sequence[Position]) -> None:
        """See `ParkingStore.mark_overdue`."""
        args = [int(OVERDUE_SECONDS * 1e6), OVERDUE_MARKS, " ".join(positions)]
        await self._calls.run("overdue", parking_keys(source, "state"), args)

    async def poison_head(self, source: Source, event_id: str) -> None:
        """See `ParkingStore.poison_head`."""
        await self._calls.run("poison_head", parking_keys(source, "state"), [event_id])

    async def _list_partition(self, source: Source) -> None:
        """Add the partition to the set of partitions with parked keys.

        The set comes first: an unneeded partition in the set is harmless, a missing one is not.
        """
        member = source.partition
        if not await reply_of(self._client.sismember(self._partitions, member)):
            await self._calls.checked(source, self._client.sadd(self._partitions, member))

    async def _add(
        self, name: str, writing: WritingAs, source: Source, key: ListKey, *args: Any
    ) -> tuple[str, list[Any]]:
        """Run a script that adds to a list, and raise the error of a refusal.

        If Redis is nearly full, the limits are zero; entries that are in the list are still found.
        """
        full = await self._guard.is_full()
        limits = (0, 0, -1) if full else self._limits
        label = label_of(key)
        creates = "1" if writing.creates else ""
        outcome, details = await self._calls.write(
            name,
            source,
            list_keys(source, label),
            [writing.owner, writing.mark, creates, label, *limits, *args],
        )
        if outcome in ("long", "many", "large") and full:
            raise guard_full(source)
        if (error := replies.refusal(source, outcome, self._limits)) is not None:
            raise error
        return outcome, details

    async def _replay(
        self, name: str, source: Source, key: ListKey, token: str, *args: Any
    ) -> list[Any]:
        """Run a script that only the holder of the key's lease may run."""
        label = label_of(key)
        keys = [*list_keys(source, label), *parking_keys(source, "verdicts")]
        outcome, details = await self._calls.write(name, source, keys, [token, label, *args])
        if outcome == "expired":
            raise lease_lost(source)
        return details


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _seen_args(seen: Seen | None) -> tuple[str | int, ...]:
    """Return the arguments of woken.lua."""
    return ("",) if seen is None else (seen.dependency, *seen.place, _us(WOKEN_SECONDS))

"""Parked events in Redis: all keys of one partition in one slot, one script per operation.

`breakwater:{<identity>}:parked` is the set of partitions with parked keys, by partition id. Each
partition has the following keys with the prefix `breakwater:{<identity>/<partition>}:parking:`.
`<label>` is `=<event key>`, or empty for the events without a key.

- `keys`: hash, label to the time of parking in microseconds since 1970
- `entries:<label>`: sorted set of positions
- `documents:<label>`: hash, position to kind and JSON
- `replayed`: hash, label to the position up to which the key was replayed
- `verdicts`: sorted set of replayed poisonings
- `owner`, `lease:<label>`: strings

Parked events never expire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES
from processing.errors import StorageUnavailableError
from processing.formats.keys import FORMAT, newer_format, parked_partitions_key, partition_prefix
from processing.identity import Identity, Source
from processing.parking.event import Position
from processing.parking.store import (
    Claim,
    Entry,
    EntryKind,
    ParkedKey,
    ParkReply,
    ParkState,
    claim_lost,
    lease_lost,
    parked_list_full,
)

_SCRIPTS = Path(__file__).parent / "scripts"


class RedisParkingStore:
    """A store of parked events in Redis; see `ParkingStore`.

    Args:
        client: a redis.asyncio client; the caller closes it.
        most: most entries of one key.
        ttl_seconds: time after which replayed positions and verdicts are deleted; longer than the
            hub's retention.
        identity: the app whose parked keys are listed.
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
        query_timeout_seconds: float | None = None,
    ) -> None:
        self._client = client
        self._query_timeout = query_timeout_seconds
        self._identity = identity
        self._partitions = parked_partitions_key(identity)
        self._most = most
        self._ttl = ttl_seconds

        def script(name: str) -> Any:
            return client.register_script((_SCRIPTS / f"{name}.lua").read_text())

        self._claim = script("claim")
        self._poison = script("poison")
        self._park = script("park")
        self._announced = script("announced")
        self._lease = script("lease")
        self._replace = script("replace")
        self._finish = script("finish")
        self._forget = script("forget")

    def _keys(self, source: Source, *names: str) -> list[str]:
        prefix = f"{partition_prefix(source)}parking:"
        return [prefix + name for name in names]

    async def claim(self, source: Source, owner: str, watermark: Position) -> Claim:
        """See `ParkingStore.claim`."""
        keys = self._keys(source, "owner", "keys", "replayed")
        parked, replayed = await _reply(self._claim(keys, [owner, watermark, self._ttl]))
        texts = [_text(each) for each in replayed]
        return Claim(
            owner,
            frozenset(_key(_text(label)) for label in parked),
            {_key(label): place for label, place in zip(texts[::2], texts[1::2], strict=True)},
        )

    async def poison(
        self, claim: Claim, source: Source, key: str | None, position: Position, document: str
    ) -> str | None:
        """See `ParkingStore.poison`."""
        label = _label(key)
        # The set first: an unneeded partition in the set is harmless, a missing one is not.
        await _reply(self._client.sadd(self._partitions, source.partition))
        names = ("owner", "keys", f"entries:{label}", f"documents:{label}", "replayed")
        args = [claim.owner, label, position, EntryKind.UNANNOUNCED + document]
        if (known := await _reply(self._poison(self._keys(source, *names), args))) is None:
            raise claim_lost(source)
        return _text(known)[1:] or None

    async def announced(self, source: Source, key: str | None, position: Position) -> None:
        """See `ParkingStore.announced`."""
        await _reply(self._announced(self._keys(source, f"documents:{_label(key)}"), [position]))

    async def park(
        self,
        claim: Claim,
        source: Source,
        key: str | None,
        events: Sequence[tuple[Position, str]],
    ) -> ParkReply:
        """See `ParkingStore.park`."""
        label = _label(key)
        names = ("owner", "keys", f"entries:{label}", f"documents:{label}", "replayed")
        args: list[Any] = [claim.owner, label, self._most]
        for position, document in events:
            args += (position, EntryKind.EVENT + document)
        outcome, *details = await _reply(self._park(self._keys(source, *names), args))
        match _text(outcome):
            case "parked":
                return ParkReply(tuple(ParkState(state) for state in details))
            case "released":
                return ParkReply(released=True, replayed=_text(details[0]))
            case "full":
                raise parked_list_full(source, self._most)
            case _:
                raise claim_lost(source)

    async def document(self, source: Source, key: str | None, position: Position) -> Entry | None:
        """See `ParkingStore.document`."""
        (name,) = self._keys(source, f"documents:{_label(key)}")
        found = await _reply(self._client.hget(name, position))
        return None if found is None else _entry(position, found)

    async def keys(self) -> list[ParkedKey]:
        """See `ParkingStore.keys`."""
        found: list[ParkedKey] = []
        names = await _reply(self._client.smembers(self._partitions), self._query_timeout)
        for name in sorted(map(_text, names)):
            source = Source(self._identity, name)
            (keys,) = self._keys(source, "keys")
            parked = await _reply(self._client.hgetall(keys), self._query_timeout)
            for label, since in parked.items():
                (entries,) = self._keys(source, f"entries:{_text(label)}")
                count = await _reply(self._client.zcard(entries), self._query_timeout)
                found.append(
                    ParkedKey(source, _key(_text(label)), int(since) / 1_000_000, int(count))
                )
        return found

    async def entries(
        self, source: Source, key: str | None, *, after: Position = "", most: int = 100
    ) -> list[Entry]:
        """See `ParkingStore.entries`."""
        label = _label(key)
        entries, documents = self._keys(source, f"entries:{label}", f"documents:{label}")
        start = f"({after}" if after else "-"
        names = await _reply(
            self._client.zrangebylex(entries, start, "+", 0, most), self._query_timeout
        )
        if not (positions := [_text(each) for each in names]):
            return []
        found = await _reply(self._client.hmget(documents, positions), self._query_timeout)
        return [
            _entry(position, document)
            for position, document in zip(positions, found, strict=True)
            if document is not None  # a redrive finished the entry between the two reads
        ]

    async def lease(self, source: Source, key: str | None, token: str, milliseconds: int) -> bool:
        """See `ParkingStore.lease`."""
        return await self._on_lease(source, key, "take", token, milliseconds)

    async def renew(self, source: Source, key: str | None, token: str, milliseconds: int) -> bool:
        """See `ParkingStore.renew`."""
        return await self._on_lease(source, key, "renew", token, milliseconds)

    async def release(self, source: Source, key: str | None, token: str) -> None:
        """See `ParkingStore.release`."""
        await self._on_lease(source, key, "give back", token, 0)

    async def replace(
        self, source: Source, key: str | None, token: str, position: Position, document: str
    ) -> None:
        """See `ParkingStore.replace`."""
        label = _label(key)
        keys = self._keys(source, f"lease:{label}", f"documents:{label}")
        if not await _reply(self._replace(keys, [token, position, document])):
            raise lease_lost(source)

    async def finish(
        self, source: Source, key: str | None, token: str, position: Position, verdict: str = ""
    ) -> int:
        """See `ParkingStore.finish`."""
        label = _label(key)
        names = ("lease:" + label, "keys", "entries:" + label, "documents:" + label)
        keys = self._keys(source, *names, "replayed", "verdicts")
        left = int(await _reply(self._finish(keys, [token, label, position, verdict, self._ttl])))
        if left < 0:
            raise lease_lost(source)
        return left

    async def is_stale(self, source: Source, verdict: str) -> bool:
        """See `ParkingStore.is_stale`."""
        (verdicts,) = self._keys(source, "verdicts")
        return await _reply(self._client.zscore(verdicts, verdict)) is not None

    async def forget(self, source: Source, after: Position) -> None:
        """See `ParkingStore.forget`."""
        await _reply(self._forget(self._keys(source, "replayed"), [after]))

    async def _on_lease(
        self, source: Source, key: str | None, act: str, token: str, milliseconds: int
    ) -> bool:
        keys = [*self._keys(source, f"lease:{_label(key)}"), f"{partition_prefix(source)}format"]
        done = int(await _reply(self._lease(keys, [act, token, milliseconds, FORMAT])))
        if done > 1:
            raise newer_format(source, done)
        return bool(done)


async def _reply(command: Awaitable[Any], seconds: float | None = None) -> Any:
    try:
        async with asyncio.timeout(seconds):
            return await command
    except FAILURES as error:
        what = str(error) or "no answer in time"
        raise StorageUnavailableError(f"parking store: {type(error).__name__}: {what}") from error


def _label(key: str | None) -> str:
    return "" if key is None else f"={key}"


def _key(label: str) -> str | None:
    return label[1:] if label else None


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _entry(position: Position, document: bytes | str) -> Entry:
    text = _text(document)
    return Entry(position, EntryKind(text[0]), text[1:])

"""The index of the poison queue in Redis; one script per operation, all keys in one slot.

The keys have the prefix `breakwater:{<identity>}:poison-index:`.

- `entries`: hash, the queue's message id to the value that `scripts/value.lua` describes
- `order`: sorted set of `<enqueued ms>:<sequence number>:<message id>`
- `keys`: sorted set of `<digest of the key>/<partition>/<member of order>`
- `ids`: sorted set of the reversed id of the event, a NUL and the message id; the end of an id is
  the beginning of a member
- `causes`: hash, cause to its number of entries
- `state`: hash, see `scripts/known.lua`
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import batched, chain
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES, PatientTimeout, explained
from processing.errors import StorageUnavailableError
from processing.formats.keys import poison_index_keys
from processing.identity import Identity
from processing.poison.index.entry import Cause, IndexEntry
from processing.poison.index.entry_bytes import (
    StoredEntry,
    cause_text,
    id_prefix,
    key_digest,
    read_cause,
    read_entry,
)
from processing.poison.index.index import (
    COMPARE_SECONDS,
    DIFFERS_SECONDS,
    DIFFERS_TIMES,
    HELD_SECONDS,
    PAGE_ENTRIES,
    IndexState,
    Page,
)

BUDGET_BYTES = 64 * 2**20
AT_ONCE = 100
"""Entries of one call: a script blocks the server."""
SWEPT_AT_ONCE = 1_000
_SCRIPTS = Path(__file__).parent / "scripts"
_INCLUDE = re.compile(r"^-- include (\w+)$", re.MULTILINE)
_NAMES = (
    *("put", "receipts", "remove", "page", "keep", "state", "look"),
    *("begin", "renew", "sweep", "finish"),
)
_AFTER_COLON = "[^:]*$"
_AFTER_NUL = "[^%z]*$"


async def _has_room() -> bool:
    return True


class RedisPoisonIndex:
    """An index in Redis; see `PoisonIndex`.

    Args:
        client: a redis.asyncio client; the caller closes it.
        own: the app; entries of other apps are ignored.
        budget_bytes: greatest size of all entries; above it the long texts are left out.
        has_room: returns whether Redis has memory for further entries.
        ttl_seconds: time after which an index expires that nobody changes.
        timeout_seconds: timeout of each call; None: until the client has made all its retries.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        own: Identity,
        *,
        budget_bytes: int = BUDGET_BYTES,
        has_room: Callable[[], Awaitable[bool]] = _has_room,
        ttl_seconds: int = 100 * 24 * 3600,
        timeout_seconds: float | None = None,
    ) -> None:
        self._client: Any = client
        self._own = own
        self._budget = budget_bytes
        self._has_room = has_room
        self._ttl = ttl_seconds
        self._timeout = timeout_seconds
        self._keys = poison_index_keys(own)
        self._entries, self._order, self._by_key, self._ids, self._causes, _ = self._keys
        self._scripts = {name: client.register_script(_source(name)) for name in _NAMES}

    async def put(self, entries: Iterable[IndexEntry], *, token: str = "") -> int:
        """See `PoisonIndex.put`."""
        own = [entry for entry in entries if entry.source.identity == self._own]
        if not own:
            return 0
        added = refused = 0
        options = (self._budget, int(await self._may_add()), self._ttl, token)
        for some in batched(own, AT_ONCE):
            arguments = chain.from_iterable(map(_put_arguments, some))
            found = await self._run("put", self._keys, *options, *arguments)
            added += found[0]
            refused += found[1]
        if refused:
            raise StorageUnavailableError(
                "index of the poison queue: Redis is nearly full, so the index takes no further "
                "entry; the queue has all messages"
            )
        return added

    async def set_receipts(self, receipts: Mapping[str, str], *, token: str = "") -> None:
        """See `PoisonIndex.set_receipts`."""
        for some in batched(receipts.items(), AT_ONCE):
            await self._run("receipts", [self._entries], token, *chain.from_iterable(some))

    async def remove(self, names: Iterable[str]) -> None:
        """See `PoisonIndex.remove`."""
        for some in batched(names, AT_ONCE):
            await self._run("remove", self._keys, *some)

    async def page(self, after: str | None = None, most: int = PAGE_ENTRIES) -> Page:
        """See `PoisonIndex.page`."""
        return await self._page(self._order, "", after, most)

    async def of_key(
        self, key: str | None, after: str | None = None, most: int = PAGE_ENTRIES
    ) -> Page:
        """See `PoisonIndex.of_key`."""
        return await self._page(self._by_key, f"{key_digest(key)}/", after, most)

    async def of_id(self, text: str) -> Sequence[IndexEntry]:
        """See `PoisonIndex.of_id`."""
        prefix = _bytes(id_prefix(text))
        least, greatest = b"[" + prefix, b"(" + prefix + b"\xff"
        arguments = (least, greatest, PAGE_ENTRIES, _AFTER_NUL, "", "")
        _, *found = await self._run("page", [self._entries, self._ids], *arguments)
        return sorted(_entries(found), key=lambda entry: entry.place)

    async def causes(self) -> Mapping[Cause, int]:
        """See `PoisonIndex.causes`."""
        found = await self._reply(self._client.hgetall(self._causes))
        return {read_cause(_text(cause)): int(number) for cause, number in found.items()}

    async def state(self) -> IndexState:
        """See `PoisonIndex.state`."""
        found = await self._run("state", self._keys)
        entries, built, others, unreadable, held, comparing = map(_text, found)
        return IndexState(
            entries=int(entries),
            built_at=float(built) if built else None,
            of_others=json.loads(others),
            unreadable=int(unreadable),
            held=int(held),
            comparing=int(comparing) if comparing else None,
        )

    async def look(self, count: int) -> bool:
        """See `PoisonIndex.look`."""
        limits = (DIFFERS_SECONDS, HELD_SECONDS, DIFFERS_TIMES)
        return bool(await self._run("look", self._keys, count, *limits))

    async def begin(self) -> str | None:
        """See `PoisonIndex.begin`."""
        return _text(await self._run("begin", self._keys, COMPARE_SECONDS)) or None

    async def renew(self, token: str) -> bool:
        """See `PoisonIndex.renew`."""
        return bool(await self._run("renew", self._keys, token, COMPARE_SECONDS))

    async def held(self, token: str, after: str | None = None, most: int = PAGE_ENTRIES) -> Page:
        """See `PoisonIndex.held`."""
        return await self._page(self._order, "", after, most, of=token)

    async def unseen(self, token: str, after: str | None = None, most: int = PAGE_ENTRIES) -> Page:
        """See `PoisonIndex.unseen`."""
        return await self._page(self._order, "", after, most, without=token)

    async def keep(self, token: str, names: Iterable[str]) -> None:
        """See `PoisonIndex.keep`."""
        for some in batched(names, AT_ONCE):
            await self._run("keep", self._keys, token, *some)

    async def end(
        self, token: str, *, of_others: Mapping[str, int], unreadable: int = 0, held: int = 0
    ) -> int | None:
        """See `PoisonIndex.end`."""
        removed, least = 0, b"-"
        while least:
            count, last = await self._run(
                *("sweep", self._keys, token, least, SWEPT_AT_ONCE, _AFTER_COLON)
            )
            if count < 0:
                return None
            removed += count
            least = b"(" + _bytes(last) if last else b""
        others = json.dumps(dict(of_others))
        counts = (sum(of_others.values()), unreadable, held)
        if not await self._run("finish", self._keys, token, others, *counts, self._ttl):
            return None
        return removed

    async def abandon(self, token: str) -> None:
        """See `PoisonIndex.abandon`."""
        await self._run("renew", self._keys, token, 0)

    async def _page(
        self,
        key: str,
        prefix: str,
        after: str | None,
        most: int,
        *,
        without: str = "",
        of: str = "",
    ) -> Page:
        least = f"[{prefix}" if after is None else f"({prefix}{after}"
        greatest = b"(" + _bytes(prefix) + b"\xff"
        arguments = (_bytes(least), greatest, most, _AFTER_COLON, without, of)
        last, *found = await self._run("page", [self._entries, key], *arguments)
        return Page(_entries(found), _text(last)[len(prefix) :] or None)

    async def _may_add(self) -> bool:
        return bool(await self._reply(self._has_room()))

    async def _run(self, script: str, keys: Sequence[str], *arguments: Any) -> Any:
        return await self._reply(self._scripts[script](keys, arguments))

    async def _reply(self, command: Awaitable[Any]) -> Any:
        try:
            async with PatientTimeout(self._timeout):
                return await command
        except FAILURES as error:
            raise StorageUnavailableError(
                f"index of the poison queue: {explained(error)}"
            ) from error


def _put_arguments(entry: IndexEntry) -> tuple[str | bytes, ...]:
    stored = StoredEntry.of(entry)
    return (
        *(entry.name, entry.receipt, _bytes(entry.place)),
        _bytes(f"{key_digest(entry.message.key)}/{entry.place_in_key}"),
        _bytes(f"{id_prefix(entry.message.id)}\0{entry.name}"),
        *(cause_text(entry.cause), stored.whole, stored.short),
    )


def _entries(values: Sequence[bytes]) -> list[IndexEntry]:
    """Return the entries of a script's reply; those of a later version are left out."""
    found = (
        read_entry(_text(name), _text(receipt), data) for name, receipt, data in batched(values, 3)
    )
    return [entry for entry in found if entry is not None]


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def _text(value: str | bytes | int) -> str:
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else str(value)


@cache
def _source(name: str) -> str:
    return _INCLUDE.sub(
        lambda part: (_SCRIPTS / f"{part[1]}.lua").read_text("utf-8"),
        (_SCRIPTS / f"{name}.lua").read_text("utf-8"),
    )

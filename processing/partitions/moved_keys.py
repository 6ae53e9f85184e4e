"""Keys that wait since before the hub got another number of partitions.

Such a key waits in the list of its old partition. Its next events may come to another partition,
which does not know of the list, and are handled at once. The SDKs and the service choose the
partition of a key by a hash that includes the number of partitions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from processing.identity import Source
from processing.parking.store import ParkedKey, ParkingStore
from processing.partitions.hub_changes import HubChange, utc

MARGIN_MS = 60_000
"""Greatest difference between the clocks of the hub and of the store of the changes."""
NAMED = 5
"""Greatest number of keys that a text names."""


@dataclass(frozen=True, slots=True)
class MovedKeys:
    """The keys that wait since before a change of the number of partitions.

    Attributes:
        change: the change.
        keys: the keys, those that wait longest first.
    """

    change: HubChange
    keys: tuple[ParkedKey, ...] = ()

    def text(self, name: Callable[[str], str]) -> str:
        """Return a sentence for the operator, without its full stop.

        Args:
            name: returns the name of a key in the text, for example its hash.
        """
        change = self.change
        return (
            f"the hub has {change.after} partitions and had {change.before} until "
            f"{utc(change.seen_ms)}: events of a key may be in two partitions, and a parked key "
            f"does not hold its events in the other one. {self._waiting(name)}. See 'The number of "
            "partitions changed' in operations.md"
        )

    def _waiting(self, name: Callable[[str], str]) -> str:
        if not self.keys:
            return "No key waits since before the change"
        named = [
            f"{name(str(each.key))} in partition {each.source.partition}"
            for each in self.keys[:NAMED]
        ]
        if more := len(self.keys) - len(named):
            named.append(f"{more:,} more")
        one = len(self.keys) == 1
        return (
            f"{len(self.keys):,} {'key waits' if one else 'keys wait'} since before the change "
            f"({', '.join(named)}); redrive or discard {'this key' if one else 'these keys'} first"
        )


async def find_moved(
    store: ParkingStore, change: HubChange, keys: Iterable[ParkedKey] | None = None
) -> MovedKeys:
    """Find the keys whose list begins with an event that was enqueued before a change.

    Events without a key have no list in another partition.

    Args:
        store: stores the lists.
        change: the change of the number of partitions.
        keys: the keys to look at; None: all keys.

    Raises:
        StorageUnavailableError: the store did not answer.
    """
    by_source: defaultdict[Source, list[ParkedKey]] = defaultdict(list)
    for each in await store.keys() if keys is None else keys:
        if isinstance(each.key, str):
            by_source[each.source].append(each)
    found: list[ParkedKey] = []
    for source, waiting in by_source.items():
        firsts = await store.firsts(source, [each.key for each in waiting])
        found += [
            each
            for each, first in zip(waiting, firsts, strict=True)
            if first and int(first.partition(":")[0]) <= change.seen_ms + MARGIN_MS
        ]
    return MovedKeys(change, tuple(sorted(found, key=lambda each: each.since)))

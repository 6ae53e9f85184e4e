"""Keys that wait since before the hub got another number of partitions.

Such a key waits in the list of its old partition. Its next events may come to another partition,
which does not know of the list, and are handled at once. The SDKs and the service choose the
partition of a key by a hash that includes the number of partitions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import batched

from processing.parking.store import PAGE_LISTS, ParkedKey, ParkingStore
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
        lists: number of all lists, also of keys that wait since then.
        unknown: why the keys are not known, or "".
    """

    change: HubChange
    keys: tuple[ParkedKey, ...] = ()
    lists: int = 0
    unknown: str = ""

    def text(self, name: Callable[[str], str]) -> str:
        """Return a sentence for the operator, without its full stop.

        Args:
            name: returns the name of a key in the text, for example its hash.
        """
        change = self.change
        return (
            f"the hub has {change.after} partitions and had {change.before} until "
            f"{utc(change.seen_ms)}: events of a key may be in two partitions, and a parked key "
            f"does not hold back its events in the second partition. {self._waiting(name)}. See "
            "'The number of partitions changed' in operations.md"
        )

    def _waiting(self, name: Callable[[str], str]) -> str:
        if self.unknown:
            return f"Which keys wait since before the change is not known: {self.unknown}"
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


async def find_moved(store: ParkingStore, change: HubChange) -> MovedKeys:
    """Find the keys whose list begins with an event that was enqueued before a change.

    Events without a key have no list in another partition.

    Args:
        store: stores the lists.
        change: the change of the number of partitions.

    Raises:
        StorageUnavailableError: the store did not answer.
    """
    found: list[ParkedKey] = []
    lists = 0
    last = f"{change.seen_ms + MARGIN_MS:015d}"  # as a position begins
    for source in await store.sources():
        for names in batched(await store.names(source), PAGE_LISTS):
            lists += len(names)
            found += [
                head.parked
                for head in await store.heads(source, names)
                if isinstance(head.parked.key, str)
                and head.position
                and head.position.partition(":")[0] <= last
            ]
    return MovedKeys(change, tuple(sorted(found, key=lambda each: each.since)), lists)

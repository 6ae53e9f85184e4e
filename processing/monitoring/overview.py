"""The console's table of partitions, and the length of the poison queue.

The module loads Azure's SDKs; the console imports it when an operator opens a page.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from azure.storage.queue.aio import QueueClient

from processing.errors import StorageUnavailableError
from processing.identity import Identity
from processing.monitoring.expired import events_text, expired_lately
from processing.monitoring.partition_state import PartitionState, State
from processing.monitoring.poison_count import PoisonCount, poison_count
from processing.monitoring.survey import Sighting, Survey
from processing.partitions.checkpoints import HostCheckpoints

MOST_ENTRIES = 50
"""Greatest number of entries about the hub on the page."""


class Partitions:
    """A reader of the table of partitions.

    Args:
        survey: finds the state of each partition.
        checkpoints: the host's checkpoints.
        queues: the poison queues, in the app's account and, if it is another one, in the host's.
        own: the app; other apps may use the same queues.
        lease_seconds: time after which an ownership expires.
    """

    def __init__(
        self,
        survey: Survey,
        checkpoints: HostCheckpoints,
        queues: Sequence[QueueClient],
        own: Identity,
        lease_seconds: float,
    ) -> None:
        self._survey = survey
        self._checkpoints = checkpoints
        self._queues = queues
        self._own = own
        self._lease_seconds = lease_seconds

    async def table(self) -> dict[str, Any]:
        """Return one row per partition, and the states that need an operator.

        `problem` is the last error of the checkpoint container, or another problem of the fleet.

        Raises:
            StorageUnavailableError: the hub or Redis did not answer.
        """
        problem = None
        owners: dict[str, tuple[str, float]] = {}
        try:
            for found in await self._checkpoints.owners():
                left = max(0.0, self._lease_seconds - found.age_seconds)
                owners[found.partition] = (found.owner, round(left, 1))
        except StorageUnavailableError as error:
            problem = str(error)
        rows = []
        sighting = await self._survey.look()
        now = time.time_ns() // 1_000_000
        for each in sighting.partitions:
            checkpoint = None
            try:
                if (read := await self._checkpoints.read(each.partition)) is not None:
                    checkpoint = read.sequence_number
            except (StorageUnavailableError, ValueError) as error:
                problem = str(error)
            owner, seconds = owners.get(each.partition, (None, None))
            rows.append(
                {
                    "partition": each.partition,
                    "owner": owner,
                    "lease_seconds": seconds,
                    "checkpoint": checkpoint,
                    "watermark": each.watermark,
                    "last_enqueued": each.last_enqueued,
                    "lag": each.lag,
                    "parked": each.parked,
                    "deferred": each.deferred,
                    "expired": expired_lately(each, now),
                    "recreated": each.recreated,
                    "state": str(_state(sighting.state_of(each.partition))),
                }
            )
        return {
            "time": now,
            "rows": rows,
            "problem": problem or next(iter(sighting.problems), None),
            "hub_history": hub_history(sighting),
            "stalled": [
                each.to_json()
                | {"since": now - round(each.seconds * 1000), "why": each.explanation}
                for each in sighting.states
                if each.state is State.STALLED
            ],
        }

    async def poison_count(self) -> PoisonCount | None:
        """Return the number of poison messages; None if a queue cannot be read."""
        found = PoisonCount(0)
        for queue in self._queues:
            if (count := await poison_count(queue, self._own)) is None:
                return None
            found += count
        return found


def hub_history(sighting: Sighting) -> list[dict[str, Any]]:
    """Return the expired events and the changes of the hub, for the page's list of what happened.

    Each entry has its time `at` (milliseconds since 1970), a `kind`, and a `text`.
    """
    found: list[dict[str, Any]] = [
        {
            "at": gap.seen_ms,
            "kind": "expired",
            "text": f"Partition {each.partition}: {events_text(gap.events)} expired unhandled "
            f"({gap.first} to {gap.last})",
        }
        for each in sighting.partitions
        for gap in each.gaps
    ]
    found += [
        {"at": each.seen_ms, "kind": each.kind.value, "text": each.text}
        for each in sighting.changes
    ]
    return sorted(found, key=lambda each: each["at"], reverse=True)[:MOST_ENTRIES]


def _state(found: PartitionState | None) -> State:
    return State.OK if found is None else found.state

"""The model's Redis as a real server: the real stores, of which the model can see the data."""

from __future__ import annotations

import asyncio
import time
from random import Random

import redis
from redis.asyncio import Redis

from processing.event import Event
from processing.formats.keys import parked_partitions_key, partition_prefix
from processing.identity import Identity, Source
from processing.parking.event import ListKey, position_of
from processing.parking.names import label_of
from processing.parking.redis import RedisParkingStore
from processing.parking.redis_names import parking_keys, text_of
from processing.progress.redis import RedisProgressStore, parsed, progress_keys
from tests.model.cluster import Cluster

TTL_SECONDS = 3600


class RedisCluster(Cluster):
    """The partitions of one app on a real Redis.

    Args:
        rng: draws times.
        client: the client of the stores.
        looks: a client that looks at the data between two steps of the run.
        identity: the app, which has this Redis's partitions `sources`.
        limits: the limits of the parking store.
    """

    def __init__(
        self,
        rng: Random,
        client: Redis,
        looks: redis.Redis,
        identity: Identity,
        limits: dict[str, int],
    ) -> None:
        super().__init__(rng)
        self.start = time.time() - asyncio.get_running_loop().time()
        self._looks = looks
        self._identity = identity
        self.progress = RedisProgressStore(client, ttl_seconds=TTL_SECONDS)
        self.parking = RedisParkingStore(
            client, ttl_seconds=TTL_SECONDS, identity=identity, **limits
        )

    def owner(self, source: Source) -> int:
        """See `Cluster.owner`."""
        return int(self._looks.hget(progress_keys(source)[0], "owner") or 0)

    def is_finished(self, event: Event) -> bool:
        """See `Cluster.is_finished`."""
        watermark, finished, _ = progress_keys(event.source)
        number, enqueued_ms = self._looks.hmget(watermark, "sequence_number", "enqueued_ms")
        members = [text_of(each) for each in self._looks.zrange(finished, 0, -1)]  # type: ignore[arg-type]
        return bool(parsed(0, number, enqueued_ms, members).finished_among([event]))

    def holds(self, event: Event, key: ListKey) -> bool:
        """See `Cluster.holds`."""
        (entries,) = parking_keys(event.source, f"entries:{label_of(key)}")
        return self._looks.zscore(entries, position_of(event)) is not None

    def lists(self) -> list[str]:
        """See `Cluster.lists`."""
        return [
            f"{source}: {text_of(label)}"
            for source in self._sources()
            for label in self._looks.hkeys(parking_keys(source, "keys")[0])
        ]

    def lose_data(self) -> None:
        """See `Cluster.lose_data`."""
        self.losses += 1
        self.term += 1
        self._delete("*")
        self._looks.delete(parked_partitions_key(self._identity))

    def expire_leases(self) -> None:
        """See `Cluster.expire_leases`."""
        self._delete("parking:lease:*")

    def _sources(self) -> list[Source]:
        return [Source(self._identity, str(number)) for number in range(2)]

    def _delete(self, names: str) -> None:
        for source in self._sources():
            prefix = partition_prefix(source).replace("[", "\\[")
            for name in list(self._looks.scan_iter(prefix + names, count=10_000)):
                self._looks.delete(name)

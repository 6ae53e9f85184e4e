"""Partition ownership over many hosts: real processes, read from the ownership blobs.

Nothing here says how soon: a watcher looks at the blobs all the time, and what counts is which
states it sees. That three rounds are enough is shown without processes, whose rounds a busy machine
may push into each other, in tests/unit/local/functions_host/test_balancing.py.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from azure.core.exceptions import AzureError
from azure.eventhub import EventData
from azure.storage.blob import ContainerClient

from tests.conftest import EventHubsEndpoint
from tests.support.local.event_hubs_trigger import Trigger, event_hubs_trigger
from tests.support.local.functions_host import HostProcess
from tests.support.processes import wait_for

PARTITIONS = 16
LEASE = 8
FIVE, FOUR = [3, 3, 3, 3, 4], [4, 4, 4, 4]


@dataclass(frozen=True)
class Seen:
    """The blobs at one moment: (owner, etag) by partition."""

    moment: float
    blobs: dict[str, tuple[str, str]]

    def owned_by(self, host: HostProcess) -> set[str]:
        return {p for p, (owner, _) in self.blobs.items() if owner.startswith(f"{host.pid}-")}

    def shares(self, hosts: list[HostProcess]) -> list[int]:
        return sorted(len(self.owned_by(host)) for host in hosts)

    def has_owners_of(self, other: Seen) -> bool:
        return {p: owner for p, (owner, _) in self.blobs.items()} == {
            p: owner for p, (owner, _) in other.blobs.items()
        }


@dataclass
class Watcher:
    """Looks at the blobs all the time."""

    trigger: Trigger
    seen: list[Seen] = field(default_factory=list)

    def balance(self, hosts: list[HostProcess], shares: list[int]) -> Seen:
        """The latest moment, when the hosts have these shares and nobody moves any more.

        Each has by then renewed all it has twice: the second time it knew of the last move.
        """

        def at_rest() -> Seen | None:
            seen = list(self.seen)
            if not seen or seen[-1].shares(hosts) != shares:
                return None
            same = list(itertools.takewhile(seen[-1].has_owners_of, reversed(seen)))
            etags = {(p, etag) for s in same for p, (_, etag) in s.blobs.items()}
            renewals = Counter(p for p, _ in etags)
            return seen[-1] if min(renewals.values()) > 2 else None

        found: Seen = wait_for(at_rest, lambda: f"{shares}, now {self.seen[-1:]}")
        return found

    def since(self, moment: float) -> list[Seen]:
        """What was seen after `moment`: something, at least."""
        found: list[Seen] = wait_for(
            lambda: [seen for seen in list(self.seen) if seen.moment > moment], "a look"
        )
        return found

    def last_renewal(self, host: HostProcess, partition: str) -> float:
        """A moment shortly before the one at which `host` renewed this one for the last time."""
        return max(
            earlier.moment
            for earlier, seen in itertools.pairwise(list(self.seen))
            if partition in seen.owned_by(host)
            and seen.blobs[partition] != earlier.blobs.get(partition)
        )

    def run(self, end: threading.Event) -> None:
        prefix = f"{self.trigger.folder}/ownership/"
        with ContainerClient.from_connection_string(
            self.trigger.storage, "azure-webjobs-eventhub"
        ) as container:
            while not end.wait(0.05):
                moment = time.monotonic()
                with contextlib.suppress(AzureError):  # before the first host has made it
                    blobs = {
                        blob.name.removeprefix(prefix): (blob.metadata["ownerid"] or "", blob.etag)
                        for blob in container.list_blobs(prefix, include=["metadata"])
                    }
                    self.seen.append(Seen(moment, blobs))


@pytest.fixture
def trigger(azurite: str, event_hubs: EventHubsEndpoint, tmp_path: Path) -> Iterator[Trigger]:
    with event_hubs_trigger(event_hubs, azurite, tmp_path, partitions=PARTITIONS) as trigger:
        yield trigger


@pytest.fixture
def watcher(trigger: Trigger) -> Iterator[Watcher]:
    watcher, end = Watcher(trigger), threading.Event()
    thread = threading.Thread(target=watcher.run, args=(end,))
    thread.start()
    yield watcher
    end.set()
    thread.join()


def _start(trigger: Trigger) -> HostProcess:
    return trigger.hosts.start("events", "--balance-interval", "1", "--lease", str(LEASE))


def _handled(trigger: Trigger) -> list[tuple[str, int]]:
    """Partition and sequence number of each event that a function was given, in that order."""
    return [
        (line["partition"], number)
        for line in trigger.records.starts()
        for number in line["sequences"]
    ]


@pytest.mark.long
def test_sixteen_partitions_over_five_hosts_through_a_crash_a_newcomer_and_a_stop(
    trigger: Trigger, watcher: Watcher
) -> None:
    hosts = [_start(trigger) for _ in range(5)]

    balanced = watcher.balance(hosts, FIVE)

    victim = hosts.pop()
    left = sorted(balanced.owned_by(victim))
    with trigger.producer() as producer:
        for partition in left:
            producer.send_batch([EventData("before")], partition_id=partition)
        wait_for(lambda: trigger.checkpoints() == dict.fromkeys(left, 0), "the checkpoints")
        trigger.set_behaviour("hang")
        for partition in left:
            producer.send_batch([EventData("in flight")], partition_id=partition)
        wait_for(lambda: {(p, 1) for p in left} <= set(_handled(trigger)), "the events in flight")

    # A killed one's are owned again when its lease is over, not before, and resume at their
    # checkpoints. Blob storage tells times in whole seconds: a lease may seem one second older.
    victim.kill()
    killed, before = time.monotonic(), len(_handled(trigger))
    trigger.set_behaviour("return")
    watcher.balance(hosts, FOUR)
    looks = watcher.since(killed)
    for partition in left:
        taken = next(seen for seen in looks if partition not in seen.owned_by(victim))
        assert taken.moment >= watcher.last_renewal(victim, partition) + LEASE - 1
    wait_for(lambda: trigger.checkpoints() == dict.fromkeys(left, 1), "the resume")
    assert Counter(_handled(trigger)[before:]) == dict.fromkeys(((p, 1) for p in left), 1)

    # One more: shares again.
    hosts.append(_start(trigger))
    watcher.balance(hosts, FIVE)

    # One that ends gives back what it has, before it has ended: nobody waits for its lease.
    stopped = hosts.pop(0)
    assert stopped.terminate() == 0
    assert not watcher.since(time.monotonic())[0].owned_by(stopped)
    watcher.balance(hosts, FOUR)

"""Partition ownership of many real host processes, read from the ownership blobs.

The tests have no time limits: a watcher polls the blobs, and the tests check the observed states.
tests/unit/local/functions_host/test_balancing.py shows without processes that three rounds are
enough, because the rounds of processes overlap on a busy machine.
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
    """A snapshot of the blobs: (owner, etag) by partition."""

    moment: float
    blobs: dict[str, tuple[str, str]]

    def owned_by(self, host: HostProcess) -> set[str]:
        return {p for p, (owner, _) in self.blobs.items() if owner.startswith(f"{host.pid}-")}

    def shares(self, hosts: list[HostProcess]) -> list[int]:
        return sorted(len(self.owned_by(host)) for host in hosts)

    def has_same_owners(self, other: Seen) -> bool:
        return {p: owner for p, (owner, _) in self.blobs.items()} == {
            p: owner for p, (owner, _) in other.blobs.items()
        }


@dataclass
class Watcher:
    """A thread's work that polls the blobs and keeps every snapshot."""

    trigger: Trigger
    seen: list[Seen] = field(default_factory=list)

    def balance(self, hosts: list[HostProcess], shares: list[int]) -> Seen:
        """Wait until the hosts have these shares and no partition moves; return the snapshot.

        By then each host has renewed its partitions twice, the second time after the last move.
        """

        def at_rest() -> Seen | None:
            seen = list(self.seen)
            if not seen or seen[-1].shares(hosts) != shares:
                return None
            same = list(itertools.takewhile(seen[-1].has_same_owners, reversed(seen)))
            etags = {(p, etag) for s in same for p, (_, etag) in s.blobs.items()}
            renewals = Counter(p for p, _ in etags)
            return seen[-1] if min(renewals.values()) > 2 else None

        found: Seen = wait_for(at_rest, lambda: f"{shares}, now {self.seen[-1:]}")
        return found

    def since(self, moment: float) -> list[Seen]:
        """Return the snapshots after `moment`; wait for at least one."""
        found: list[Seen] = wait_for(
            lambda: [seen for seen in list(self.seen) if seen.moment > moment], "a snapshot"
        )
        return found

    def last_renewal(self, host: HostProcess, partition: str) -> float:
        """Return a time shortly before the last renewal of this partition by `host`."""
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
                with contextlib.suppress(AzureError):  # before the first host creates the container
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
    """Return (partition, sequence number) of each event that a function received, in order."""
    return [
        (line["partition"], number)
        for line in trigger.records.starts()
        for number in line["sequences"]
    ]


@pytest.mark.long
def test_hosts_rebalance_after_crash_start_and_stop(trigger: Trigger, watcher: Watcher) -> None:
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

    # Partitions of a killed host are claimed after its lease, and resume at their checkpoints.
    # Blob storage has times in whole seconds, so a lease may seem one second older.
    victim.kill()
    killed, before = time.monotonic(), len(_handled(trigger))
    trigger.set_behaviour("return")
    watcher.balance(hosts, FOUR)
    snapshots = watcher.since(killed)
    for partition in left:
        taken = next(seen for seen in snapshots if partition not in seen.owned_by(victim))
        assert taken.moment >= watcher.last_renewal(victim, partition) + LEASE - 1
    wait_for(lambda: trigger.checkpoints() == dict.fromkeys(left, 1), "the resume")
    assert Counter(_handled(trigger)[before:]) == dict.fromkeys(((p, 1) for p in left), 1)

    # A new host gets its share.
    hosts.append(_start(trigger))
    watcher.balance(hosts, FIVE)

    # A host that stops releases its partitions first, so that no host waits for the lease.
    stopped = hosts.pop(0)
    assert stopped.terminate() == 0
    assert not watcher.since(time.monotonic())[0].owned_by(stopped)
    watcher.balance(hosts, FOUR)

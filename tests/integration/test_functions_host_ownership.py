"""Partition ownership over many hosts: real processes, read from the ownership blobs.

Nothing here measures seconds: a watcher notes every change of the blobs, and what counts is how
many balancing rounds hosts have made between one state and another.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from azure.core.exceptions import AzureError
from azure.eventhub import EventData
from azure.storage.blob import ContainerClient

from tests.conftest import EventHubsEndpoint
from tests.integration.functions_host_harness import HostProcess
from tests.integration.functions_host_trigger import Trigger, event_hubs_trigger
from tests.processes import wait_for

PARTITIONS = 16
INTERVAL = 1.0
LEASE = 8
BALANCED = [3, 3, 3, 3, 4]


@dataclass(frozen=True)
class Seen:
    """The blobs at one moment: (owner, etag) by partition."""

    moment: float
    blobs: dict[str, tuple[str, str]]

    def owned_by(self, host: HostProcess) -> set[str]:
        return {p for p, (owner, _) in self.blobs.items() if owner.startswith(f"{host.pid}-")}

    def shares(self, hosts: list[HostProcess]) -> list[int]:
        return sorted(len(self.owned_by(host)) for host in hosts)


@dataclass
class Watcher:
    """Looks at the blobs all the time."""

    trigger: Trigger
    seen: list[Seen] = field(default_factory=list)

    def wait(
        self, condition: Callable[[Seen], bool], what: str, since: float = 0, timeout: float = 30
    ) -> Seen:
        """The first moment from `since` on at which the condition held."""

        def first() -> Seen | None:
            later = (s for s in list(self.seen) if s.moment >= since)
            return next((s for s in later if condition(s)), None)

        found: Seen = wait_for(first, what, timeout)
        return found

    def rounds(self, host: HostProcess, begin: float, end: float) -> int:
        """How often `host` renewed in that time; what lies close together is one round."""
        rounds, last = 0, -INTERVAL
        earlier: dict[str, tuple[str, str]] = {}
        for seen in list(self.seen):
            changed = any(seen.blobs[p] != earlier.get(p) for p in seen.owned_by(host))
            earlier = seen.blobs
            if begin < seen.moment <= end and changed:
                rounds += seen.moment - last > INTERVAL / 2
                last = seen.moment
        return rounds

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
    return trigger.hosts.start("events", "--balance-interval", str(INTERVAL), "--lease", str(LEASE))


def _most_rounds(watcher: Watcher, hosts: list[HostProcess], begin: Seen, end: Seen) -> int:
    return max(watcher.rounds(host, begin.moment, end.moment) for host in hosts)


def _handled(trigger: Trigger) -> list[tuple[str, int]]:
    """Partition and sequence number of each event that a function was given, in that order."""
    return [
        (line["partition"], number)
        for line in trigger.records.starts()
        for number in line["sequences"]
    ]


def test_sixteen_partitions_over_five_hosts_through_a_crash_a_newcomer_and_a_stop(
    trigger: Trigger, watcher: Watcher
) -> None:
    hosts = [_start(trigger) for _ in range(5)]

    # Three or four each within three rounds, of which the last one's first claim was one.
    joined = watcher.wait(lambda seen: 0 not in seen.shares(hosts), "five owners")
    balanced = watcher.wait(lambda seen: seen.shares(hosts) == BALANCED, "the balance")
    assert _most_rounds(watcher, hosts, joined, balanced) <= 2

    victim = hosts.pop()
    left = sorted(balanced.owned_by(victim))
    with trigger.producer() as producer:
        for partition in left:
            producer.send_batch([EventData("before")], partition_id=partition)
        wait_for(lambda: trigger.checkpoints() == dict.fromkeys(left, 0), "the checkpoints")
        trigger.tell("hang")
        for partition in left:
            producer.send_batch([EventData("in flight")], partition_id=partition)
        wait_for(lambda: {(p, 1) for p in left} <= set(_handled(trigger)), "the events in flight")

    # A killed one's are owned again when its lease is over, and resume at their checkpoints.
    victim.kill()
    before = len(_handled(trigger))
    trigger.tell("return")
    killed = time.monotonic()
    taken = watcher.wait(
        lambda seen: sum(seen.shares(hosts)) == PARTITIONS, "the takeover", since=killed
    )
    assert taken.shares(hosts) == [4, 4, 4, 4]
    renewed = max(
        seen.moment
        for earlier, seen in zip(watcher.seen, watcher.seen[1:], strict=False)
        if any(seen.blobs[p] != earlier.blobs.get(p) for p in seen.owned_by(victim))
    )
    expired = renewed + LEASE
    assert all(watcher.rounds(host, expired, taken.moment) <= 2 for host in hosts)
    wait_for(lambda: trigger.checkpoints() == dict.fromkeys(left, 1), "the resume")
    assert Counter(_handled(trigger)[before:]) == dict.fromkeys(((p, 1) for p in left), 1)

    # One more: shares again.
    hosts.append(_start(trigger))
    joined = watcher.wait(lambda seen: 0 not in seen.shares(hosts), "the newcomer")
    balanced = watcher.wait(
        lambda seen: seen.shares(hosts) == BALANCED, "the new balance", since=joined.moment
    )
    assert _most_rounds(watcher, hosts, joined, balanced) <= 2

    # What is given back has an owner after each one's next round, long before a lease is over.
    stopped = hosts.pop(0)
    assert stopped.terminate() == 0
    given_back = watcher.wait(
        lambda seen: not seen.owned_by(stopped), "the release", since=balanced.moment
    )
    taken = watcher.wait(
        lambda seen: seen.shares(hosts) == [4, 4, 4, 4], "the takeover", since=given_back.moment
    )
    # One may have been under way while the release was.
    assert _most_rounds(watcher, hosts, given_back, taken) <= 2

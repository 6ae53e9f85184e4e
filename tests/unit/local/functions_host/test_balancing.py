"""Balancing of partitions in rounds: the SDK's algorithm with this host's, without a network."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

import pytest
from azure.eventhub import LoadBalancingStrategy
from azure.eventhub.aio._eventprocessor.in_memory_checkpoint_store import InMemoryCheckpointStore

from local.functions_host.triggers.event_hubs import ownership as module
from local.functions_host.triggers.event_hubs.ownership import FairOwnership

PARTITIONS = [str(number) for number in range(16)]
LEASE = 60.0


class _Client:
    """The part of a client that the ownership manager uses."""

    eventhub_name = "hub"

    class _address:  # noqa: N801 - the SDK's name
        hostname = "namespace"

    async def get_partition_ids(self) -> list[str]:
        return PARTITIONS


class _Store(InMemoryCheckpointStore):
    """A store that runs other owners between a listing and its claims, as over a network."""

    async def list_ownership(self, *place: str, **options: Any) -> list[dict[str, Any]]:
        await _run_other_hosts()
        found = [dict(item) for item in await super().list_ownership(*place, **options)]
        await _run_other_hosts()
        return found

    async def claim_ownership(
        self, ownership_list: Iterable[dict[str, Any]], **options: Any
    ) -> list[dict[str, Any]]:
        claimed: list[dict[str, Any]] = []
        for item in ownership_list:  # each is a blob of its own
            await _run_other_hosts()
            claimed += await super().claim_ownership([item], **options)
        return claimed


async def _run_other_hosts() -> None:
    """Run the other hosts for a random number of steps."""
    for _ in range(random.randrange(5)):  # noqa: S311
        await asyncio.sleep(0)


class _Group:
    """A group of hosts that share the partitions of one hub."""

    def __init__(self) -> None:
        self.store: Any = cast("Any", _Store)()
        self.hosts: dict[str, FairOwnership] = {}

    def join(self, name: str) -> None:
        self.hosts[name] = FairOwnership(
            cast("Any", _Client()),
            *("group", name, self.store, LEASE, LoadBalancingStrategy.GREEDY, None),
        )

    async def round(self) -> None:
        """Run one balancing round of every host, all at the same time and in random order."""
        hosts = list(self.hosts.values())
        random.shuffle(hosts)
        await asyncio.gather(*(host.claim_ownership() for host in hosts))

    async def shares(self) -> list[int]:
        listed = await self.store.list_ownership("namespace", "hub", "group")
        oldest = time.time() - LEASE
        return sorted(
            Counter(
                item["owner_id"]
                for item in listed
                if item["owner_id"] and item["last_modified_time"] >= oldest
            ).values()
        )

    async def kill(self, name: str) -> None:
        """Kill a host and let its leases expire."""
        del self.hosts[name]
        for item in await InMemoryCheckpointStore.list_ownership(
            self.store, "namespace", "hub", "group"
        ):
            if item["owner_id"] == name:
                item["last_modified_time"] -= LEASE + 1

    async def release(self, name: str) -> None:
        """Stop a host, which releases its partitions."""
        host = self.hosts.pop(name)
        for item in list(host.owned_partitions):
            await host.release_ownership(item["partition_id"])


@pytest.fixture(params=range(20), autouse=True)
def seed(request: pytest.FixtureRequest) -> None:
    random.seed(request.param)


async def test_five_hosts_at_once_have_three_or_four_each_within_three_rounds() -> None:
    group = _Group()
    for number in range(5):
        group.join(f"host{number}")
    for _ in range(3):
        await group.round()
    assert await group.shares() == [3, 3, 3, 3, 4]


async def test_four_late_hosts_get_their_share_within_three_rounds() -> None:
    group = _Group()
    group.join("first")
    await group.round()
    assert await group.shares() == [16]
    for number in range(4):
        group.join(f"late{number}")
    for _ in range(3):
        await group.round()
    assert await group.shares() == [3, 3, 3, 3, 4]


async def test_six_hosts_have_at_most_three_each() -> None:
    """The SDK's own algorithm stops at 2, 2, 2, 2, 2, 6 when one host starts first."""
    group = _Group()
    group.join("first")
    await group.round()
    for number in range(5):
        group.join(f"late{number}")
    for _ in range(3):
        await group.round()
    assert await group.shares() == [2, 2, 3, 3, 3, 3]


@pytest.mark.parametrize("leave", [_Group.kill, _Group.release])
async def test_partitions_of_an_ended_host_are_claimed_in_the_next_round(leave: Any) -> None:
    group = _Group()
    for number in range(5):
        group.join(f"host{number}")
    for _ in range(3):
        await group.round()
    await leave(group, "host2")
    await group.round()
    assert await group.shares() == [4, 4, 4, 4]


async def test_balanced_partitions_do_not_move() -> None:
    group = _Group()
    for number in range(5):
        group.join(f"host{number}")
    for _ in range(3):
        await group.round()
    before = {name: sorted(await host.claim_ownership()) for name, host in group.hosts.items()}
    for _ in range(5):
        await group.round()
    after = {name: sorted(await host.claim_ownership()) for name, host in group.hosts.items()}
    assert after == before


async def test_a_paused_host_does_not_take_lost_partitions_back_at_once() -> None:
    """The round that detects the loss does not claim them, so that the SDK reopens them later."""
    group = _Group()
    group.join("paused")
    await group.round()
    paused = group.hosts["paused"]
    # Copied, because the host's memory must not share the store's objects.
    paused.owned_partitions = [dict(item) for item in paused.owned_partitions]
    await group.kill("paused")
    group.join("other")
    await group.round()
    group.hosts["paused"] = paused
    before = {item["partition_id"] for item in paused.owned_partitions}
    assert before.isdisjoint(await paused.claim_ownership())
    for _ in range(3):
        await group.round()
    assert await group.shares() == [8, 8]


async def test_ownership_of_a_partition_that_is_gone_is_not_claimed() -> None:
    """A hub that was recreated with fewer partitions leaves blobs of its earlier partitions."""
    group = _Group()
    gone = {
        "fully_qualified_namespace": "namespace",
        "eventhub_name": "hub",
        "consumer_group": "group",
    }
    await group.store.claim_ownership(
        [{**gone, "partition_id": str(number), "owner_id": ""} for number in range(16, 32)]
    )
    group.join("a")
    assert sorted(await group.hosts["a"].claim_ownership(), key=int) == PARTITIONS


async def test_new_partitions_of_a_grown_hub_are_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK asks for the partitions once, so that a running host would never receive them."""
    group = _Group()
    for name in ("a", "b"):
        group.join(name)
    for _ in range(3):
        await group.round()
    monkeypatch.setattr(module, "PARTITIONS_SECONDS", 0.0)
    monkeypatch.setattr(sys.modules[__name__], "PARTITIONS", [str(n) for n in range(32)])
    for _ in range(3):
        await group.round()
    assert await group.shares() == [16, 16]

"""A switch to a replica of Redis: events that survive, are redelivered or are lost.

Each case is a row of docs/guarantees.md. The replica of a cut link lags: it has no later write.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.storage.blob.aio import ContainerClient
from redis.asyncio import Redis

from processing.errors import ParkedEventsLostError, StorageUnavailableError
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import ParkedEvent, position_of
from processing.parking.mark_blobs import MarkBlobs
from processing.parking.partition_marks import PartitionMarks
from processing.parking.redis import RedisParkingStore
from processing.parking.store import Claim
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark
from tests.support.own_redis import Server
from tests.support.patience import HANG_SECONDS
from tests.support.processing.events import IDENTITY, SOURCE, event


class App:
    """An instance of the app that uses one Redis server."""

    def __init__(self, client: Redis, blobs: MarkBlobs, replicas: int) -> None:
        self.progress = RedisProgressStore(client, ttl_seconds=600)
        self.parking = RedisParkingStore(
            client,
            most=1000,
            ttl_seconds=600,
            identity=IDENTITY,
            replicas=replicas,
            confirm_milliseconds=200,
        )
        self.marks = PartitionMarks(blobs, self.parking)

    async def claim(self) -> Claim:
        claim = await self.parking.claim(SOURCE, ["k23", "k24"])
        await self.marks.check(SOURCE, claim)
        return claim

    async def defer(self, claim: Claim, number: int) -> None:
        """Defer an event; then the event counts as finished, as in a batch."""
        each = event(number, f"k{number}")
        writing = await self.marks.writing_as(SOURCE, claim, each)
        await self.parking.defer(
            writing,
            SOURCE,
            each.key,
            (position_of(each), ParkedEvent(each).to_json()),
            deferral=Deferral(DeferralReason.DEPENDENCY),
            pause_seconds=1.0,
        )
        finished = [Mark(each.sequence_number, each.enqueued_ms)]
        await self.progress.commit(SOURCE, claim.owner, None, finished)


@dataclass
class Pair:
    """A Redis server with one replica, and the app's storage."""

    primary: Server
    replica: Server
    clients: tuple[Redis, Redis]
    blobs: MarkBlobs

    def app(self, replicas: int) -> App:
        """Return an instance that uses the primary."""
        return App(self.clients[0], self.blobs, replicas)

    async def cut(self) -> None:
        """Cut the link to the replica, which keeps its data."""
        await self.clients[1].replicaof("127.0.0.1", "1")

    async def switch(self, replicas: int = 0) -> App:
        """Kill the primary, promote the replica, and return an instance that uses it."""
        self.primary.send(signal.SIGKILL)
        await self.clients[1].replicaof("NO", "ONE")
        return App(self.clients[1], self.blobs, replicas)


@pytest.fixture
async def pair(azurite: str, tmp_path: Path) -> AsyncIterator[Pair]:
    servers: list[Server] = []
    async with AsyncExitStack() as opened:
        clients: list[Redis] = []
        for name in ("primary", "replica"):
            (tmp_path / name).mkdir()
            server = Server(tmp_path / name)
            server.start()
            opened.callback(_kill, server)
            servers.append(server)
            clients.append(await opened.enter_async_context(Redis.from_url(server.url)))
        await clients[0].config_set("repl-diskless-sync-delay", "0")
        await clients[1].replicaof("127.0.0.1", str(servers[0].port))
        async with asyncio.timeout(HANG_SECONDS):
            while (await clients[1].info("replication"))["master_link_status"] != "up":
                await asyncio.sleep(0.02)
        container = ContainerClient.from_connection_string(azurite, f"marks-{secrets.token_hex(4)}")
        await opened.enter_async_context(container)
        yield Pair(servers[0], servers[1], (clients[0], clients[1]), MarkBlobs(container))


def _kill(server: Server) -> None:
    """End a server that may refuse SIGTERM while it writes its first log after a full sync."""
    server.send(signal.SIGKILL)
    server.stop()


async def finished(app: App) -> set[int]:
    return set((await app.progress.load(SOURCE)).finished)


async def test_confirmed_deferral_survives_the_switch(pair: Pair) -> None:
    """The replica has the list, the token and the finished events before it."""
    before = pair.app(replicas=1)
    assert await before.parking.confirm()
    claim = await before.claim()
    for number in (23, 24):
        await before.defer(claim, number)
    after = await pair.switch()
    claim = await after.claim()
    assert (claim.events, set(claim.parked)) == (2, {"k23", "k24"})


async def test_unconfirmed_deferral_is_redelivered_after_the_switch(pair: Pair) -> None:
    """The write raises, so the event is not finished and no checkpoint passes it."""
    before = pair.app(replicas=1)
    claim = await before.claim()
    await before.defer(claim, 23)
    await pair.cut()
    for _ in range(2):  # a repeat finds the entry in the list, and waits again
        with pytest.raises(StorageUnavailableError, match="0 of 1 replicas confirmed"):
            await before.defer(claim, 24)
    after = await pair.switch()
    claim = await after.claim()
    assert (claim.events, set(claim.parked)) == (1, {"k23"})
    assert 24 not in await finished(after)
    await after.defer(claim, 24)
    assert (await after.claim()).events == 2


async def test_unconfirmed_token_makes_no_mark(pair: Pair) -> None:
    """Otherwise the switch would be reported as a loss, although no event was parked."""
    before = pair.app(replicas=1)
    claim = await before.claim()
    await pair.cut()
    with pytest.raises(StorageUnavailableError, match="0 of 1 replicas confirmed"):
        await before.defer(claim, 23)
    assert await pair.blobs.read(SOURCE) is None
    after = await pair.switch()
    await after.defer(await after.claim(), 23)
    assert (await after.claim()).events == 1


async def test_lost_token_is_reported_after_a_switch_without_confirmation(pair: Pair) -> None:
    """The deferral is lost; the mark names the position for the rewind."""
    before = pair.app(replicas=0)
    claim = await before.claim()
    await pair.cut()
    await before.defer(claim, 23)
    after = await pair.switch()
    with pytest.raises(ParkedEventsLostError, match=r"rewind --to-mark.*begin at event 23 "):
        await after.claim()


async def test_lost_entry_is_not_reported_after_a_switch_without_confirmation(
    pair: Pair,
) -> None:
    """The token was on the replica, so the switch looks harmless: only WAIT prevents this loss."""
    before = pair.app(replicas=0)
    claim = await before.claim()
    await before.defer(claim, 23)
    assert await pair.clients[0].wait(1, int(HANG_SECONDS * 1000)) == 1
    await pair.cut()
    await before.defer(claim, 24)
    assert await finished(before) == {23, 24}
    after = await pair.switch()
    claim = await after.claim()
    assert (claim.events, set(claim.parked)) == (1, {"k23"})
    assert await finished(after) == {23}, "the host's checkpoint may have passed event 24"

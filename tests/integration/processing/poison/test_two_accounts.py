"""An app that gets a storage account of its own, on real Redis and two real accounts.

What the app stored in the host's account is found, replayed and removed there; new data goes to the
app's account.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue.aio import QueueClient

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from processing.errors import ParkedEventsLostError, PoisonEventError
from processing.event import Event
from processing.identity import Source
from processing.monitoring.poison_count import PoisonCount
from processing.operations import open_marks, open_partitions, open_poison, open_redrive
from processing.parking.batch import Parking
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import ParkedEvent, position_of
from processing.parking.marks import drop_mark
from processing.partitions.checkpoints import Checkpoint
from processing.poison.claim_checks import BodyState, states
from processing.poison.queue import Received
from processing.wiring import Wiring
from tests.integration.processing.poison.test_storage_queue import poisoned
from tests.support.processing.browsing import browse

HANDLED: list[int] = []
BROKEN: set[int] = set()


async def handle(event: Event) -> None:
    """Handle an event that is not broken."""
    if event.sequence_number in BROKEN:
        raise PoisonEventError("broken")
    HANDLED.append(len(event.body))


@dataclass
class Account:
    """The queue and the container of the app in one account."""

    queue: QueueClient
    container: ContainerClient

    async def messages(self) -> int:
        return (await self.queue.get_queue_properties()).approximate_message_count or 0

    async def blobs(self) -> list[str]:
        if not await self.container.exists():
            return []
        return [each async for each in self.container.list_blob_names()]


@dataclass
class Site:
    """The settings of the app before and after it got an account of its own."""

    before: dict[str, str]
    after: dict[str, str]
    host: Account
    app: Account
    opened: AsyncExitStack = field(default_factory=AsyncExitStack)

    def wiring(self, settings: dict[str, str]) -> Wiring:
        return Wiring(settings, self.opened)

    def event(self, number: int, size: int = 2) -> Event:
        source = Source(self.wiring(self.before).connections.identity, "0")
        body, enqueued_ms = bytes(size), 1_700_000_000_000 + number
        return Event(body, "k", {}, source, number, str(number), enqueued_ms)


@pytest.fixture
async def site(redis_url: str, azurite: str, second_account: str) -> AsyncIterator[Site]:
    HANDLED.clear()
    BROKEN.clear()
    name = f"poison-{secrets.token_hex(4)}"
    before = {
        "AzureWebJobsStorage": azurite,
        "EventHubConnection": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=k",
        "EVENT_HUB_NAME": "events",
        "EVENT_HANDLER": f"{__name__}:handle",
        "POISON_QUEUE": name,
        "PROCESSING_POISON_ORDERING": "skip",
        "REDIS_URL": redis_url,
    }
    async with AsyncExitStack() as opened:

        async def account(connection: str) -> Account:
            return Account(
                await opened.enter_async_context(
                    QueueClient.from_connection_string(connection, name)
                ),
                await opened.enter_async_context(
                    ContainerClient.from_connection_string(connection, name)
                ),
            )

        yield Site(
            before,
            before | {"BreakwaterStorage": second_account},
            await account(azurite),
            await account(second_account),
            opened,
        )


async def test_messages_of_both_accounts_are_listed_and_redriven(site: Site) -> None:
    """A message that fails again stays in its queue, and is found there by the next redrive."""
    earlier = await site.wiring(site.before).poison()
    for each in (site.event(1), site.event(2, 100_000)):
        await earlier.put(poisoned(each))
    await (await site.wiring(site.after).poison()).put(poisoned(site.event(3, 100_000)))
    assert (await site.host.messages(), await site.app.messages()) == (2, 1)
    assert (len(await site.host.blobs()), len(await site.app.blobs())) == (1, 1)

    async with open_poison(site.after) as storage:
        compared = await storage.comparison.ensure(fresh=True)
        assert (compared.count, compared.state.entries, compared.not_indexed) == (3, 3, 0)
        entries = (await storage.index.page()).entries
        assert [each.where for each in entries] == ["host", "host", ""]
        for entry in entries:
            taken = await storage.reader.take(entry)
            assert isinstance(taken, Received)
            await storage.reader.put_back(taken)
        found = await browse(storage.reader)
        bodies = await states(found, storage.claims, storage.own)
    assert [message.sequence_number for message in found] == [1, 2, 3]
    assert bodies == [BodyState.QUEUE, BodyState.BLOB, BodyState.BLOB]
    breaker = CircuitBreaker(MemoryCircuitStore(), BreakerSettings())
    async with open_partitions(site.after, breaker=breaker, lease_seconds=60) as partitions:
        assert await partitions.poison_count() == PoisonCount(3)

    BROKEN.update({1, 2})
    async with open_redrive(site.after) as redrive:
        summary = await redrive.run()
    assert (summary.replayed, len(summary.failed), HANDLED) == (1, 2, [100_000])
    assert (await site.host.messages(), await site.app.messages()) == (2, 0)
    BROKEN.clear()
    async with open_redrive(site.after) as redrive:
        summary = await redrive.run()
    assert (summary.replayed, summary.failed) == (2, ())
    assert HANDLED == [100_000, 2, 100_000]
    assert (await site.host.messages(), await site.app.messages()) == (0, 0)
    assert (await site.host.blobs(), await site.app.blobs()) == ([], [])


async def test_mark_in_the_hosts_account_shows_that_redis_was_emptied(site: Site) -> None:
    """The mark is dropped where it is, and the record is in the app's account."""
    await _defer(await site.wiring(site.before).parking(), site.event(5))
    (mark,) = await site.host.blobs()
    redis = site.wiring(site.after).redis
    await redis.flushall()
    parking = await site.wiring(site.after).parking()
    source = site.event(5).source
    with pytest.raises(ParkedEventsLostError, match=r"They begin at event 5 "):
        await parking.claim(source)
    async with open_marks(site.after) as app:
        oldest = await drop_mark(app.marks, app.parking, source, by="ann", reason="sent again")
    assert oldest is not None
    assert oldest.sequence_number == 5
    await parking.claim(source)
    assert await site.host.blobs() == []
    (record,) = await site.app.blobs()
    assert record.startswith("marks/dropped/")
    assert not mark.startswith("marks/dropped/")


async def test_next_mark_goes_to_the_apps_account(site: Site) -> None:
    """Its bound still includes the events that were parked before."""
    await _defer(await site.wiring(site.before).parking(), site.event(5))
    parking = await site.wiring(site.after).parking()
    await _defer(parking, site.event(3))
    assert await site.host.blobs() == []
    async with open_marks(site.after) as app:
        stored = await app.marks.read(site.event(5).source)
    assert stored is not None
    assert stored.mark.oldest.sequence_number == 3
    assert len(await site.app.blobs()) == 1


async def test_checkpoints_stay_in_the_hosts_account(site: Site) -> None:
    """The host reads them there, and knows of no other account."""
    checkpoints = await site.wiring(site.after).checkpoints()
    await checkpoints.write("0", Checkpoint(7, "7"))
    before = await site.wiring(site.before).checkpoints()
    found = await before.read("0")
    assert found is not None
    assert found.sequence_number == 7
    app = site.wiring({**site.before, "AzureWebJobsStorage": site.after["BreakwaterStorage"]})
    assert await (await app.checkpoints()).read("0") is None


async def _defer(parking: Parking, event: Event) -> None:
    """Defer an event as its partition's owner does, with a mark."""
    assert parking.marks is not None
    claim = await parking.store.claim(event.source)
    await parking.marks.check(event.source, claim)
    writing = await parking.marks.writing_as(event.source, claim, event)
    await parking.store.defer(
        *(writing, event.source, event.key, (position_of(event), ParkedEvent(event).to_json())),
        deferral=Deferral(DeferralReason.DEPENDENCY),
        pause_seconds=600.0,
    )

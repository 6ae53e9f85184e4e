"""Owner levels and the limit of five receivers, with stock clients."""

from __future__ import annotations

from contextlib import AsyncExitStack

from azure.eventhub.exceptions import ConnectionLostError, EventHubError

from local.event_hubs import EventHubsServer
from tests.support.event_hubs.client_helpers import HUB, Reader, append, bodies, until


async def test_a_higher_owner_level_takes_over(server: EventHubsServer) -> None:
    """The old owner gets `link:stolen`; the new owner receives events."""
    append(server, [b"a"])
    async with Reader(server, owner_level=1) as first:
        await first.receive(1)
        async with Reader(server, owner_level=2) as second:
            assert bodies(await second.receive(1)) == [b"a"]
            error = await first.failure()
            assert isinstance(error, ConnectionLostError)
            assert "amqp:link:stolen" in str(error)
            assert "higher epoch of '2'" in str(error)
            append(server, [b"b"])
            assert bodies(await second.receive(1)) == [b"b"]


async def test_an_equal_owner_level_takes_over(server: EventHubsServer) -> None:
    """A restarted host gets its partitions back in this way."""
    async with Reader(server, owner_level=0) as first:
        await until(lambda: first.attached)
        async with Reader(server, owner_level=0) as second:
            assert "amqp:link:stolen" in str(await first.failure())
            append(server, [b"a"])
            assert bodies(await second.receive(1)) == [b"a"]


async def test_a_lower_owner_level_is_refused(server: EventHubsServer) -> None:
    """The owner is not affected."""
    async with Reader(server, owner_level=5) as owner:
        await until(lambda: owner.attached)
        async with Reader(server, owner_level=4) as lower:
            assert "higher epoch '5' already exists" in str(await lower.failure())
        append(server, [b"a"])
        assert bodies(await owner.receive(1)) == [b"a"]


async def test_without_an_owner_level_a_receiver_is_refused_by_an_owner(
    server: EventHubsServer,
) -> None:
    async with Reader(server, owner_level=0) as owner:
        await until(lambda: owner.attached)
        async with Reader(server) as plain:
            error = await plain.failure()
            assert "amqp:link:stolen" in str(error)
            assert "non-epoch receiver is not allowed" in str(error)
        append(server, [b"a"])
        assert bodies(await owner.receive(1)) == [b"a"]


async def test_an_owner_detaches_all_receivers_without_a_level(server: EventHubsServer) -> None:
    async with Reader(server) as one, Reader(server) as two:
        await until(lambda: one.attached and two.attached)
        async with Reader(server, owner_level=0) as owner:
            assert "amqp:link:stolen" in str(await one.failure())
            assert "amqp:link:stolen" in str(await two.failure())
            append(server, [b"a"])
            assert bodies(await owner.receive(1)) == [b"a"]


async def test_owner_level_ends_with_its_receiver(server: EventHubsServer) -> None:
    append(server, [b"a"])
    async with Reader(server, owner_level=9) as owner:
        await owner.receive(1)
    async with Reader(server) as plain:
        assert bodies(await plain.receive(1)) == [b"a"]


async def test_the_sixth_receiver_is_refused_and_the_five_stay(server: EventHubsServer) -> None:
    """Receivers of another partition or group do not count."""
    async with AsyncExitStack() as stack:
        others = [Reader(server, "1"), Reader(server, "0", "other")]
        five = [Reader(server) for _ in range(5)]
        for reader in others + five:
            await stack.enter_async_context(reader)
        await until(lambda: all(reader.attached for reader in others + five))
        async with Reader(server) as sixth:
            error = await sixth.failure()
            assert isinstance(error, EventHubError)
            assert "amqp:resource-limit-exceeded" in str(error)
            assert "which is 5" in str(error)
        append(server, [b"a"])
        for reader in five:
            assert bodies(await reader.receive(1)) == [b"a"]


async def test_cut_connection_frees_its_partition(server: EventHubsServer) -> None:
    """The endpoint removes the receivers of a cut connection at once."""
    async with Reader(server, owner_level=3) as lost:
        await until(lambda: lost.attached)
        server.faults.drop_connections(HUB)
        await until(lambda: not server.namespace.hub(HUB).receivers(0, "$Default"))
        async with Reader(server, owner_level=1) as next_one:
            append(server, [b"a"])
            assert bodies(await next_one.receive(1)) == [b"a"]

"""The behaviour that every form of the stock client must have.

The forms are asynchronous, synchronous, over WebSocket, and on the older uamqp transport if it is
installed. The other files test the details of single forms.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.eventhub import EventData, TransportType
from azure.eventhub._utils import get_last_enqueued_event_properties
from azure.eventhub.exceptions import (
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    EventDataError,
    EventDataSendError,
    EventHubError,
)

from local.event_hubs import EventHubsServer
from local.event_hubs.__main__ import build_server, parse_arguments
from local.event_hubs.hub.partitioner import partition_for_key
from tests.support.event_hubs.client_helpers import HUB, PATIENCE, append, bodies, hub, until
from tests.support.event_hubs.clients import Clients, Form, parameters, self_signed

KEY = "c2VjcmV0"

pytestmark = [
    # The SDK's WebSocket without TLS passes a deprecated argument to aiohttp.
    pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:uAMQP legacy support:DeprecationWarning"),
]


@pytest.fixture(params=parameters())
async def clients(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Clients]:
    """Provide clients of each form, with an endpoint of 4 partitions and a key."""
    form: Form = request.param
    certificate = tmp_path / "certificate.pem"
    tls = self_signed(certificate) if form.tls else None
    async with EventHubsServer(hub(4, ["other"]), tls=tls, keys={"root": KEY}) as server:
        yield Clients(form, server, certificate)


async def test_publishing_in_every_way(clients: Clients) -> None:
    """An event, a list or a batch can be sent to any partition, to one partition, or by key."""
    async with clients.producer() as producer:
        await producer.call("send_event", EventData(b"1"), partition_id="2")
        await producer.call("send_batch", [EventData(b"2"), EventData(b"3")], partition_id="2")
        await producer.send_batch([b"4", b"5"], partition_id="2")
        await producer.send_batch([b"6", b"7"], partition_key="kö")
        await producer.call("send_event", EventData(b"8"), partition_key="kö")
        before = [len(log) for log in clients.server.namespace.hub(HUB).partitions]
        await producer.call("send_event", EventData(b"9"))
        after = [len(log) for log in clients.server.namespace.hub(HUB).partitions]
        assert sum(after) == sum(before) + 1
        assert await producer.call("get_partition_ids") == ["0", "1", "2", "3"]
        assert (await producer.call("get_eventhub_properties"))["eventhub_name"] == HUB
        properties = await producer.call("get_partition_properties", "2")
    assert properties["last_enqueued_sequence_number"] >= 4
    assert bodies(await clients.receive(5, "2")) == [b"1", b"2", b"3", b"4", b"5"]
    keyed = partition_for_key("kö".encode(), 4)
    events = await clients.receive(before[keyed], str(keyed))
    assert bodies(events)[-3:] == [b"6", b"7", b"8"]
    assert {event.partition_key for event in events[-3:]} == {"kö".encode()}


async def test_publishing_in_buffered_mode(clients: Clients) -> None:
    sent: list[Any] = []
    failed: list[Any] = []

    def on_success(events: list[EventData], partition: str | None) -> None:
        del partition
        sent.extend(events)

    def on_error(events: Any, partition: Any, error: Any) -> None:
        del events, partition
        failed.append(error)

    async def on_success_async(events: list[EventData], partition: str | None) -> None:
        on_success(events, partition)

    async def on_error_async(events: Any, partition: Any, error: Any) -> None:
        on_error(events, partition, error)

    synchronous = clients.form.synchronous
    options = {
        "buffered_mode": True,
        "max_wait_time": 0.05,
        "on_success": on_success if synchronous else on_success_async,
        "on_error": on_error if synchronous else on_error_async,
    }
    async with clients.producer(**options) as producer:
        for number in range(30):
            key = {"partition_key": f"key{number % 5}"} if number % 2 else {}
            await producer.call("send_event", EventData(b"%d" % number), **key)
        await producer.call("flush")
    assert failed == []
    logs = clients.server.namespace.hub(HUB).partitions
    assert len(sent) == sum(len(log) for log in logs) == 30


async def test_receiving_from_all_partitions(clients: Clients) -> None:
    """`receive_batch` without a partition id receives each partition in order."""
    for partition in range(4):
        append(clients.server, [b"%d" % number for number in range(10)], partition)
    seen: dict[str, list[bytes]] = {}
    done = threading.Event()

    def on_batch(context: Any, events: list[EventData]) -> None:
        seen.setdefault(context.partition_id, []).extend(bodies(events))
        if sum(map(len, seen.values())) >= 40:
            done.set()

    async def on_batch_async(context: Any, events: list[EventData]) -> None:
        on_batch(context, events)

    consumer = clients.consumer()
    where = {"starting_position": "-1", "max_wait_time": 0.05}
    if clients.form.synchronous:
        receiving = asyncio.create_task(
            asyncio.to_thread(consumer.receive_batch, on_batch, **where)
        )
        await until(done.is_set)
        await asyncio.to_thread(consumer.close)
        await asyncio.wait_for(receiving, PATIENCE)
    else:
        receiving = asyncio.create_task(consumer.receive_batch(on_batch_async, **where))
        await until(done.is_set)
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        await consumer.close()
    assert seen == {str(partition): [b"%d" % n for n in range(10)] for partition in range(4)}


async def test_every_starting_position(clients: Clients) -> None:
    """A receiver may start at begin, end, offset, sequence number or time, before or after it."""
    append(clients.server, [b"0", b"1"])
    await asyncio.sleep(0.01)  # so that the third event has a later enqueued time
    append(clients.server, [b"2"])
    await asyncio.sleep(0.01)
    append(clients.server, [b"3"])
    third = (await clients.receive(4))[2]
    assert third.enqueued_time is not None
    cases: list[tuple[Any, bool, bytes]] = [
        ("-1", False, b"0"),
        (third.offset, False, b"3"),
        (third.offset, True, b"2"),
        (2, False, b"3"),
        (2, True, b"2"),
        (third.enqueued_time, False, b"3"),
        (third.enqueued_time, True, b"2"),
        (third.enqueued_time - timedelta(milliseconds=1), False, b"2"),
    ]
    for position, inclusive, expected in cases:
        where = {"position": position, "event_position_inclusive": inclusive}
        assert bodies(await clients.receive(1, **where)) == [expected], (position, inclusive)
    await until(lambda: not _receivers(clients))
    async with clients.reader(position="@latest") as latest:
        await until(lambda: bool(_receivers(clients)))
        append(clients.server, [b"4"])
        assert bodies(await latest.receive(1)) == [b"4"]


NEW, OLD = "newcomer", "present"

EPOCH_RULES = [
    pytest.param(1, 2, OLD, "higher epoch of '2' is created", id="a higher epoch takes over"),
    pytest.param(3, 3, OLD, "higher epoch of '3' is created", id="an equal epoch takes over"),
    pytest.param(5, 4, NEW, "higher epoch '5' already exists", id="a lower epoch is refused"),
    pytest.param(0, None, NEW, "non-epoch receiver is not allowed", id="none against an epoch"),
    pytest.param(None, 0, OLD, "current receiver", id="an epoch detaches those without"),
    pytest.param(None, None, None, "", id="without epochs they share"),
]


@pytest.mark.parametrize(("present", "newcomer", "loser", "text"), EPOCH_RULES)
async def test_epochs(
    clients: Clients, present: int | None, newcomer: int | None, loser: str | None, text: str
) -> None:
    """The refused or displaced receiver gets `ConnectionLostError`; the other one receives."""
    async with AsyncExitStack() as stack:
        readers = {}
        for name, epoch in ((OLD, present), (NEW, newcomer)):
            options: dict[str, Any] = {} if epoch is None else {"owner_level": epoch}
            readers[name] = await stack.enter_async_context(clients.reader(**options))
            if name == OLD:
                await until(lambda: len(_receivers(clients)) == 1)
            elif loser is None:
                await until(lambda: len(_receivers(clients)) == 2)
        if loser is not None:
            error = await readers.pop(loser).failure()
            assert isinstance(error, ConnectionLostError)
            assert text in str(error)
            assert "link:stolen" in str(error) or clients.form.name == "uamqp"
        append(clients.server, [b"a"])
        for reader in readers.values():
            assert bodies(await reader.receive(1)) == [b"a"]


def _receivers(clients: Clients) -> list[Any]:
    return clients.server.namespace.hub(HUB).receivers(0, "$Default")


async def test_the_sixth_receiver_is_refused(clients: Clients) -> None:
    """The limit of five receivers counts per partition and consumer group."""
    async with AsyncExitStack() as stack:
        for group in ["$Default"] * 5 + ["other"]:
            await stack.enter_async_context(clients.reader(group=group))
        await until(lambda: len(_receivers(clients)) == 5)
        async with clients.reader() as sixth:
            error = await sixth.failure()
    assert isinstance(error, EventHubError)
    assert "resource-limit-exceeded" in str(error) or clients.form.name == "uamqp"
    assert "which is 5" in str(error)


async def test_last_enqueued_event_properties(clients: Clients) -> None:
    append(clients.server, [b"a", b"b", b"c"])
    async with clients.reader(track_last_enqueued_event_properties=True) as reader:
        await reader.receive(3)
        found = get_last_enqueued_event_properties(reader._consumer._last_received_event)
    log = clients.server.namespace.hub(HUB).partitions[0]
    assert found is not None
    assert found["sequence_number"] == 2
    assert found["offset"] == str(log.last_offset)
    assert found["enqueued_time"].timestamp() * 1000 == log.last_enqueued_ms


async def test_too_large_events_are_refused(clients: Clients) -> None:
    """The client refuses an event that does not fit a batch; the endpoint refuses a large send."""
    async with clients.producer() as producer:
        batch = await producer.call("create_batch", partition_id="0")
        assert batch.max_size_in_bytes == 1024 * 1024
        with pytest.raises(ValueError, match="size limit"):
            batch.add(EventData(b"x" * (1024 * 1024)))
        with pytest.raises((EventHubError, ValueError)):
            await producer.call("send_event", EventData(b"x" * (1024 * 1024 + 1)))
        batch.add(EventData(b"after"))
        await producer.call("send_batch", batch)
    assert bodies(await clients.receive(1)) == [b"after"]


async def test_a_wrong_key_is_an_authentication_error(clients: Clients) -> None:
    wrong = clients.server.connection_string.replace(KEY, "d3Jvbmc=")
    async with clients.producer(connection_string=wrong) as producer:
        with pytest.raises(AuthenticationError):
            await producer.call("send_event", EventData(b"x"))
        with pytest.raises(EventHubError):
            await producer.call("get_partition_ids")
    assert not any(map(len, clients.server.namespace.hub(HUB).partitions))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"partition": "4"}, "between 0 and 3"),
        ({"partition": "x"}, "between 0 and 3"),
        ({"group": "nosuch"}, "could not be found"),
    ],
)
async def test_receiving_from_a_missing_entity_fails(
    clients: Clients, where: dict[str, str], message: str
) -> None:
    async with clients.reader(**where) as reader:
        error = await reader.failure()
    assert isinstance(error, ConnectError | ConnectionLostError | AuthenticationError)
    assert message in str(error)


async def test_publishing_to_a_missing_entity_fails(clients: Clients) -> None:
    # The SDK's uamqp transport raises AttributeError while it handles a management error.
    errors = (EventHubError, AttributeError) if clients.form.name == "uamqp" else EventHubError
    async with clients.producer() as producer:
        with pytest.raises(EventHubError, match=r"between 0 and 3|Invalid partition 4"):
            await producer.call("send_event", EventData(b"x"), partition_id="4")
        with pytest.raises(errors):
            await producer.call("get_partition_properties", "4")
    async with clients.producer(eventhub_name="nosuch") as producer:
        with pytest.raises(errors):
            await producer.call("get_eventhub_properties")
        with pytest.raises(errors, match=r"could not be found|404|_close_handler"):
            await producer.call("send_event", EventData(b"x"))


async def test_a_busy_hub_raises_a_throttling_error(clients: Clients) -> None:
    """The client raises the throttling error after its last retry."""
    async with clients.producer() as producer:
        await producer.call("send_event", EventData(b"0"), partition_id="0")
        clients.server.faults.throttle(HUB, 60)
        with pytest.raises((EventDataSendError, EventDataError), match="being throttled"):
            await producer.call("send_event", EventData(b"1"), partition_id="0")
        clients.server.faults.throttle(HUB, 0)
        await producer.call("send_event", EventData(b"2"), partition_id="0")
    assert bodies(await clients.receive(2)) == [b"0", b"2"]


async def test_over_tls(tmp_path: Path) -> None:
    """With TLS the connection string does not name the emulator, as for the service."""
    form = Form("tls", tls=True, options={"transport_type": TransportType.Amqp})
    certificate = tmp_path / "certificate.pem"
    arguments = ["--hub", HUB, "--port", "0", "--tls", str(certificate)]
    self_signed(certificate)
    async with build_server(parse_arguments(arguments), {}) as server:
        assert "UseDevelopmentEmulator" not in server.connection_string
        clients = Clients(form, server, certificate)
        async with clients.producer() as producer:
            await producer.send_batch([b"a", b"b"], partition_id="0")
        assert bodies(await clients.receive(2)) == [b"a", b"b"]

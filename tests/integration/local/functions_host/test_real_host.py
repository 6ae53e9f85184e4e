"""The local host hands over what Microsoft's host handed over, field by field."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import proton
import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient
from azure.eventhub.amqp import AmqpAnnotatedMessage
from azure.storage.blob.aio import ContainerClient
from proton.utils import BlockingConnection

from breaker.configuration.host_options import EventHubsOptions
from local.event_hubs import EventHubsServer
from local.functions_host.triggers.event_hubs.balancing import Balancing
from local.functions_host.triggers.event_hubs.checkpoint import CONTAINER
from local.functions_host.triggers.event_hubs.extension import DEFAULT_EXTENSION, Extension
from local.functions_host.triggers.event_hubs.listener import EventHubsListener
from local.functions_host.triggers.event_hubs.source import EventHubsSource
from local.functions_host.worker.execution import Executor
from local.functions_host.worker.functions import Function
from local.functions_host.worker.retry_policy import RetryPolicy
from local.functions_host.worker.worker import Datum, Result
from tests.support.event_hubs.client_helpers import HUB, hub, producer
from tests.support.real_host import Number, captured, differences, parsed, sample

PATIENCE = 30.0
PARTITION = "1"  # the partition of the key "eve" in a hub of 4 partitions
BINDING = {
    "type": "eventHubTrigger",
    "name": "events",
    "cardinality": "many",
    "dataType": "BINARY",
}


@dataclass
class Capture:
    """A worker that records what the host hands over."""

    batches: list[dict[str, Any]] = field(default_factory=list)

    async def invoke(
        self,
        function: Function,
        invocation_id: str,
        inputs: list[tuple[str, Datum]],
        metadata: dict[str, Datum],
        *,
        retry: RetryPolicy | None = None,
        retry_count: int = 0,
    ) -> Result:
        self.batches.append(captured(inputs[0][1], metadata))
        return Result(ok=True, value=None, outputs={})

    async def wait(self, count: int) -> None:
        """Wait for a number of batches."""
        await until(lambda: len(self.batches) >= count)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def server() -> AsyncIterator[EventHubsServer]:
    async with EventHubsServer(hub(4)) as server:
        yield server


@dataclass
class Host:
    """The Event Hubs trigger of a local host, with a hub and storage."""

    server: EventHubsServer
    storage: str
    worker: Capture = field(default_factory=Capture)

    def __post_init__(self) -> None:
        self.executor = Executor(self.worker)

    @asynccontextmanager
    async def listening(
        self,
        *,
        event_hub: str = HUB,
        group: str = "$Default",
        extension: Extension = DEFAULT_EXTENSION,
        least: int = 1,
        retry: RetryPolicy | None = None,
    ) -> AsyncIterator[EventHubsListener]:
        """Run a listener; a batch has at least `least` events."""
        listener = EventHubsListener(
            Function("process_events", "id", BINDING, (), retry),
            EventHubsSource(self.server.connection_string, event_hub, group, self.storage),
            EventHubsOptions(min_event_batch_size=least),
            self.executor,
            Balancing(0.1, 10.0),
            extension=extension,
        )
        await listener.start()
        try:
            yield listener
        finally:
            await listener.stop(5.0)

    async def checkpoint(self, partition: str = PARTITION) -> dict[str, str] | None:
        """Return the metadata of the partition's checkpoint blob, or None."""
        found = await self.blobs()
        return found.get(f"127.0.0.1:{self.server.port}/events/$default/checkpoint/{partition}")

    async def blobs(self) -> dict[str, dict[str, str]]:
        """Return the metadata of the blobs of this server's hubs, by name."""
        async with ContainerClient.from_connection_string(self.storage, CONTAINER) as container:
            return {
                blob.name: dict(blob.metadata or {})
                async for blob in container.list_blobs(
                    f"127.0.0.1:{self.server.port}/", include=["metadata"]
                )
            }


@pytest.fixture
def host(server: EventHubsServer, azurite: str) -> Host:
    return Host(server, azurite)


def price() -> proton.decimal128:
    """Return 12.50 as AMQP's decimal128, with a binary integer as its significand."""
    return proton.decimal128(((6176 - 2) << 113 | 1250).to_bytes(16))


async def send_odd(server: EventHubsServer, **message: Any) -> None:
    """Send a message that the stock client cannot send."""

    def send() -> None:
        connection = BlockingConnection(
            f"127.0.0.1:{server.port}", allowed_mechs="ANONYMOUS", timeout=PATIENCE
        )
        try:
            sender = connection.create_sender(f"{HUB}/Partitions/{PARTITION}")
            sender.send(proton.Message(inferred=True, **message))
        finally:
            connection.close()

    await asyncio.to_thread(send)


async def send(client: EventHubProducerClient, *events: EventData) -> None:
    batch = await client.create_batch(partition_id=PARTITION)
    for event in events:
        batch.add(event)
    await client.send_batch(batch)


async def send_the_samples_events(server: EventHubsServer) -> None:
    """Send the events of the sample's second batch."""
    event = EventData(b'{"amount": 1}')
    event.message_id, event.correlation_id = "msg-1", "corr-1"
    event.content_type = "application/json"
    event.properties = {
        "counter": 1,
        "text": "hello",
        "flag": True,
        "ratio": 1.5,
        "none": None,
        "data": b"\x00\xff\xfe",
        "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "id": UUID(int=5),
        "nan": float("nan"),
    }
    keyed = EventData(b"keyed eve")
    keyed.properties = {"n": 1}
    async with producer(server) as client:
        await send(
            client, event, EventData(b""), EventData(b"\xff\xfe\x00"), EventData(b"no properties")
        )
        await send_odd(
            server,
            body=b"device",
            annotations={
                proton.symbol("iothub-connection-device-id"): "dev1",
                proton.symbol("x-opt-kafka"): proton.int32(1),
            },
            properties={"price": price(), "k": "v"},
        )
        await client.send_batch([keyed], partition_key="eve")


async def test_host_hands_over_what_the_real_host_hands_over(host: Host) -> None:
    """The same events, sent to the local hub, reach the worker as in the sample."""
    first, second = sample()
    await send_odd(
        host.server,
        body=b"x",
        annotations={proton.symbol("iothub-connection-device-id"): "dev1"},
        properties={"price": price()},
    )
    async with host.listening():
        await host.worker.wait(1)
    await send_the_samples_events(host.server)
    async with host.listening(least=6):
        await host.worker.wait(2)
    one, other = host.worker.batches
    assert differences(first, one) == []
    assert differences(second, other) == []


async def test_checkpoint_names_its_writer(host: Host) -> None:
    """The .NET SDK writes the id of the owner beside offset and sequence number."""
    async with producer(host.server) as client:
        await send(client, EventData(b"a"), EventData(b"b"))
    async with host.listening(least=2):
        await host.worker.wait(1)
        async with asyncio.timeout(PATIENCE):
            while (found := await host.checkpoint()) is None:
                await asyncio.sleep(0.01)
        blobs = await host.blobs()
        owner = blobs[f"127.0.0.1:{host.server.port}/events/$default/ownership/{PARTITION}"]
    assert found.keys() == {"offset", "sequencenumber", "clientidentifier"}
    assert found["sequencenumber"] == "1"
    assert found["clientidentifier"] == owner["ownerid"]


async def test_later_extension_adds_the_offset_as_text(host: Host) -> None:
    async with producer(host.server) as client:
        await send(client, EventData(b"a"))
    async with host.listening(extension="6.5.2"):
        await host.worker.wait(1)
    (batch,) = host.worker.batches
    (system,) = parsed(batch, "SystemPropertiesArray")
    assert (system["Offset"], system["OffsetString"]) == (0, "0")
    assert batch["trigger_metadata"]["OffsetStringArray"]["value"] == ["0"]


@pytest.mark.parametrize("body", [{"value_body": {"a": 1}}, {"sequence_body": [[1, "b"]]}])
async def test_value_and_sequence_bodies_are_retried_and_never_reach_the_function(
    host: Host, body: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The extension cannot bind them; under unlimited retries the partition waits."""
    async with producer(host.server) as client:
        await client.send_event(AmqpAnnotatedMessage(**body), partition_id=PARTITION)
    failed = "Exception binding parameter 'events'"
    async with host.listening(retry=RetryPolicy("fixed_delay", -1)):
        await until(lambda: caplog.text.count(failed) >= 3)
        assert host.executor.outstanding_retries == 1
    assert host.worker.batches == []
    assert await host.checkpoint() is None


async def test_partition_with_a_list_among_properties_is_given_up_and_claimed_again(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """The .NET client cannot read such an event."""
    caplog.set_level(logging.INFO, "Host.Triggers.EventHubs")
    await send_odd(host.server, body=b"x", properties={"list": [1, 2]})
    async with host.listening():
        await until(lambda: caplog.text.count(f"claimed partition {PARTITION}") >= 2)
    assert "an application property is a list, a map or an array" in caplog.text
    assert host.worker.batches == []


async def test_chars_and_decimals_are_read(host: Host) -> None:
    await send_odd(
        host.server,
        body=b"x",
        properties={
            "char": proton.char("ß"),
            "small": proton.decimal32((101 - 1) << 23 | 15),
            "large": proton.decimal64((398 - 3) << 53 | 9_007_199_254_740_991),
            "negative": proton.decimal128((1 << 127 | (6176 << 113) | 7).to_bytes(16)),
        },
    )
    async with host.listening():
        await host.worker.wait(1)
    (properties,) = parsed(host.worker.batches[0], "PropertiesArray")
    assert properties == {
        "char": "ß",
        "small": Number("1.5"),
        "large": Number(Decimal("9007199254740.991")),
        "negative": Number("-7.0"),
    }


async def test_names_in_other_case_are_the_same_hub_and_group(host: Host) -> None:
    """Two hosts that write hub and group differently share ownership and checkpoints."""
    async with producer(host.server) as client:
        await send(client, EventData(b"a"))
    async with host.listening(event_hub="Events", group="$default"):
        await host.worker.wait(1)
        async with asyncio.timeout(PATIENCE):
            while await host.checkpoint() is None:
                await asyncio.sleep(0.01)
    async with producer(host.server, eventhub_name="EVENTS") as client:
        await send(client, EventData(b"b"))
    async with host.listening(event_hub="eVENTS", group="$DEFAULT"):
        await host.worker.wait(2)
    one, other = host.worker.batches
    assert parsed(one, "PartitionContext")["EventHubName"] == "Events"
    assert parsed(other, "PartitionContext")["ConsumerGroup"] == "$DEFAULT"
    sequences = [
        batch["trigger_metadata"]["SequenceNumberArray"]["value"] for batch in (one, other)
    ]
    assert sequences == [[0], [1]]
    assert {name.rsplit("/", 2)[0] for name in await host.blobs()} == {
        f"127.0.0.1:{host.server.port}/events/$default"
    }

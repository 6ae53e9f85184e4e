"""The local host hands over what Microsoft's host handed over, field by field."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import proton
import pytest
from azure.eventhub import EventData
from azure.eventhub.amqp import AmqpAnnotatedMessage
from proton.utils import BlockingConnection

from local.event_hubs import EventHubsServer
from local.functions_host.worker.retry_policy import RetryPolicy
from tests.support.event_hubs.client_helpers import HUB, producer
from tests.support.local.recording_host import PARTITION, PATIENCE, RecordingHost, send, until
from tests.support.real_host import Number, differences, parsed, sample


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


async def test_host_hands_over_what_the_real_host_hands_over(recording_host: RecordingHost) -> None:
    """The same events, sent to the local hub, reach the worker as in the sample."""
    first, second = sample()
    await send_odd(
        recording_host.server,
        body=b"x",
        annotations={proton.symbol("iothub-connection-device-id"): "dev1"},
        properties={"price": price()},
    )
    async with recording_host.listening():
        await recording_host.worker.wait(1)
    await send_the_samples_events(recording_host.server)
    async with recording_host.listening(least=6):
        await recording_host.worker.wait(2)
    one, other = recording_host.worker.batches
    assert differences(first, one) == []
    assert differences(second, other) == []


async def test_checkpoint_names_its_writer(recording_host: RecordingHost) -> None:
    """The .NET SDK writes the id of the owner beside offset and sequence number."""
    async with producer(recording_host.server) as client:
        await send(client, EventData(b"a"), EventData(b"b"))
    async with recording_host.listening(least=2):
        await recording_host.worker.wait(1)
        found = await recording_host.wait_checkpoint()
        blobs = await recording_host.blobs()
        owner = blobs[
            f"127.0.0.1:{recording_host.server.port}/events/$default/ownership/{PARTITION}"
        ]
    assert found.keys() == {"offset", "sequencenumber", "clientidentifier"}
    assert found["sequencenumber"] == "1"
    assert found["clientidentifier"] == owner["ownerid"]


async def test_later_extension_adds_the_offset_as_text(recording_host: RecordingHost) -> None:
    async with producer(recording_host.server) as client:
        await send(client, EventData(b"a"))
    async with recording_host.listening(extension="6.5.2"):
        await recording_host.worker.wait(1)
    (batch,) = recording_host.worker.batches
    (system,) = parsed(batch, "SystemPropertiesArray")
    assert (system["Offset"], system["OffsetString"]) == (0, "0")
    assert batch["trigger_metadata"]["OffsetStringArray"]["value"] == ["0"]


@pytest.mark.parametrize("body", [{"value_body": {"a": 1}}, {"sequence_body": [[1, "b"]]}])
async def test_value_and_sequence_bodies_are_retried_and_never_reach_the_function(
    recording_host: RecordingHost, body: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The extension cannot bind them; under unlimited retries the partition waits."""
    async with producer(recording_host.server) as client:
        await client.send_event(AmqpAnnotatedMessage(**body), partition_id=PARTITION)
    failed = "Exception binding parameter 'events'"
    async with recording_host.listening(retry=RetryPolicy("fixed_delay", -1)):
        await until(lambda: caplog.text.count(failed) >= 3)
        assert recording_host.executor.outstanding_retries == 1
    assert recording_host.worker.batches == []
    assert await recording_host.checkpoint() is None


async def test_partition_with_a_list_among_properties_is_given_up_and_claimed_again(
    recording_host: RecordingHost, caplog: pytest.LogCaptureFixture
) -> None:
    """The .NET client cannot read such an event."""
    caplog.set_level(logging.INFO, "Host.Triggers.EventHubs")
    await send_odd(recording_host.server, body=b"x", properties={"list": [1, 2]})
    async with recording_host.listening():
        await until(lambda: caplog.text.count(f"claimed partition {PARTITION}") >= 2)
    assert "an application property is a list, a map or an array" in caplog.text
    assert recording_host.worker.batches == []


async def test_chars_and_decimals_are_read(recording_host: RecordingHost) -> None:
    await send_odd(
        recording_host.server,
        body=b"x",
        properties={
            "char": proton.char("ß"),
            "small": proton.decimal32((101 - 1) << 23 | 15),
            "large": proton.decimal64((398 - 3) << 53 | 9_007_199_254_740_991),
            "negative": proton.decimal128((1 << 127 | (6176 << 113) | 7).to_bytes(16)),
        },
    )
    async with recording_host.listening():
        await recording_host.worker.wait(1)
    (properties,) = parsed(recording_host.worker.batches[0], "PropertiesArray")
    assert properties == {
        "char": "ß",
        "small": Number("1.5"),
        "large": Number(Decimal("9007199254740.991")),
        "negative": Number("-7.0"),
    }

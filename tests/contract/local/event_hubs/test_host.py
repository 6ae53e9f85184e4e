"""The internals of the SDK on which the Functions host relies."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from azure.eventhub import __version__ as version
from azure.eventhub._pyamqp.aio import ReceiveClientAsync
from azure.eventhub._pyamqp.aio._receiver_async import ReceiverLink
from azure.eventhub.aio._consumer_async import EventHubConsumer
from azure.eventhub.aio._eventprocessor._ownership_manager import OwnershipManager
from azure.eventhub.aio._eventprocessor.event_processor import EventProcessor
from azure.eventhub.exceptions import EventHubError

from local.event_hubs import EventHubsServer
from local.functions_host.triggers.event_hubs.checkpoint import CheckpointStore
from local.functions_host.triggers.event_hubs.event import ReceivedEvent
from local.functions_host.triggers.event_hubs.ownership import FairOwnership, Processor
from local.functions_host.triggers.event_hubs.receiver import (
    ConsumerClient,
    _Consumer,
    _Link,
    _ReceiveClient,
)
from local.functions_host.triggers.event_hubs.source import EventHubsSource
from tests.support.event_hubs.client_helpers import HUB, Reader, append
from tests.support.event_hubs.prompt_clients import PROMPT


def consumer(connection: str, hub: str = HUB) -> ConsumerClient:
    client = ConsumerClient.from_connection_string(
        connection, "$Default", eventhub_name=hub, **PROMPT
    )
    assert isinstance(client, ConsumerClient)
    return client


async def ignore(*arguments: Any) -> None:
    """Ignore an event; this is a callback."""


OVERRIDDEN = [
    (EventHubConsumer, _Consumer, "_next_message_in_buffer", ["self"]),
    (EventHubConsumer, _Consumer, "_create_handler", ["self", "auth"]),
    (ReceiveClientAsync, _ReceiveClient, "_client_ready_async", ["self"]),
    (ReceiverLink, _Link, "_incoming_transfer", ["self", "frame"]),
    (ReceiverLink, _Link, "_process_incoming_message", ["self", "frame", "message"]),
    (OwnershipManager, FairOwnership, "claim_ownership", ["self"]),
    (
        *(OwnershipManager, FairOwnership, "_balance_ownership"),
        ["self", "ownership_list", "all_partition_ids"],
    ),
    (EventProcessor, Processor, "start", ["self"]),
    (EventProcessor, Processor, "stop", ["self"]),
]


@pytest.mark.parametrize(("sdk", "ours", "name", "parameters"), OVERRIDDEN)
def test_sdk_has_each_member_that_the_host_overrides(
    sdk: type, ours: type, name: str, parameters: list[str]
) -> None:
    """If an override has no effect, the host gets events in the wrong form or twice."""
    there = vars(sdk).get(name)
    member = f"{sdk.__name__}.{name}, which {ours.__module__} overrides,"
    assert there is not None, f"azure-eventhub {version}: {member} is missing"
    found = list(inspect.signature(there).parameters)
    assert found == parameters, f"azure-eventhub {version}: {member} has other parameters"
    assert issubclass(ours, sdk)


async def test_sdk_has_each_attribute_that_the_host_reads(server: EventHubsServer) -> None:
    async with consumer(server.connection_string) as client:
        receiver = client._create_consumer("$Default", "0", "-1", ignore)
        assert type(receiver) is _Consumer, "EventHubConsumerClient._create_consumer is not used"
        store: Any = CheckpointStore("http://127.0.0.1:1/a", "c")
        processor = EventProcessor(client, "$Default", ignore, checkpoint_store=store)
        await store.close()
        for owner, names in (
            (receiver, ["_message_buffer", "_last_received_event", "_offset"]),
            (processor, ["_id", "_ownership_manager", "_tasks", "_running"]),
            (processor._ownership_manager, ["owner_id", "ownership_timeout"]),
        ):
            missing = [name for name in names if not hasattr(owner, name)]
            assert not missing, f"azure-eventhub {version}: {type(owner).__name__} has no {missing}"
        await receiver.close()


async def test_events_come_as_they_were_received_and_once(server: EventHubsServer) -> None:
    """After a lost link the client continues after the last delivered event."""
    append(server, [b"0", b"1", b"2"])
    async with Reader(server, client=consumer(server.connection_string)) as reader:
        events: Any = await reader.receive(3)
        assert all(type(event) is ReceivedEvent for event in events)
        server.faults.detach_links(HUB)
        with pytest.raises(EventHubError, match="detach-forced"):
            await reader.receive(1)
    async with consumer(server.connection_string) as client:
        receiver: Any = client._create_consumer("$Default", "0", "-1", ignore)
        receiver._last_received_event = events[1]
        receiver._message_buffer.append(events[2])
        receiver._create_handler(None)
        assert (receiver._offset, list(receiver._message_buffer)) == (events[1].offset, [])


@pytest.mark.parametrize(
    ("connection", "hub", "explanation"),
    [
        ("{good}", "nosuch", "there is no event hub 'nosuch': "),
        ("{port}", HUB, "127.0.0.1:1 cannot be reached (see Endpoint in the connection): "),
        ("{name}", HUB, "nosuch.invalid:"),
    ],
)
async def test_the_sdks_errors_are_explained(
    server: EventHubsServer, connection: str, hub: str, explanation: str
) -> None:
    """The explanation depends on the SDK's error texts, which another version may change."""
    good = server.connection_string
    connection = connection.format(
        good=good,
        port=good.replace(f":{server.port}", ":1"),
        name=good.replace("127.0.0.1", "nosuch.invalid"),
    )
    async with consumer(connection, hub) as client:
        with pytest.raises(EventHubError) as error:
            await client.get_partition_ids()
    source = EventHubsSource(connection, hub, "$Default", "")
    explained = source.explain(error.value)
    assert explained.startswith(explanation)
    assert explained.endswith(str(error.value))
    assert "SharedAccessKey" not in explained + repr(source)


async def test_a_complete_error_is_not_changed(server: EventHubsServer) -> None:
    async with Reader(server, group="nosuch") as reader:
        error = await reader.failure()
    source = EventHubsSource(server.connection_string, HUB, "nosuch", "")
    assert source.explain(error) == str(error)
    assert "events/ConsumerGroups/nosuch" in str(error)

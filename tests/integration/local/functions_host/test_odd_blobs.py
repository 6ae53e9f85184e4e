"""Blobs of another form among the checkpoints and ownerships, with a real host process.

.NET and Java clients, earlier versions and operators write blobs that the Python SDK cannot read.
Such a blob concerns its own partition only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.eventhub import EventData, EventHubProducerClient

from tests.conftest import EventHubsEndpoint
from tests.support.local.event_hubs_trigger import Trigger, event_hubs_trigger
from tests.support.processes import wait_for

OFFSET = "the offset of event 1"
GEO_REPLICATED = "12:345:678"
ALL, AFTER_0, AFTER_1 = [0, 1, 2], [1, 2], [2]
CHECKPOINTS: list[tuple[dict[str, str] | None, list[int]]] = [
    (None, ALL),
    ({"sequencenumber": "0"}, AFTER_0),
    ({"sequencenumber": "1", "offset": ""}, AFTER_1),
    ({"sequencenumber": "1", "offset": "No offset"}, AFTER_1),
    ({"offset": OFFSET}, AFTER_1),
    ({"offset": OFFSET, "sequencenumber": ""}, AFTER_1),
    ({"offset": "", "sequencenumber": ""}, ALL),
    ({"offset": GEO_REPLICATED, "sequencenumber": "1"}, []),  # another namespace's offset
]
"""For each partition the metadata of its checkpoint, and the events that the host delivers."""
ODD_OWNERSHIPS = {"1": None, "2": {"ownerid": ""}, "3": {"owner": "x"}, "gone": {"ownerid": "x"}}


@pytest.fixture
def trigger(azurite: str, event_hubs: EventHubsEndpoint, tmp_path: Path) -> Iterator[Trigger]:
    count = len(CHECKPOINTS)
    with event_hubs_trigger(event_hubs, azurite, tmp_path, partitions=count) as trigger:
        yield trigger


def test_blob_of_another_form_concerns_its_partition_only(trigger: Trigger) -> None:
    with suppress(ResourceExistsError):
        trigger.container.create_container()
    with trigger.producer() as producer:
        for number, (metadata, _) in enumerate(CHECKPOINTS):
            offset = send(producer, str(number))
            if metadata is not None:
                named = {name: text.replace(OFFSET, offset) for name, text in metadata.items()}
                put(trigger, f"checkpoint/{number}", named)
    put(trigger, "checkpoint/copies/0", {"offset": GEO_REPLICATED, "sequencenumber": "1"})
    for partition, owner in ODD_OWNERSHIPS.items():
        put(trigger, f"ownership/{partition}", owner)
    host = trigger.hosts.start("events")
    wanted = {str(number): events for number, (_, events) in enumerate(CHECKPOINTS) if events}

    def handled() -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for line in trigger.records.starts():
            found[line["partition"]] += line["sequences"]
        return found

    wait_for(lambda: handled() == wanted, "the events after each checkpoint")
    assert "the checkpoint has neither an offset nor a sequence number" in host.output()
    assert trigger.owners()["gone"] == "x"


def send(producer: EventHubProducerClient, partition: str) -> str:
    """Send three events, and return the offset of the second one."""
    for number in range(3):
        if number == 2:
            found = producer.get_partition_properties(partition)
        producer.send_batch([EventData(str(number))], partition_id=partition)
    return str(found["last_enqueued_offset"])


def put(trigger: Trigger, name: str, metadata: dict[str, str] | None) -> None:
    """Write a blob without content."""
    trigger.container.upload_blob(f"{trigger.folder}/{name}", b"", metadata=metadata)

"""The Event Hubs endpoint (local/event_hubs) as a child process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local.files import write_json
from local.services.health import Probe
from local.services.ports import LOOPBACK
from local.services.service import Service

KEY_NAME = "RootManageSharedAccessKey"
CONSOLE_GROUP = "console"
"""The consumer group of the console's live tail, apart from the app's limit of five receivers."""


@dataclass(frozen=True, slots=True)
class Hub:
    """An event hub to serve.

    Attributes:
        name: the hub's name.
        partitions: number of partitions.
        groups: the consumer groups beside `$Default` and the console's.
    """

    name: str
    partitions: int
    groups: tuple[str, ...] = ()


def event_hubs_service(
    port: int,
    control_port: int,
    config: Path,
    *,
    hubs: Sequence[Hub],
    key: str,
    data: Path | None = None,
) -> Service:
    """Return the endpoint with its hubs; write `config` in the form of Microsoft's emulator.

    The endpoint keeps hubs and events in the directory `data`, or without one only in memory.
    """
    entities = [
        {
            "Name": hub.name,
            "PartitionCount": hub.partitions,
            "ConsumerGroups": [
                {"Name": group} for group in dict.fromkeys((CONSOLE_GROUP, *hub.groups))
            ],
        }
        for hub in hubs
    ]
    namespace = {"Type": "EventHub", "Name": "emulatorNs1", "Entities": entities}
    write_json(config, {"UserConfig": {"NamespaceConfig": [namespace]}})
    command = (sys.executable, "-m", "local.event_hubs", "--port", str(port))
    kept = () if data is None else ("--data", str(data))
    return Service(
        name="event-hubs",
        command=(*command, "--control-port", str(control_port), "--config", str(config), *kept),
        ports={"event-hubs": port, "event-hubs-control": control_port},
        probes=(Probe("http", control_port),),
        environment={"EVENT_HUBS_KEY": f"{KEY_NAME}={key}"},
        starts_slowly=True,  # a million kept events take half a minute
    )


def event_hub_connection(port: int, key: str) -> str:
    """Return the value of `EventHubConnection`; its emulator flag turns off TLS in the SDK."""
    return (
        f"Endpoint=sb://{LOOPBACK}:{port};SharedAccessKeyName={KEY_NAME};"
        f"SharedAccessKey={key};UseDevelopmentEmulator=true;"
    )

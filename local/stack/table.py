"""The tables that `up` and `status` print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table


def print_endpoints(console: Console, endpoints: Mapping[str, Any]) -> None:
    """Print the endpoints without keys, except the console token, which a browser needs."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    hub = urlsplit(_field(endpoints["event_hub_connection"], "Endpoint"))
    # An earlier version wrote no list.
    names = endpoints.get("event_hub_names") or [endpoints["event_hub_name"]]
    storage = endpoints["storage_connection_string"]
    rows = {
        "Redis": endpoints["redis_url"],
        "Blob storage": _field(storage, "BlobEndpoint"),
        "Queue storage": _field(storage, "QueueEndpoint"),
        "Table storage": _field(storage, "TableEndpoint"),
        "App's account": _field(endpoints["app_storage_connection_string"], "BlobEndpoint"),
        "Event Hubs": "\n".join(f"amqp://{hub.netloc}/{name}" for name in names),
        "Event Hubs control": endpoints["event_hub_control_url"],
        "Event Grid topic": endpoints["event_grid_topic_endpoint"],
        "Management": endpoints["management_url"],
        "Workflow": f"{endpoints['workflow_url']}/runs",
        "Console": endpoints["console_url"],
        "Console token": endpoints["console_token"],
        "Settings": endpoints["settings_file"],
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    console.print(table)


def print_services(console: Console, services: list[dict[str, Any]]) -> None:
    """Print the services that `local.stack.status.read_status` returns."""
    table = Table(box=None, pad_edge=False)
    for column in ("Service", "Health", "PID", "Ports", "Up for", "Restarts", "Remark"):
        table.add_column(column)
    for service in services:
        health = service["health"]
        table.add_row(
            service["name"],
            f"[{'green' if health == 'healthy' else 'red'}]{health}[/]",
            str(service["pid"] or "-"),
            " ".join(str(port) for port in service["ports"].values()),
            _duration(service["uptime_seconds"]),
            str(service["restarts"]),
            service["problem"] or "",
        )
    console.print(table)


def print_partitions(console: Console, partitions: list[dict[str, Any]]) -> None:
    """Print the partition ownership that `local.partitions.read_partitions` returns."""
    table = Table(box=None, pad_edge=False)
    for column in ("Event hub", "Consumer group", "Partition", "Owner", "Lease left"):
        table.add_column(column)
    for column in ("Offset", "Sequence number", "Lag"):
        table.add_column(column, justify="right")
    for line in partitions:
        left = line["lease_left_seconds"]
        table.add_row(
            *(line["event_hub"], line["consumer_group"], line["partition"]),
            _text(line["owner"]),
            "[red]expired[/]" if left is not None and left <= 0 else _text(left, " s"),
            _text(line["checkpoint_offset"]),
            _text(line["checkpoint_sequence_number"]),
            _text(line["lag"]),
        )
    console.print(table)


def _text(value: object, unit: str = "") -> str:
    return "-" if value is None else f"{value}{unit}"


def _field(connection_string: str, name: str) -> str:
    for part in connection_string.split(";"):
        key, _, value = part.partition("=")
        if key == name:
            return value
    return ""


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"

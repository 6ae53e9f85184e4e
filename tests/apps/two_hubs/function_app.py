"""Three Event Hubs functions: two consumer groups of one hub, and a second hub.

RECORDS: a file that gets one JSON line at the start and one at the end of an invocation.
HELD: a folder; a function waits at the end of an invocation while a file has its name.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Any, List  # noqa: UP035 - the worker accepts no other list annotation

import azure.functions as func

app = func.FunctionApp()

BINARY: dict[str, Any] = {
    "arg_name": "events",
    "connection": "EventHubConnection",
    "cardinality": func.Cardinality.MANY,
    "data_type": func.DataType.BINARY,
}


async def record(function: str, partition: str, bodies: list[bytes]) -> None:
    line = {"function": function, "pid": os.getpid(), "partition": partition}
    write(event="start", bodies=[body.decode() for body in bodies], **line)
    while (Path(os.environ["HELD"]) / function).exists():
        await asyncio.sleep(0.02)
    write(event="end", bodies=[], **line)


def write(**line: Any) -> None:
    with Path(os.environ["RECORDS"]).open("a") as file:
        file.write(json.dumps(line) + "\n")


def partition_of(event: func.EventHubEvent) -> str:
    return str((event.metadata or {})["PartitionContext"]["PartitionId"])


@app.event_hub_message_trigger(event_hub_name="%ORDERS%", **BINARY)
async def orders(events: List[func.EventHubEvent]) -> None:  # noqa: UP006
    await record("orders", partition_of(events[0]), [event.get_body() for event in events])


@app.event_hub_message_trigger(event_hub_name="%ORDERS%", consumer_group="audit", **BINARY)
async def audit(events: List[func.EventHubEvent]) -> None:  # noqa: UP006
    await record("audit", partition_of(events[0]), [event.get_body() for event in events])


@app.event_hub_message_trigger(
    arg_name="event", event_hub_name="%BILLS%", connection="EventHubConnection"
)
async def bills(event: func.EventHubEvent) -> None:
    await record("bills", partition_of(event), [event.get_body()])

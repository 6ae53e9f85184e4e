"""An Event Hubs function for the host's tests, which records every invocation.

RECORDS: a file that gets one JSON line at the start and one at the end of an invocation.
BEHAVIOUR: a file with `return`, `raise` or `hang`, read at each invocation.
RETRY: `forever` retries failed invocations without limit.
"""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, List  # noqa: UP035 - the worker accepts no other list annotation

import azure.functions as func

app = func.FunctionApp()


def retry[T](function: T) -> T:
    if os.environ.get("RETRY") != "forever":
        return function
    decorate: Callable[[T], T] = app.retry(
        strategy="fixed_delay", max_retry_count="-1", delay_interval="00:00:00"
    )
    return decorate(function)


def behaviour() -> str:
    return Path(os.environ["BEHAVIOUR"]).read_text().strip()


def record(**line: Any) -> None:
    with Path(os.environ["RECORDS"]).open("a") as file:
        file.write(json.dumps(line) + "\n")


@retry
@app.event_hub_message_trigger(
    arg_name="events",
    event_hub_name="%HUB%",
    connection="EventHubConnection",
    consumer_group="$Default",
    cardinality=func.Cardinality.MANY,
    data_type=func.DataType.BINARY,
)
async def process_events(
    events: List[func.EventHubEvent],  # noqa: UP006
    context: func.Context,
) -> None:
    metadata = events[0].metadata or {}
    line = {
        "pid": os.getpid(),
        "id": context.invocation_id,
        "retry": context.retry_context.retry_count,
        "partition": metadata["PartitionContext"]["PartitionId"],
        "sequences": [event.sequence_number for event in events],
        "keys": [event.partition_key for event in events],
        "bodies": [event.get_body().decode("utf-8", "replace") for event in events],
        "properties": metadata["PropertiesArray"],
        "systems": metadata["SystemPropertiesArray"],
        "enqueued": [str(event.enqueued_time) for event in events],
    }
    record(event="start", **line)
    action = behaviour()
    if action == "raise":
        await asyncio.sleep(0.05)
        raise RuntimeError("failed on request")
    if action == "hang":
        while behaviour() == "hang":
            await asyncio.sleep(0.05)
    record(event="end", pid=os.getpid(), id=context.invocation_id, partition=line["partition"])

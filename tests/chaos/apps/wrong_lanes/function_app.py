"""The app's wiring with lanes by turns instead of by key: a key's events overtake each other."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import List  # noqa: UP035 - the worker refuses list[...]

import azure.functions as func

from processing import processor
from processing.bootstrap import Application
from processing.event import Event, EventBatch

LANES = 16


def split_by_turns(events: Iterable[Event], keyless_order: str) -> list[list[Event]]:
    """As many lanes as the real thing might have, but not a key's own."""
    lanes: list[list[Event]] = [[] for _ in range(LANES)]
    for event in events:
        lanes[event.sequence_number % LANES].append(event)
    return [lane for lane in lanes if lane]


vars(processor)["split_into_lanes"] = split_by_turns

app = func.FunctionApp()
breakwater = Application(os.environ)


@app.event_hub_message_trigger(
    arg_name="events",
    event_hub_name="%EVENT_HUB_NAME%",
    connection="EventHubConnection",
    consumer_group="%EVENT_HUB_CONSUMER_GROUP%",
    cardinality="many",
    data_type="binary",
)
@app.retry(strategy="fixed_delay", max_retry_count="-1", delay_interval="00:00:05")
async def process_events(events: List[func.EventHubEvent]) -> None:  # noqa: UP006 - see above
    """Handle a batch."""
    await breakwater.process(EventBatch.from_binding(events))

"""The app's wiring with two halves of a batch as lanes, so that events overtake each other."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import List  # noqa: UP035 - the worker refuses list[...]

import azure.functions as func

from processing.batch import processor
from processing.bootstrap import Application
from processing.event import Event, EventBatch


def split_in_halves(events: Iterable[Event], keyless_order: str) -> list[list[Event]]:
    """Return two lanes, which start the early and late events of a key concurrently."""
    batch = list(events)
    middle = len(batch) // 2
    return [half for half in (batch[:middle], batch[middle:]) if half]


assert "split_into_lanes" in vars(processor), "the name to replace must exist"
vars(processor)["split_into_lanes"] = split_in_halves

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

"""The app's wiring without the hold.

A held invocation fails at once, is not retried, and the host checkpoints past its events.
"""

from __future__ import annotations

import os
from typing import List  # noqa: UP035 - the worker refuses list[...]

import azure.functions as func

from processing.bootstrap import Application
from processing.event import EventBatch

app = func.FunctionApp()
breakwater = Application({**os.environ, "PROCESSING_HOLD_SECONDS": "0"})


@app.event_hub_message_trigger(
    arg_name="events",
    event_hub_name="%EVENT_HUB_NAME%",
    connection="EventHubConnection",
    consumer_group="%EVENT_HUB_CONSUMER_GROUP%",
    cardinality="many",
    data_type="binary",
)
async def process_events(events: List[func.EventHubEvent]) -> None:  # noqa: UP006 - see above
    """Handle a batch."""
    await breakwater.process(EventBatch.from_binding(events))

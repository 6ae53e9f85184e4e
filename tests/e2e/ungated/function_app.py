"""The app's wiring without the breaker's gate, so that events start in every circuit state."""

from __future__ import annotations

import os
from typing import List  # noqa: UP035 - the worker refuses list[...]

import azure.functions as func

from breaker import Permit
from processing.batch import parts
from processing.batch.gate import Gate
from processing.batch.hold import Hold
from processing.bootstrap import Application
from processing.event import EventBatch


class OpenGate(Gate):
    """A gate that admits every event."""

    def try_admit(self, hold: Hold) -> Permit:
        """Return a permit in every circuit state."""
        return Permit(generation=self._breaker.circuit.generation, probe_id=None)


assert vars(parts)["Gate"] is Gate, "the name to replace must exist"
vars(parts)["Gate"] = OpenGate

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

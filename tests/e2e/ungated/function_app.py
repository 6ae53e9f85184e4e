"""The app's wiring with the breaker's gate taken out: events start whatever the circuit says."""

from __future__ import annotations

import os
from typing import List  # noqa: UP035 - the worker refuses list[...]

import azure.functions as func

from breaker import Permit
from processing.batch import parts
from processing.batch.gate import Gate, Hold
from processing.bootstrap import Application
from processing.event import EventBatch


class OpenGate(Gate):
    """Lets everything through."""

    def try_admit(self, hold: Hold) -> Permit:
        """Never a reason to wait."""
        return Permit(generation=self._breaker.circuit.generation, probe_id=None)


assert vars(parts)["Gate"] is Gate, "it must be what is replaced"
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

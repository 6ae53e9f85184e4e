"""The deployed app. Triggers only: each function translates and calls one object."""

import json
import logging
import os
from typing import List  # noqa: UP035 - see process_events

import azure.functions as func

from processing.bootstrap import Application
from processing.event import EventBatch

app = func.FunctionApp()
breakwater = Application(os.environ)
# Here, so that a wrong setting stops the host from starting, with a message, instead of failing
# every event (docs/adr/0012-settings-are-checked-first.md).
breakwater.check()


@app.event_hub_message_trigger(
    arg_name="events",
    event_hub_name="%EVENT_HUB_NAME%",
    connection="EventHubConnection",
    consumer_group="%EVENT_HUB_CONSUMER_GROUP%",
    cardinality="many",
    # BINARY hands over every body as it is; the others drop empty bodies or parse them.
    data_type="binary",
)
# For ever: an invocation that fails has unfinished events, and giving up would let the host
# checkpoint past them.
@app.retry(strategy="fixed_delay", max_retry_count="-1", delay_interval="00:00:05")
async def process_events(events: List[func.EventHubEvent]) -> None:  # noqa: UP006 - the worker refuses list[...]
    """Handle a batch; raising keeps the host from checkpointing it."""
    await breakwater.process(EventBatch.from_binding(events))


@app.timer_trigger(arg_name="timer", schedule="*/10 * * * * *")
async def deliver_alerts(timer: func.TimerRequest) -> None:
    """Publish what an instance that died right after opening the circuit could not."""
    delivered = await breakwater.deliver_alerts()
    if delivered:
        logging.warning("Delivered %s alerts that were left behind", delivered)


@app.route(route="health", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
async def health(req: func.HttpRequest) -> func.HttpResponse:
    """The circuit, and each partition's watermark and lag; no secrets."""
    report = await breakwater.health()
    return func.HttpResponse(
        json.dumps(report.to_json(), indent=2),
        mimetype="application/json",
        status_code=503 if report.status == "degraded" else 200,
    )

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
# Checked at import, so that a wrong setting stops the host from starting, with a message, instead
# of failing every event (docs/adr/0012-settings-are-checked-first.md).
breakwater.check()


@app.event_hub_message_trigger(
    arg_name="events",
    event_hub_name="%EVENT_HUB_NAME%",
    connection="EventHubConnection",
    consumer_group="%EVENT_HUB_CONSUMER_GROUP%",
    cardinality="many",
    # BINARY passes every body unchanged; the other data types drop empty bodies or parse bodies.
    data_type="binary",
)
# Unlimited: an invocation that fails has unfinished events, and after the last retry the host would
# write a checkpoint past them.
@app.retry(strategy="fixed_delay", max_retry_count="-1", delay_interval="00:00:05")
async def process_events(events: List[func.EventHubEvent]) -> None:  # noqa: UP006 - the worker refuses list[...]
    """Handle a batch. An exception prevents the host from checkpointing the batch."""
    await breakwater.process(EventBatch.from_binding(events))


@app.timer_trigger(arg_name="timer", schedule="*/10 * * * * *")
async def deliver_alerts(timer: func.TimerRequest) -> None:
    """Publish alerts that an instance stored in Redis but did not publish before it died."""
    delivered = await breakwater.deliver_alerts()
    if delivered:
        logging.warning("Published %s alerts that another instance had not published", delivered)


@app.timer_trigger(arg_name="timer", schedule="*/5 * * * * *")
async def replay_deferred(timer: func.TimerRequest) -> None:
    """Replay deferred keys that are due, also those of partitions that get no events."""
    await breakwater.replay_deferred()


@app.route(route="health", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
async def health(req: func.HttpRequest) -> func.HttpResponse:
    """Return the circuit's state, and each partition's state, watermark and lag; no secrets."""
    report = await breakwater.health()
    return func.HttpResponse(
        json.dumps(report.to_json(), indent=2),
        mimetype="application/json",
        status_code=200 if report.is_healthy else 503,
    )


@app.route(route="live", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def live(req: func.HttpRequest) -> func.HttpResponse:
    """Return 200 as long as the process answers; a stalled partition needs no restart."""
    return func.HttpResponse("ok", mimetype="text/plain")

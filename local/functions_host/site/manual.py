"""Manual runs: the invocation that `POST /admin/functions/<name>` builds from its `input`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from local.functions_host.triggers.event_hubs.encoding import data_type_of, encode_batch, encode_one
from local.functions_host.triggers.event_hubs.event import ReceivedEvent
from local.functions_host.triggers.http.endpoints import http_datum
from local.functions_host.triggers.queue import queue_invocation
from local.functions_host.triggers.timer.listener import timer_invocation
from local.functions_host.triggers.timer.ncrontab import Constant
from local.functions_host.triggers.timer.schedule_monitor import NEVER
from local.functions_host.worker.execution import Invocation
from local.functions_host.worker.worker import Datum

if TYPE_CHECKING:
    from local.functions_host.worker.functions import Function

_REASON = "This function was programmatically called via the host APIs."


def manual_invocation(function: Function, value: Any) -> Invocation:
    """Build an invocation from `value`; a string is used unchanged, other values as JSON.

    A timer ignores the value. An Event Hubs function gets one event with that body. An Event Grid
    function gets the value as its event, so the value must be a JSON object.

    Raises:
        ValueError: the trigger cannot be run with `value`; the message names the accepted input.
    """
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
    match function.kind:
        case "timerTrigger":
            now = datetime.now(UTC)
            return timer_invocation(
                Constant(timedelta(days=1)), NEVER, now, past_due=False, reason=_REASON
            )
        case "eventHubTrigger":
            many = str(function.trigger.get("cardinality", "one")).lower() == "many"
            event = ReceivedEvent(text.encode())
            data_type = data_type_of(function.trigger)
            datum, metadata = (
                encode_batch([event], data_type, "{}")
                if many
                else encode_one(event, data_type, "{}")
            )
            return Invocation(datum, metadata, _REASON)
        case "queueTrigger":
            return queue_invocation(text.encode(), "manual", 1, _REASON)
        case "eventGridTrigger":
            try:
                event_json = json.loads(text)
            except ValueError:
                event_json = None
            if not isinstance(event_json, dict):
                raise ValueError("input of an Event Grid function takes an event as a JSON object")
            return Invocation(Datum(text, "json"), {}, _REASON)
        case "httpTrigger":
            url = f"/api/{function.trigger.get('route') or function.name}"
            return Invocation(http_datum("POST", url, text.encode()), {}, _REASON)
        case kind:
            raise ValueError(f"a function with a {kind} cannot be run manually")

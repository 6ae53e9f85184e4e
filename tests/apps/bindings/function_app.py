"""Inputs and outputs of the local host; each function follows a page of Microsoft's documentation.

The pages are at https://learn.microsoft.com/azure/azure-functions/; tests and docs/local.md name
them. RECORDS has a line for each batch that `collect` gets.
"""

import json
import os
from pathlib import Path
from typing import Any, List  # noqa: UP035 - the worker accepts no other list annotation

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

HUB = {"event_hub_name": "%HUB%", "connection": "EventHubConnection"}
COPIES = {"event_hub_name": "%COPIES%", "connection": "EventHubConnection"}


# functions-bindings-event-hubs-output: an event from a parameter.
@app.route(route="announce", methods=["POST"])
@app.event_hub_output(arg_name="event", **HUB)
def announce(req: func.HttpRequest, event: func.Out[str]) -> str:
    event.set(req.get_body().decode())
    return "announced"


# functions-bindings-event-hubs-output: several events, as bytes a single one.
@app.route(route="announce/{kind}", methods=["POST"])
@app.event_hub_output(arg_name="events", **HUB)
def announce_all(req: func.HttpRequest, events: func.Out[List[str]]) -> str:  # noqa: UP006
    if req.route_params["kind"] == "bytes":
        events.set(b"\xff\x00")  # type: ignore[arg-type]  # the worker takes bytes, too
    else:
        events.set(req.get_body().decode().split())
    return "announced"


# functions-bindings-event-hubs-trigger: one event at a time; its return value is the next event.
@app.event_hub_message_trigger(arg_name="event", data_type=func.DataType.BINARY, **HUB)
@app.event_hub_output(arg_name="$return", **COPIES)
def relay(event: func.EventHubEvent) -> bytes:
    body: bytes = event.get_body()
    if body == b"silent":
        return None  # type: ignore[return-value]  # the worker takes no optional annotation
    return b"copy of " + body


# functions-bindings-event-hubs-trigger: many events at once.
@app.event_hub_message_trigger(
    arg_name="events",
    cardinality=func.Cardinality.MANY,
    data_type=func.DataType.BINARY,
    **COPIES,
)
def collect(events: List[func.EventHubEvent]) -> None:  # noqa: UP006
    with Path(os.environ["RECORDS"]).open("a") as file:
        bodies = [event.get_body().decode("latin-1") for event in events]
        file.write(json.dumps({"function": "collect", "bodies": bodies}) + "\n")


# functions-bindings-storage-blob-input: a copy of a blob, whose name is in the route.
@app.route(route="copy/{name}")
@app.blob_input(arg_name="source", path="%CONTAINER%/{name}", connection="AzureWebJobsStorage")
@app.blob_output(arg_name="copy", path="%CONTAINER%/{name}-copy", connection="AzureWebJobsStorage")
def copy_text(req: func.HttpRequest, source: str, copy: func.Out[str]) -> func.HttpResponse:
    missing: Any = None
    if source is missing:
        return func.HttpResponse(status_code=404)
    copy.set(source)
    return func.HttpResponse(f"{len(source)} characters")


# functions-bindings-storage-blob-output: the return value replaces a blob.
@app.queue_trigger(arg_name="message", queue_name="%QUEUE%", connection="AzureWebJobsStorage")
@app.blob_input(
    arg_name="source",
    path="%CONTAINER%/{queueTrigger}",
    connection="AzureWebJobsStorage",
    data_type=func.DataType.BINARY,
)
@app.blob_output(
    arg_name="$return", path="%NEW%/{queueTrigger}-Copy", connection="AzureWebJobsStorage"
)
def copy_bytes(message: func.QueueMessage, source: func.InputStream) -> bytes:
    found: bytes = source.read()
    return found


# functions-bindings-http-webhook-output: the function sets no response.
@app.generic_trigger(
    arg_name="req", type="httpTrigger", route="quiet", methods=["GET"], authLevel="anonymous"
)
@app.generic_output_binding(arg_name="res", type="http")
def quiet(req: func.HttpRequest, res: func.Out[func.HttpResponse]) -> None:
    if req.params.get("text"):
        res.set(func.HttpResponse(req.params["text"], status_code=202))

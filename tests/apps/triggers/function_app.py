"""HTTP, timer, Event Grid and queue functions for the host's tests; RECORDS has a line per run."""

import json
import os
from pathlib import Path
from typing import Any

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


def record(function: str, **line: Any) -> None:
    with Path(os.environ["RECORDS"]).open("a") as file:
        file.write(json.dumps({"function": function, "pid": os.getpid(), **line}) + "\n")


@app.route(route="orders/{id:int}/{item?}", methods=["GET", "POST"])
async def orders(req: func.HttpRequest) -> func.HttpResponse:
    answer = {
        "method": req.method,
        "url": req.url,
        "route": dict(req.route_params),
        "query": dict(req.params),
        "header": req.headers.get("X-Test"),
        "body": req.get_body().decode(),
    }
    response = func.HttpResponse(
        json.dumps(answer), status_code=201, mimetype="application/json", headers={"X-Made": "yes"}
    )
    response.headers.add("Set-Cookie", "a=1; Path=/")
    response.headers.add("Set-Cookie", "b=2; Path=/")
    return response


@app.route(route="raw")
def raw(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(bytes(range(256)), mimetype="application/octet-stream")


@app.route(route="text")
def text(req: func.HttpRequest) -> str:
    return "plain"


@app.route(route="fails")
async def fails(req: func.HttpRequest) -> func.HttpResponse:
    raise ValueError("failed on request")


@app.route(route="files/{*path}", methods=["GET"])
def files(req: func.HttpRequest) -> str:
    return str(req.route_params["path"])


@app.route(route="off")
def switched_off(req: func.HttpRequest) -> str:
    return "never"


@app.timer_trigger(arg_name="timer", schedule="%SCHEDULE%", run_on_startup=True)
async def tick(timer: func.TimerRequest) -> None:
    record("tick", past_due=timer.past_due)


@app.event_grid_trigger(arg_name="event")
async def grid(event: func.EventGridEvent) -> None:
    record("grid", id=event.id, subject=event.subject, data=event.get_json())
    if event.get_json().get("fail"):
        raise ValueError("failed on request")


@app.queue_trigger(arg_name="message", queue_name="%QUEUE%", connection="AzureWebJobsStorage")
async def take(message: func.QueueMessage) -> None:
    body = message.get_body().decode()
    record("take", body=body, count=message.dequeue_count)
    if body == "fail":
        raise ValueError("failed on request")

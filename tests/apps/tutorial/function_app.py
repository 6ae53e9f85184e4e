"""The first steps of Microsoft's documentation: a function after each page, in our own words.

The pages are at https://learn.microsoft.com/azure/azure-functions/.
"""

import json
import logging

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


# create-first-function-vs-code-python: a request with a name in the query or in the body.
@app.route(route="greeting", auth_level=func.AuthLevel.ANONYMOUS)
def greeting(req: func.HttpRequest) -> func.HttpResponse:
    name = name_in(req)
    if name is None:
        return func.HttpResponse("Who is there? Pass a name.", status_code=200)
    return func.HttpResponse(f"Hello, {name}.")


# functions-add-output-binding-storage-queue-vs-code: the name becomes a message, too.
@app.route(route="GreetingExample")
@app.queue_output(arg_name="msg", queue_name="outqueue", connection="AzureWebJobsStorage")
def GreetingExample(  # noqa: N802 - the page's functions have such names
    req: func.HttpRequest, msg: func.Out[func.QueueMessage]
) -> func.HttpResponse:
    name = name_in(req)
    if name is None:
        return func.HttpResponse("Who is there? Pass a name.")
    msg.set(name)  # type: ignore[arg-type]  # the worker takes a text, too
    return func.HttpResponse(f"Hello, {name}.")


# functions-bindings-timer: a run at the start and every five minutes.
@app.timer_trigger(
    schedule="0 */5 * * * *", arg_name="clock", run_on_startup=True, use_monitor=False
)
def every_five_minutes(clock: func.TimerRequest) -> None:
    logging.info("The timer has run (late: %s).", clock.past_due)


# functions-bindings-storage-queue-trigger: a message, without annotations of the result.
@app.queue_trigger(arg_name="azqueue", queue_name="outqueue", connection="AzureWebJobsStorage")
def read_queue(azqueue: func.QueueMessage):  # type: ignore[no-untyped-def]
    logging.info("A message of the queue: %s", azqueue.get_body().decode())


# functions-bindings-storage-queue-trigger and -output: a message becomes the next one.
@app.queue_trigger(arg_name="msg", queue_name="inputqueue", connection="AzureWebJobsStorage")
@app.queue_output(arg_name="item", queue_name="outqueue", connection="AzureWebJobsStorage")
def queue_to_queue(msg: func.QueueMessage, item: func.Out[str]) -> None:
    inserted = msg.insertion_time.isoformat() if msg.insertion_time else None
    found = {"id": msg.id, "body": msg.get_body().decode(), "inserted": inserted}
    item.set(json.dumps({**found, "dequeued": msg.dequeue_count}))


def name_in(req: func.HttpRequest) -> str | None:
    """Return the name in the query, else in the JSON body; None without a name."""
    if name := req.params.get("name"):
        return str(name)
    try:
        body = req.get_json()
    except ValueError:
        return None
    return str(body["name"]) if "name" in body else None

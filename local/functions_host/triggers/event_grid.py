"""The Event Grid trigger's webhook."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from local.functions_host.worker.cancellation import CancellationToken
from local.functions_host.worker.execution import Executor, Invocation
from local.functions_host.worker.worker import Datum

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from local.functions_host.worker.functions import Function

PATH = "/runtime/webhooks/EventGrid"


class EventGridWebhook:
    """The webhook that answers subscription handshakes and runs a function for each event."""

    def __init__(self, functions: Mapping[str, Function], executor: Executor) -> None:
        self._functions = {name.lower(): function for name, function in functions.items()}
        self._executor = executor

    async def handle(self, request: Request) -> Response:
        """Answer a request of Event Grid; the query parameter `functionName` names the function."""
        name = request.query_params.get("functionName", "")
        function = self._functions.get(name.lower())
        if function is None:
            return PlainTextResponse(f"cannot find function: '{name}'", 404)
        if request.method == "OPTIONS":  # the CloudEvents handshake
            origin = request.headers.get("webhook-request-origin")
            if not origin:
                return PlainTextResponse("WebHook-Request-Origin is missing", 400)
            return Response(headers={"WebHook-Allowed-Origin": origin})
        kind = request.headers.get("aeg-event-type", "").lower()
        if kind == "unsubscribe":
            return Response(status_code=202)
        try:
            document = json.loads(await request.body())
        except ValueError:
            return PlainTextResponse("the body is not JSON", 400)
        events = document if isinstance(document, list) else [document]
        if not all(isinstance(event, dict) for event in events):
            return PlainTextResponse("the body takes one event or an array of events", 400)
        if kind == "subscriptionvalidation":
            return _validate(events)
        if kind == "notification":
            return await self._notify(function, events)
        return PlainTextResponse(
            f"aeg-event-type is {request.headers.get('aeg-event-type')!r}; "
            "it takes SubscriptionValidation, Notification or Unsubscribe",
            400,
        )

    async def _notify(self, function: Function, events: list[dict[str, Any]]) -> Response:
        for event in events:
            invocation = Invocation(
                Datum(json.dumps(event), "json"),
                {"data": Datum(json.dumps(event.get("data")), "json")},
                "EventGrid trigger fired",
            )
            work = self._executor.start(
                self._executor.execute(function, invocation, CancellationToken())
            )
            if not (await work).ok:
                # Event Grid then redelivers the whole request.
                return PlainTextResponse(
                    f"Exception while executing function: {function.name}", 500
                )
        return Response(status_code=202)


def _validate(events: list[dict[str, Any]]) -> Response:
    data = events[0].get("data") if events else None
    code = data.get("validationCode") if isinstance(data, dict) else None
    if not code:
        return PlainTextResponse("data.validationCode is missing", 400)
    return JSONResponse({"validationResponse": code})

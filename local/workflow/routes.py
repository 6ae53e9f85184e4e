"""The HTTP routes of the workflow: trigger, callbacks and runs."""

from __future__ import annotations

import hmac
import json
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.web import BodyTooLargeError, error_response, read_body
from local.workflow.engine import CallbackRefusedError, UnknownRunError, Workflow
from local.workflow.run import Opening

TRIGGER_PATH = "/workflows/circuit-opened/trigger"
OPENED = "breakwater.circuit.opened"
_MAX_BYTES = 1024 * 1024


class TriggerError(ValueError):
    """A trigger request without a valid opening of a circuit."""


def workflow_routes(workflow: Workflow, trigger_sig: str) -> list[Route]:
    """Return the routes below /workflows.

    Args:
        workflow: the workflow behind the routes.
        trigger_sig: secret that callers of the trigger must send as `sig`.
    """

    async def handshake(request: Request) -> Response:
        """Answer the validation request of Event Grid for a CloudEvents webhook."""
        if not _same(request.query_params.get("sig", ""), trigger_sig):
            return _refused()
        origin = request.headers.get("webhook-request-origin", "*")
        return Response(headers={"webhook-allowed-origin": origin, "webhook-allowed-rate": "*"})

    async def trigger(request: Request) -> Response:
        if not _same(request.query_params.get("sig", ""), trigger_sig):
            return _refused()
        try:
            openings = parse_openings(await read_body(request, _MAX_BYTES))
        except BodyTooLargeError:
            return _too_large()
        except TriggerError as error:
            return error_response(400, "InvalidTriggerInput", str(error))
        runs = [workflow.trigger(opening) for opening in openings]
        started = [run.id for run in runs if run is not None]
        headers = {"x-ms-workflow-run-id": started[0]} if started else {}
        return JSONResponse({"runs": started}, status_code=202 if started else 200, headers=headers)

    async def callback(request: Request) -> Response:
        try:
            by = _approver(await read_body(request, _MAX_BYTES))
            sig = request.query_params.get("sig", "")
            run = workflow.callback(request.path_params["run"], sig, by)
        except BodyTooLargeError:
            return _too_large()
        except CallbackRefusedError:
            return _refused()
        except UnknownRunError:  # by 404 the caller sees that no run waits for the callback
            return error_response(404, "WorkflowRunNotFound", "the workflow run does not exist")
        return JSONResponse({"state": run.state.value})

    async def runs(_: Request) -> Response:
        return JSONResponse({"runs": [run.as_dict() for run in workflow.runs()]})

    return [
        Route(TRIGGER_PATH, handshake, methods=["OPTIONS"]),
        Route(TRIGGER_PATH, trigger, methods=["POST"]),
        Route("/workflows/runs/{run}/callback", callback, methods=["POST"]),
        Route("/workflows/runs", runs, methods=["GET"]),
    ]


def parse_openings(body: bytes) -> list[Opening]:
    """Parse the openings in a delivered CloudEvent or an array of CloudEvents.

    Events of other types are ignored, because the subscription may have no filter.

    Raises:
        TriggerError: the body is not a CloudEvent, or an opening lacks its name or generation.
    """
    try:
        value = json.loads(body)
    except ValueError as error:
        raise TriggerError(f"the body is not JSON: {error}") from None
    events = value if isinstance(value, list) else [value]
    if not all(isinstance(event, dict) for event in events):
        raise TriggerError("the body must be a CloudEvent or an array of CloudEvents")
    return [_opening(event) for event in events if event.get("type") == OPENED]


def _opening(event: dict[str, Any]) -> Opening:
    data = event.get("data")
    if not isinstance(data, dict):
        raise TriggerError("the CloudEvent of the opening has no data object")
    name, generation = data.get("name"), data.get("generation")
    if not isinstance(name, str) or not name:
        raise TriggerError(f"data.name is {name!r}; it must be the circuit's name")
    if not isinstance(generation, int) or isinstance(generation, bool) or generation < 1:
        raise TriggerError(f"data.generation is {generation!r}; it must be a whole number from 1")
    return Opening(name, generation, _seconds(event.get("time")))


def _seconds(time: object) -> float | None:
    try:
        moment = datetime.fromisoformat(time) if isinstance(time, str) else None
    except ValueError:
        return None
    return moment.timestamp() if moment is not None and moment.tzinfo is not None else None


def _approver(body: bytes) -> str | None:
    """Return the approver of a callback body {"by": "..."}; None for any other body."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    by = value.get("by") if isinstance(value, dict) else None
    return by[:200] if isinstance(by, str) and by else None


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _refused() -> Response:
    return error_response(401, "Unauthorized", "the sig parameter of the URL is missing or wrong")


def _too_large() -> Response:
    message = f"the request body is larger than {_MAX_BYTES} bytes, the most that is accepted"
    return error_response(413, "RequestEntityTooLarge", message)

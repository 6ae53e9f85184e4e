"""The workflow's HTTP face: its trigger, its callbacks, its runs."""

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
    """The trigger was sent something else than the opening of a circuit."""


def workflow_routes(workflow: Workflow, trigger_sig: str) -> list[Route]:
    """Routes below /workflows.

    Args:
        workflow: what they drive.
        trigger_sig: what the trigger's callers must show as `sig`.
    """

    async def handshake(request: Request) -> Response:
        """Agree to what Event Grid asks before it subscribes a CloudEvents webhook."""
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
            return error_response(413, "RequestEntityTooLarge", f"at most {_MAX_BYTES} bytes")
        except TriggerError as error:
            return error_response(400, "InvalidTriggerInput", str(error))
        runs = [workflow.trigger(opening) for opening in openings]
        begun = [run.id for run in runs if run is not None]
        headers = {"x-ms-workflow-run-id": begun[0]} if begun else {}
        return JSONResponse({"runs": begun}, status_code=202 if begun else 200, headers=headers)

    async def callback(request: Request) -> Response:
        try:
            by = _approver(await read_body(request, _MAX_BYTES))
            sig = request.query_params.get("sig", "")
            run = workflow.callback(request.path_params["run"], sig, by)
        except BodyTooLargeError:
            return error_response(413, "RequestEntityTooLarge", f"at most {_MAX_BYTES} bytes")
        except CallbackRefusedError:
            return _refused()
        except UnknownRunError:  # 404 tells the caller that nobody waits here
            return error_response(404, "WorkflowRunNotFound", "there is no such run")
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
    """The openings in a delivered CloudEvent, or an array of them.

    Events of other types are left out: a filter may be missing.

    Raises:
        TriggerError: what was sent is no CloudEvent, or an opening lacks its name or generation.
    """
    try:
        value = json.loads(body)
    except ValueError as error:
        raise TriggerError(f"the body is not JSON: {error}") from None
    events = value if isinstance(value, list) else [value]
    if not all(isinstance(event, dict) for event in events):
        raise TriggerError("the body takes a CloudEvent, or an array of them")
    return [_opening(event) for event in events if event.get("type") == OPENED]


def _opening(event: dict[str, Any]) -> Opening:
    data = event.get("data")
    if not isinstance(data, dict):
        raise TriggerError("the opening has no data object")
    name, generation = data.get("name"), data.get("generation")
    if not isinstance(name, str) or not name:
        raise TriggerError(f"data.name is {name!r}; it takes the circuit's name")
    if not isinstance(generation, int) or isinstance(generation, bool) or generation < 1:
        raise TriggerError(f"data.generation is {generation!r}; it takes a number from 1")
    return Opening(name, generation, _seconds(event.get("time")))


def _seconds(time: object) -> float | None:
    try:
        moment = datetime.fromisoformat(time) if isinstance(time, str) else None
    except ValueError:
        return None
    return moment.timestamp() if moment is not None and moment.tzinfo is not None else None


def _approver(body: bytes) -> str | None:
    """Who approved, if the callback says: {"by": "..."}; what else it says is not asked for."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    by = value.get("by") if isinstance(value, dict) else None
    return by[:200] if isinstance(by, str) and by else None


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _refused() -> Response:
    return error_response(401, "Unauthorized", "the sig of this URL is missing or wrong")

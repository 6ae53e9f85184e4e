"""The HTTP routes of the workflow: trigger, callbacks and runs."""

from __future__ import annotations

import hmac
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.web import BodyTooLargeError, error_response, read_body
from local.workflow.runs.content import decode
from local.workflow.runs.workflow import CallbackRefusedError, UnknownRunError, Workflow
from local.workflow.view import view

TRIGGER_PATH = "/workflows/circuit-opened/trigger"
OPENED = "breakwater.circuit.opened"
_MAX_BYTES = 1024 * 1024


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
            run = workflow.trigger(await _outputs(request))
        except BodyTooLargeError:
            return _too_large()
        except ValueError as error:
            return error_response(400, "InvalidTriggerInput", f"the body is not JSON: {error}")
        return Response(status_code=202, headers={"x-ms-workflow-run-id": run.id})

    async def callback(request: Request) -> Response:
        try:
            query = request.query_params
            answer = await _outputs(request)
            run_id = request.path_params["run"]
            workflow.callback(run_id, query.get("id", ""), query.get("sig", ""), answer)
        except BodyTooLargeError:
            return _too_large()
        except CallbackRefusedError:
            return _refused()
        except UnknownRunError:  # by 404 the caller sees that no run waits for the callback
            return error_response(404, "WorkflowRunNotFound", "no action waits for this callback")
        except ValueError as error:
            return error_response(400, "InvalidCallbackInput", f"the body is not JSON: {error}")
        return Response(status_code=200)

    async def runs(_: Request) -> Response:
        return JSONResponse({"runs": [view(run) for run in workflow.runs()]})

    return [
        Route(TRIGGER_PATH, handshake, methods=["OPTIONS"]),
        Route(TRIGGER_PATH, trigger, methods=["POST"]),
        Route("/workflows/runs/{run}/callback", callback, methods=["POST"]),
        Route("/workflows/runs", runs, methods=["GET"]),
    ]


async def _outputs(request: Request) -> dict[str, Any]:
    """Return headers and body of a request; the headers may hold secrets, and are not shown.

    Raises:
        BodyTooLargeError: the body is larger than accepted.
        ValueError: the body is not JSON, although its type is.
    """
    body = await read_body(request, _MAX_BYTES)
    value = decode(body, request.headers.get("content-type", ""))
    return {"headers": dict(request.headers), "body": value}


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _refused() -> Response:
    return error_response(401, "Unauthorized", "the sig parameter of the URL is missing or wrong")


def _too_large() -> Response:
    message = f"the request body is larger than {_MAX_BYTES} bytes, the most that is accepted"
    return error_response(413, "RequestEntityTooLarge", message)

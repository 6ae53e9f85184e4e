"""The public view of a run, without inputs, outputs and secrets."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Any

from local.workflow.expressions.values import Json
from local.workflow.runs.record import ActionRecord, RunRecord

WAITING = "WaitingForApproval"
_SHOWN = 200


def view(run: RunRecord) -> dict[str, Any]:
    """Return the run with the opening that triggered the run, its state and its actions.

    The state is the run's status. A run whose webhook action waits has the state
    "WaitingForApproval".
    """
    opening = opening_of(run)
    return {
        "id": run.id,
        "circuit": opening.get("name"),
        "generation": opening.get("generation"),
        "state": WAITING if _waits(run) else run.status.value,
        "steps": [_step(record) for record in run.actions.values()],
    }


def _waits(run: RunRecord) -> bool:
    return any(
        record.kind == "HttpWebhook" and not record.status.is_final
        for record in run.actions.values()
    )


def _step(record: ActionRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "at": datetime.fromtimestamp(record.started, UTC).isoformat(),
        "status": record.status.value,
        "detail": record.error or _detail(record),
        "attempts": record.attempts,
    }


def _detail(record: ActionRecord) -> str:
    if record.kind != "HttpWebhook":
        return ""
    if record.answer is None:
        return "waiting for the callback" if record.subscribed else ""
    body = record.answer.get("body")
    by = body.get("by") if isinstance(body, dict) else None
    return f"by {by[:_SHOWN]}" if isinstance(by, str) and by else "called back"


def opening_of(run: RunRecord) -> dict[str, Any]:
    """Return the data of the CloudEvent in the trigger's body; an empty object without one."""
    body: Json = run.trigger.get("body")
    try:
        if isinstance(body, dict) and "$content" in body:
            body = json.loads(base64.b64decode(body["$content"]))
    except (ValueError, binascii.Error):
        return {}
    data = body.get("data") if isinstance(body, dict) else None
    return data if isinstance(data, dict) else {}

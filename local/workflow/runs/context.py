"""The values of a run that expressions read."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from typing import Any

from local.workflow.definition.actions import Actions
from local.workflow.definition.references import every_action
from local.workflow.expressions import EvaluationError
from local.workflow.expressions.values import Json
from local.workflow.runs.record import RunRecord


@dataclass(slots=True)
class RunContext:
    """The run, as one action reads the run.

    Attributes:
        run: the run.
        actions: the actions of the definition.
        parameters: the values of the parameters.
        now: the time.
        callback_url: address of the action's callback; None if the action has no callback.
    """

    run: RunRecord
    actions: Actions
    parameters: Mapping[str, Any]
    now: float
    callback_url: str | None = None

    def call(self, name: str, arguments: list[Json]) -> Json:
        """Return the value of a function that reads the run."""
        match name:
            case "actions":
                return self._action(arguments[0])
            case "outputs":
                return self._outputs(arguments[0])
            case "body":
                outputs = self._outputs(arguments[0])
                return outputs.get("body") if isinstance(outputs, dict) else None
            case "result":
                children = next(
                    action.children
                    for action in every_action(self.actions)
                    if action.name == arguments[0]
                )
                return [self._action(child) for child in children]
            case "iterationindexes":
                return self.run.actions[arguments[0]].iteration
            case "parameters":
                return self.parameters[arguments[0]]
            case "triggerbody":
                return self.run.trigger.get("body")
            case "triggeroutputs":
                return self.run.trigger
            case "utcnow":
                return _time(self.now, *arguments)
            case "guid":
                return str(uuid.uuid4())
            case "variables":
                return self.run.variables[arguments[0]]
            case "workflow":
                return {"name": "local", "run": {"name": self.run.id}}
            case _ if self.callback_url is not None:
                return self.callback_url
            case _:
                raise EvaluationError("listCallbackUrl() is only known in a webhook's requests")

    def _outputs(self, name: str) -> Json:
        record = self.run.actions.get(name)
        return None if record is None else record.outputs

    def _action(self, name: str) -> Json:
        record = self.run.actions.get(name)
        if record is None:
            return None
        found = {
            "name": name,
            "status": record.status.value,
            "startTime": _iso(record.started),
            "outputs": record.outputs,
        }
        if record.ended is not None:
            found["endTime"] = _iso(record.ended)
        if record.error and record.status.is_final:
            found["error"] = {"message": record.error}
        return found


def _time(moment: float, form: str = "o") -> str:
    """Return a time in one of the .NET formats "o" (ISO 8601) and "r" (of HTTP headers)."""
    match form:
        case "o":
            return _iso(moment)
        case "r":
            return formatdate(moment, usegmt=True)
        case _:
            raise EvaluationError(f"the time format {form!r} is not supported; o and r are")


@lru_cache(maxsize=1024)
def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")

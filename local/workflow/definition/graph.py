"""The order of the actions of one group, and the group's status.

Source: "Handle errors and exceptions in Azure Logic Apps", sections "Manage the run after behavior"
and "Evaluate actions with scopes and their results",
learn.microsoft.com/azure/logic-apps/error-exception-handling.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from local.workflow.definition.actions import Action, Actions
from local.workflow.definition.status import Status


class Turn(Enum):
    """The next step of an action that has not started."""

    WAIT = "wait"
    RUN = "run"
    SKIP = "skip"


def turn(action: Action, statuses: Mapping[str, Status]) -> Turn:
    """Return the next step of an action.

    An action waits until all preceding actions have ended. The action then runs if `runAfter`
    accepts each status, and is skipped otherwise. Skipped is itself a status that `runAfter` may
    accept.
    """
    found = [(statuses.get(name), accepted) for name, accepted in action.run_after.items()]
    if any(status is None or not status.is_final for status, _ in found):
        return Turn.WAIT
    return Turn.RUN if all(status in accepted for status, accepted in found) else Turn.SKIP


def group_status(actions: Actions, statuses: Mapping[str, Status]) -> Status:
    """Return the status of a group whose actions have all ended.

    The last actions decide: those that no other action runs after. A last action that was skipped
    has the status of the actions before it. A group fails if any of these statuses is Failed or
    TimedOut.
    """
    preceding = {name for action in actions.values() for name in action.run_after}
    last = [name for name in actions if name not in preceding]
    failed = any(_has_failed(name, actions, statuses) for name in last)
    return Status.FAILED if failed else Status.SUCCEEDED


def _has_failed(name: str, actions: Actions, statuses: Mapping[str, Status]) -> bool:
    if statuses[name] is Status.SKIPPED:
        return any(_has_failed(before, actions, statuses) for before in actions[name].run_after)
    return statuses[name] is not Status.SUCCEEDED

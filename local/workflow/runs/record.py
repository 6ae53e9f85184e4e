"""The records of runs and actions, which survive a restart."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from local.workflow.definition.status import Status


@dataclass
class ActionRecord:
    """The record of an action that has started, or was skipped.

    An action inside a loop has one record, of the latest iteration.

    Attributes:
        name: name of the action.
        kind: type of the action, such as "Http".
        status: status of the action.
        started: start time, in seconds since 1970.
        ended: end time; None while the action runs.
        outputs: outputs of the action, as expressions read them.
        error: the last error; empty without one.
        attempts: number of requests with an answer or a connection error.
        next_attempt: time of the next attempt; None without one.
        branch: the value of the condition of an If.
        iteration: number of the current iteration of an Until, from 0.
        callback: id of the callback of an HttpWebhook.
        subscribed: whether the subscription has succeeded.
        answer: headers and body of the callback; None before the callback.
    """

    name: str
    kind: str
    status: Status
    started: float
    ended: float | None = None
    outputs: Any = None
    error: str = ""
    attempts: int = 0
    next_attempt: float | None = None
    branch: bool | None = None
    iteration: int = 0
    callback: str = ""
    subscribed: bool = False
    answer: dict[str, Any] | None = None


@dataclass
class RunRecord:
    """The record of a run.

    Attributes:
        definition: digest of the definition with which the run began.
        trigger: headers and body of the trigger.
        started: start time, in seconds since 1970.
        id: random id, which is not a secret.
        sig: secret of the run's callbacks; leaves this process only in their addresses.
        status: status of the run.
        ended: end time; None while the run continues.
        actions: the actions that have started or were skipped, in this order.
        variables: the values of the variables.
    """

    definition: str
    trigger: dict[str, Any]
    started: float
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    sig: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    status: Status = Status.RUNNING
    ended: float | None = None
    actions: dict[str, ActionRecord] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)

    def statuses(self, names: Iterable[str]) -> dict[str, Status]:
        """Return the status of each of these actions that has one."""
        records = self.actions
        return {name: records[name].status for name in names if name in records}

    def waiting_for(self, callback: str) -> ActionRecord | None:
        """Return the running action with this callback; None if no action waits."""
        return next(
            (
                record
                for record in self.actions.values()
                if record.callback and record.callback == callback and not record.status.is_final
            ),
            None,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the form for the store, with the secret."""
        return vars(self) | {"actions": [dict(vars(each)) for each in self.actions.values()]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Build a run from the form that `as_json` returned."""
        actions = [
            ActionRecord(**(each | {"status": Status(each["status"])})) for each in value["actions"]
        ]
        given = dict(value) | {
            "status": Status(value["status"]),
            "actions": {each.name: each for each in actions},
        }
        return cls(**given)

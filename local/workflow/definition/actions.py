"""The actions of a definition, compiled: one class for each type that the interpreter knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from local.workflow.definition.retry import RetryPolicy
from local.workflow.definition.status import Status
from local.workflow.expressions import Template

type Actions = Mapping[str, Action]


@dataclass(frozen=True, kw_only=True)
class Action:
    """An action of any type.

    Attributes:
        name: name of the action, unique in the definition.
        run_after: the accepted statuses of each preceding action.
    """

    name: str
    run_after: Mapping[str, frozenset[Status]]

    @property
    def children(self) -> Actions:
        """The actions inside this action."""
        return {}

    @property
    def before_children(self) -> tuple[Template, ...]:
        """The values that are computed before the actions inside this action run."""
        return tuple(
            value
            for name, value in vars(self).items()
            if isinstance(value, Template) and not (name == "condition" and isinstance(self, Until))
        )


@dataclass(frozen=True, kw_only=True)
class Compose(Action):
    """A value that is computed once."""

    inputs: Template


@dataclass(frozen=True, kw_only=True)
class Http(Action):
    """An HTTP request.

    Attributes:
        inputs: method, uri, headers, queries, body and authentication.
        retry: the retry policy.
        timeout: seconds for the action with all retries; None without a limit.
        polls: whether a response 202 with a location is polled until the operation has ended.
    """

    inputs: Template
    retry: RetryPolicy
    timeout: float | None
    polls: bool


@dataclass(frozen=True, kw_only=True)
class HttpWebhook(Action):
    """A subscription by HTTP request, and the wait for the callback.

    Attributes:
        subscribe: the request that carries the callback's address.
        retry: the retry policy of the subscription.
        unsubscribe: the request after callback, timeout or cancellation; None without one.
        timeout: seconds until the action times out; None without a limit.
    """

    subscribe: Template
    retry: RetryPolicy
    unsubscribe: Template | None
    unsubscribe_retry: RetryPolicy
    timeout: float | None


@dataclass(frozen=True, kw_only=True)
class Wait(Action):
    """A delay; `inputs` has the interval's count and unit."""

    inputs: Template


@dataclass(frozen=True, kw_only=True)
class Terminate(Action):
    """The end of the run with the status in `inputs`."""

    inputs: Template


@dataclass(frozen=True, kw_only=True)
class InitializeVariable(Action):
    """A new variable with its first value.

    Attributes:
        variable: name of the variable.
        kind: type of the variable's values, such as "string".
        value: the first value.
    """

    variable: str
    kind: str
    value: Template


@dataclass(frozen=True, kw_only=True)
class SetVariable(Action):
    """A new value of a variable."""

    variable: str
    value: Template


@dataclass(frozen=True, kw_only=True)
class IncrementVariable(Action):
    """The addition of a number to a variable."""

    variable: str
    value: Template


@dataclass(frozen=True, kw_only=True)
class Scope(Action):
    """A group of actions."""

    actions: Actions

    @property
    def children(self) -> Actions:
        """The actions inside this action."""
        return self.actions


@dataclass(frozen=True, kw_only=True)
class If(Action):
    """Two groups of actions, of which one runs."""

    condition: Template
    actions: Actions
    otherwise: Actions = field(default_factory=dict)

    @property
    def children(self) -> Actions:
        """The actions inside this action."""
        return {**self.actions, **self.otherwise}


@dataclass(frozen=True, kw_only=True)
class Until(Action):
    """A group of actions that is repeated until the condition is true, or a limit is reached.

    Attributes:
        condition: evaluated after each iteration.
        actions: the repeated actions.
        count: the most iterations.
        timeout: seconds after which no further iteration starts.
        fails_at_limit: whether the action fails when a limit is reached.
    """

    condition: Template
    actions: Actions
    count: int
    timeout: float
    fails_at_limit: bool

    @property
    def children(self) -> Actions:
        """The actions inside this action."""
        return self.actions

"""The execution of one run."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Container, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.workflow.definition import Definition
from local.workflow.definition.actions import (
    Action,
    Actions,
    Compose,
    Http,
    HttpWebhook,
    If,
    IncrementVariable,
    InitializeVariable,
    Scope,
    SetVariable,
    Terminate,
    Until,
    Wait,
)
from local.workflow.definition.graph import Turn, group_status, turn
from local.workflow.definition.references import every_action
from local.workflow.definition.retry import RetryPolicy, is_retried
from local.workflow.definition.status import Status
from local.workflow.expressions import EvaluationError, Template
from local.workflow.expressions.values import Json, type_name
from local.workflow.runs.clock import Clock, SystemClock
from local.workflow.runs.context import RunContext
from local.workflow.runs.record import ActionRecord, RunRecord
from local.workflow.runs.requests import Answer, NoAnswerError, Request, Sender

_log = logging.getLogger(__name__)

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_POLL_SECONDS = 20.0
_SHOWN = 200


@dataclass(frozen=True)
class Settings:
    """The surroundings of runs.

    Attributes:
        sender: client of the HTTP requests.
        parameters: values of the definition's parameters.
        callback_base: base address of the callbacks.
        clock: the clock.
        scale: factor of every duration of a definition.
        pick: returns a number between two bounds, for the waits between retries.
    """

    sender: Sender
    parameters: Mapping[str, Any] = field(repr=False)
    callback_base: str
    clock: Clock = field(default_factory=SystemClock)
    scale: float = 1.0
    pick: Callable[[float, float], float] = field(default=secrets.SystemRandom().uniform)


@dataclass(frozen=True)
class _End:
    """The end of an action."""

    status: Status
    outputs: Json = None
    error: str = ""


class _TerminatedError(Exception):
    """The end of the run by a Terminate."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


class Interpreter:
    """The execution of one run, which may have begun in an earlier process.

    Args:
        run: the run; its record is changed and saved at each step.
        definition: the definition with which the run began.
        settings: the surroundings.
        save: stores the record.
    """

    def __init__(
        self,
        run: RunRecord,
        definition: Definition,
        settings: Settings,
        save: Callable[[RunRecord], None],
    ) -> None:
        self._run = run
        self._definition = definition
        self._settings = settings
        self._store = save
        self._called: dict[str, asyncio.Event] = {}
        self._inside: dict[str, tuple[Action, ...]] = {}

    async def execute(self) -> None:
        """Execute the run until its end; a cancellation leaves the run unfinished."""
        try:
            status = await self._group(self._definition.actions)
        except _TerminatedError as terminated:
            status = terminated.status
            await self._end_all()
        self._run.status = status
        self._run.ended = self._settings.clock.now()
        self._save()

    def called_back(self, callback: str) -> None:
        """Continue the action whose callback was recorded."""
        if (event := self._called.get(callback)) is not None:
            event.set()

    async def _group(self, actions: Actions) -> Status:
        """Execute the actions of a group in the order of `runAfter`; return the group's status."""
        tasks: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                due = self._due(actions, tasks)
                if len(due) == 1 and not tasks:  # most groups have one action at a time
                    await self._perform(due[0])
                    continue
                for action in due:
                    tasks[action.name] = asyncio.create_task(self._perform(action))
                if not tasks:
                    return group_status(actions, self._run.statuses(actions))
                await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
                for name in [name for name, task in tasks.items() if task.done()]:
                    tasks.pop(name).result()
        finally:
            if tasks:
                for task in tasks.values():
                    task.cancel()
                await asyncio.gather(*tasks.values(), return_exceptions=True)

    def _due(self, actions: Actions, running: Container[str]) -> list[Action]:
        """Return the actions that may start, and skip the actions that may not."""
        due: dict[str, Action] = {}
        skipped = True
        while skipped:
            skipped = False
            statuses = self._run.statuses(actions)
            for name, action in actions.items():
                status = statuses.get(name)
                if name in running or name in due or (status is not None and status.is_final):
                    continue
                found = Turn.RUN if status is Status.RUNNING else turn(action, statuses)
                if found is Turn.RUN:
                    due[name] = action
                elif found is Turn.SKIP:
                    self._skip(action)
                    skipped = True
        return list(due.values())

    async def _perform(self, action: Action) -> None:
        record = self._run.actions.get(action.name)
        if record is None:
            record = self._record(action, Status.RUNNING)
            self._save()
        try:
            end = await self._execute(action, record)
        except EvaluationError as error:
            end = _End(Status.FAILED, error=f"InvalidTemplate: {error}")
        for child in self._within_action(action):
            if child.name not in self._run.actions:
                self._skip(child)
        record.status, record.outputs = end.status, end.outputs
        record.error = end.error
        record.next_attempt = None
        record.ended = self._settings.clock.now()
        self._save()
        if end.status in {Status.FAILED, Status.TIMED_OUT}:
            _log.warning(
                "workflow run %s: action %s is %s after %d attempts: %s",
                *(self._run.id, action.name, end.status, record.attempts, end.error),
            )
        if isinstance(action, Terminate) and end.status is Status.SUCCEEDED:
            raise _TerminatedError(Status(end.outputs["runStatus"]))

    async def _execute(self, action: Action, record: ActionRecord) -> _End:
        match action:
            case Compose():
                return _End(Status.SUCCEEDED, self._render(action.inputs))
            case Terminate():
                return self._terminate(action)
            case InitializeVariable() | SetVariable() | IncrementVariable():
                return self._assign(action)
            case Scope():
                return _group_end(await self._group(action.actions))
            case If():
                return await self._if(action, record)
            case Until():
                return await self._until(action, record)
            case Wait():
                return await self._wait(action, record)
            case Http():
                return await self._within(action.timeout, record, self._http(action, record))
            case HttpWebhook():
                return await self._webhook(action, record)
            case _:
                raise TypeError(f"{action.name}: {type(action).__name__} has no implementation")

    def _terminate(self, action: Terminate) -> _End:
        inputs = self._render(action.inputs)
        statuses = {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}
        if inputs.get("runStatus") not in statuses:
            raise EvaluationError(f"runStatus is {inputs.get('runStatus')!r}")
        return _End(Status.SUCCEEDED, inputs)

    def _assign(self, action: InitializeVariable | SetVariable | IncrementVariable) -> _End:
        """Change a variable; the caller saves the value and the action's end in one step."""
        value = self._render(action.value)
        variables = self._run.variables
        if isinstance(action, IncrementVariable):
            number = variables[action.variable]
            if not all(isinstance(each, int | float) for each in (number, value)):
                raise EvaluationError(f"the variable {action.variable} is not a number")
            value += number
        kind = self._definition.variable_types[action.variable]
        if type_name(value).lower() != kind:
            raise EvaluationError(
                f"the variable {action.variable} is of type {kind}, not {type_name(value)}"
            )
        variables[action.variable] = value
        return _End(Status.SUCCEEDED, {"name": action.variable, "value": value})

    async def _if(self, action: If, record: ActionRecord) -> _End:
        if record.branch is None:
            record.branch = bool(self._render(action.condition))
            for child in (action.otherwise if record.branch else action.actions).values():
                self._skip(child)
            self._save()
        return _group_end(await self._group(action.actions if record.branch else action.otherwise))

    async def _until(self, action: Until, record: ActionRecord) -> _End:
        """Repeat the actions; the last iteration decides the status.

        Source: "Add loops to repeat actions in workflows",
        learn.microsoft.com/azure/logic-apps/logic-apps-control-flow-loops. A failed iteration does
        not end the loop. The timeout is checked between iterations only. At a limit the loop has
        the status of its last iteration, unless `FailWhenLimitsReached` is set.
        """
        deadline = record.started + action.timeout * self._settings.scale
        while True:
            status = await self._group(action.actions)
            if self._render(action.condition):
                return _group_end(status)
            if record.iteration + 1 >= action.count or self._settings.clock.now() >= deadline:
                if action.fails_at_limit:
                    return _End(Status.FAILED, error="the limit of the loop was reached")
                return _group_end(status)
            for child in self._within_action(action):
                self._run.actions.pop(child.name, None)
            record.iteration += 1
            self._save()
            await asyncio.sleep(0)  # a loop without requests must not block the process

    async def _wait(self, action: Wait, record: ActionRecord) -> _End:
        interval = self._render(action.inputs)
        unit = _UNITS.get(str(interval.get("unit")).lower())
        count = interval.get("count")
        if unit is None or isinstance(count, bool) or not isinstance(count, int | float):
            raise EvaluationError(f"the interval {interval!r} is not a count of a known unit")
        await self._settings.clock.sleep_until(record.started + count * unit * self._settings.scale)
        return _End(Status.SUCCEEDED)

    async def _http(self, action: Http, record: ActionRecord) -> _End:
        request = Request.of(self._render(action.inputs))
        answer, error = await self._send(request, action.retry, record)
        while action.polls and answer is not None and answer.status == 202:
            location = answer.headers.get("location")
            if location is None:
                break
            await self._poll_wait(answer)
            poll = Request("GET", location, request.headers)
            record.attempts = 0
            answer, error = await self._send(poll, action.retry, record)
        return _answer_end(answer, error)

    async def _poll_wait(self, answer: Answer) -> None:
        """Wait before the next poll of an asynchronous operation, as `Retry-After` says."""
        given = answer.headers.get("retry-after", "")
        seconds = float(given) if given.isdecimal() else _POLL_SECONDS
        clock = self._settings.clock
        await clock.sleep_until(clock.now() + seconds * self._settings.scale)

    async def _webhook(self, action: HttpWebhook, record: ActionRecord) -> _End:
        """Subscribe, and wait for the callback.

        Source: "Subscribe and wait for events to run workflows using HTTP webhooks",
        learn.microsoft.com/azure/connectors/connectors-native-webhook. The action unsubscribes
        after the callback, before a timeout, and when the run is cancelled.
        """
        if not record.callback:
            record.callback = secrets.token_hex(12)
            self._save()
        called = self._called[record.callback] = asyncio.Event()
        if record.answer is not None:
            called.set()
        try:
            end = await self._within(
                action.timeout, record, self._subscribe_and_wait(action, record, called)
            )
        finally:
            self._called.pop(record.callback, None)
        if record.subscribed:
            await self._unsubscribe(action, record)
        return end

    async def _subscribe_and_wait(
        self, action: HttpWebhook, record: ActionRecord, called: asyncio.Event
    ) -> _End:
        if not record.subscribed:
            inputs = self._render(action.subscribe, record)
            answer, error = await self._send(Request.of(inputs), action.retry, record)
            if answer is None or not answer.is_success:
                return _answer_end(answer, error)
            record.subscribed = True
            record.error = ""
            self._save()
        await called.wait()
        return _End(Status.SUCCEEDED, record.answer)

    async def _unsubscribe(self, action: HttpWebhook, record: ActionRecord) -> None:
        """Send the request to unsubscribe; its failure does not change the action's status."""
        if action.unsubscribe is None:
            return
        inputs = self._render(action.unsubscribe, record)
        sent = ActionRecord(record.name, record.kind, Status.RUNNING, record.started)
        await self._send(Request.of(inputs), action.unsubscribe_retry, sent)

    async def _send(
        self, request: Request, policy: RetryPolicy, record: ActionRecord
    ) -> tuple[Answer | None, str]:
        """Send a request until an answer is final, or the policy has no more retries.

        Returns:
            The last answer and the last error; the answer is None if there was none.
        """
        clock = self._settings.clock
        while True:
            if record.next_attempt is not None:
                await clock.sleep_until(record.next_attempt)
            answer: Answer | None = None
            try:
                answer = await self._settings.sender.send(request)
                error = "" if answer.is_success else _shown(answer)
            except NoAnswerError as raised:
                error = str(raised)
            record.attempts += 1
            if answer is not None and not is_retried(answer.status):
                return answer, error
            wait = policy.wait_after(record.attempts, self._settings.pick)
            if wait is None:
                return answer, error
            record.error = error
            record.next_attempt = clock.now() + wait * self._settings.scale
            self._save()

    async def _within(
        self, timeout: float | None, record: ActionRecord, work: Coroutine[Any, Any, _End]
    ) -> _End:
        """Return the end of the work, or TimedOut after the timeout since the action's start."""
        if timeout is None:
            return await work
        deadline = record.started + timeout * self._settings.scale
        task = asyncio.create_task(work)
        alarm = asyncio.create_task(_alarm(self._settings.clock.sleep_until(deadline)))
        try:
            await asyncio.wait({task, alarm}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            return _End(Status.TIMED_OUT, error=record.error or "the action's limit has passed")
        finally:
            task.cancel()
            alarm.cancel()
            await asyncio.gather(task, alarm, return_exceptions=True)

    async def _end_all(self) -> None:
        """Cancel the running actions and skip the actions that have not started."""
        for action in every_action(self._definition.actions):
            record = self._run.actions.get(action.name)
            if record is None:
                self._record(action, Status.SKIPPED)
            elif not record.status.is_final:
                record.status = Status.CANCELLED
                record.ended = self._settings.clock.now()
                if isinstance(action, HttpWebhook) and record.subscribed:
                    await self._unsubscribe(action, record)

    def _skip(self, action: Action) -> None:
        self._record(action, Status.SKIPPED)
        for child in self._within_action(action):
            self._record(child, Status.SKIPPED)

    def _within_action(self, action: Action) -> tuple[Action, ...]:
        """Return all actions inside an action."""
        if (found := self._inside.get(action.name)) is None:
            found = self._inside[action.name] = tuple(every_action(action.children))
        return found

    def _record(self, action: Action, status: Status) -> ActionRecord:
        now = self._settings.clock.now()
        record = ActionRecord(action.name, type(action).__name__, status, now)
        if status.is_final:
            record.ended = now
        self._run.actions[action.name] = record
        return record

    def _render(self, template: Template, record: ActionRecord | None = None) -> Any:
        url = None
        if record is not None:
            base, run = self._settings.callback_base, self._run
            url = f"{base}/runs/{run.id}/callback?id={record.callback}&sig={run.sig}"
        return template.render(
            RunContext(
                self._run,
                self._definition.actions,
                self._settings.parameters,
                self._settings.clock.now(),
                url,
            )
        )

    def _save(self) -> None:
        self._store(self._run)


async def _alarm(sleep: Awaitable[None]) -> None:
    await sleep


def _group_end(status: Status) -> _End:
    if status is Status.SUCCEEDED:
        return _End(status)
    return _End(status, error="ActionFailed: an action failed, and no dependent action succeeded")


def _answer_end(answer: Answer | None, error: str) -> _End:
    if answer is None:
        return _End(Status.FAILED, error=error)
    status = Status.SUCCEEDED if answer.is_success else Status.FAILED
    return _End(status, answer.outputs, error)


def _shown(answer: Answer) -> str:
    return f"HTTP {answer.status}: {' '.join(str(answer.body)[:_SHOWN].split())}"

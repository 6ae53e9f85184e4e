"""The workflow: one process with the real interpreter, and the way of its requests."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local.workflow import Workflow
from local.workflow.definition.status import Status
from local.workflow.expressions.values import Json
from local.workflow.runs.interpreter import Settings
from local.workflow.runs.record import ActionRecord, RunRecord
from local.workflow.runs.requests import Answer, NoAnswerError, Request
from local.workflow.runs.store import RunStore
from local.workflow.runs.workflow import CallbackRefusedError, UnknownRunError
from local.workflow.view import opening_of
from tests.chain.console_process import CALLBACK_HOST, TOKEN
from tests.chain.faults import Call, FaultLine, LostError
from tests.chain.metrics import WORKFLOW, Metrics

PARAMETERS = {
    "functionAppUrl": "https://arm/sites/app",
    "managementAudience": "https://arm/",
    "consoleUrl": "https://console",
    "consoleToken": TOKEN,
    "mailEndpoint": "https://mail",
    "mailFrom": "from@example.org",
    "mailTo": "operator@example.org",
}


@dataclass
class Seen:
    """A request of the workflow, as the workflow sees the request.

    Attributes:
        at: the time of the request.
        call: the call.
        body: the request's body.
        status: the answer's status; None without an answer.
    """

    at: float
    call: Call
    body: Json
    status: int | None = None


_FAILED, _TIMED_OUT = Status.FAILED, Status.TIMED_OUT
_LOOK_UPS = frozenset({Call.LOOK_UP, Call.LOOK_UP_AGAIN})

type Receiver = Callable[[Seen, Request], Awaitable[Answer]]


class MeteredRuns(RunStore):
    """A store of runs that counts the metrics of runs and actions as the service does."""

    def __init__(self, metrics: Metrics, earlier: RunStore | None = None) -> None:
        super().__init__()
        self._metrics = metrics
        self._counted: dict[int, ActionRecord] = {}
        self._ended: set[str] = set()
        if earlier is not None:
            self._definitions.update(earlier._definitions)
            for run in earlier.all():
                self._runs[run.id] = _restored(run)
                self._count(self._runs[run.id], Metrics(metrics.clock))

    def save(self, run: RunRecord) -> None:
        super().save(run)
        self._count(run, self._metrics)

    def _count(self, run: RunRecord, metrics: Metrics) -> None:
        for record in run.actions.values():
            status = record.status
            if (status is _FAILED or status is _TIMED_OUT) and id(record) not in self._counted:
                self._counted[id(record)] = record
                metrics.count(WORKFLOW, "ActionsFailed")
        if run.status.is_final and run.id not in self._ended:
            self._ended.add(run.id)
            if run.status in {Status.FAILED, Status.TIMED_OUT}:
                metrics.count(WORKFLOW, "RunsFailed")


class WorkflowProcess:
    """The workflow's current process, as sender of its requests and as caller of its callbacks.

    Args:
        definition: the definition of new runs.
        line: the way of each call.
        metrics: the workflow's metrics.
        receive: the other parts of the world, which receive the requests.
        accepts_early: see `Workflow`.
    """

    def __init__(
        self,
        definition: Mapping[str, Any],
        line: FaultLine,
        metrics: Metrics,
        receive: Receiver,
        *,
        accepts_early: bool,
    ) -> None:
        self._definition = definition
        self._line = line
        self._metrics = metrics
        self._receive = receive
        self._accepts_early = accepts_early
        self._calls = dict(_calls(definition))
        self._store = MeteredRuns(metrics)
        self.seen: list[Seen] = []
        self._looked: dict[int, ActionRecord] = {}
        self._workflow: Workflow | None = self._process()

    def runs(self) -> list[RunRecord]:
        return self._store.all()

    def generations_at(self, call: Call) -> list[int]:
        """Return the generations of the runs that make this call now."""
        return [
            generation_of(run)
            for run in self.runs()
            if any(
                not record.status.is_final and self._calls.get(name) is call
                for name, record in run.actions.items()
            )
        ]

    async def send(self, request: Request) -> Answer:
        """See `local.workflow.runs.requests.Sender`."""
        call = self._call_of(request)
        seen = Seen(self._line.clock.now(), call, request.body)
        self.seen.append(seen)
        try:
            answer = await self._line.send(
                call, lambda: self._receive(seen, request), lambda status: Answer(status, {}, None)
            )
        except LostError as error:
            raise NoAnswerError(str(error)) from error
        seen.status = answer.status
        return answer

    async def trigger(self, outputs: dict[str, Any]) -> int:
        """Call the trigger."""
        if self._workflow is None:
            raise LostError("the workflow is restarting")
        self._workflow.trigger(outputs)
        return 202

    async def post(self, url: str, body: dict[str, object]) -> int:
        """See `breaker.approvals.Caller.post`."""

        async def answer() -> int:
            if self._workflow is None:
                raise LostError("the workflow is restarting")
            parts = urlsplit(url)
            query = parse_qs(parts.query)
            run_id = parts.path.split("/")[2]
            outputs = {"headers": {}, "body": json.loads(json.dumps(body))}
            try:
                self._workflow.callback(run_id, query["id"][0], query["sig"][0], outputs)
            except CallbackRefusedError:
                return 401
            except UnknownRunError:
                return 404
            return 200

        try:
            return await self._line.send(Call.CALL_BACK, answer, lambda status: status)
        except LostError as error:
            raise OSError(str(error)) from error

    async def stop(self) -> None:
        workflow, self._workflow = self._workflow, None
        if workflow is not None:
            await workflow.aclose()

    async def start(self) -> None:
        """Begin a new process on the stored runs."""
        self._store = MeteredRuns(self._metrics, self._store)
        self._workflow = self._process()
        self._workflow.resume()

    async def aclose(self) -> None:
        """See `breaker.approvals.Caller.aclose`."""

    def _process(self) -> Workflow:
        settings = Settings(
            self, PARAMETERS, f"https://{CALLBACK_HOST}", clock=self._line.clock, pick=max
        )
        return Workflow(
            self._definition, settings, self._store, accepts_early_callbacks=self._accepts_early
        )

    def _call_of(self, request: Request) -> Call:
        """Return the call that a request makes; a look-up by the action that runs."""
        if (call := _by_address(request.method, request.uri)) is not None:
            return call
        looking = [
            (record, self._calls[name])
            for run in self.runs()
            for name, record in run.actions.items()
            if self._calls.get(name) in _LOOK_UPS and not record.status.is_final
        ]
        fresh = [found for found in looking if id(found[0]) not in self._looked]
        record, call = (fresh or looking)[0]
        self._looked[id(record)] = record
        return call


def generation_of(run: RunRecord) -> int:
    """Return the generation of the opening that triggered a run."""
    return int(opening_of(run)["generation"])


def _restored(run: RunRecord) -> RunRecord:
    return RunRecord.from_json(json.loads(json.dumps(run.as_json())))


def _by_address(method: str, uri: str) -> Call | None:
    path = urlsplit(uri).path
    known = {
        "/stop": Call.STOP,
        "/start": Call.START,
        "/emails:send": Call.MAIL,
        "/api/approvals": Call.SUBSCRIBE,
        "/api/approvals/steps": Call.REPORT,
    }
    if method == "POST":
        return next((call for end, call in known.items() if path.endswith(end)), None)
    return None


def _calls(definition: Mapping[str, Any]) -> Iterator[tuple[str, Call]]:
    """Yield each action with its call; a look-up is the first one until the approval is asked."""
    asked = False
    for name, action in _actions(definition["actions"]):
        inputs = action.get("inputs", {})
        if action["type"] == "HttpWebhook":
            asked = True
            yield name, Call.SUBSCRIBE
        elif action["type"] == "Http":
            path = inputs["uri"].replace("@{parameters('functionAppUrl')}", "https://arm")
            path = path.replace("@{parameters('consoleUrl')}", "https://console")
            path = path.replace("@{parameters('mailEndpoint')}", "https://mail")
            call = _by_address(inputs["method"], path)
            yield name, call or (Call.LOOK_UP_AGAIN if asked else Call.LOOK_UP)


def _actions(actions: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield all actions in the order of the text."""
    for name, action in actions.items():
        yield name, action
        yield from _actions(action.get("actions", {}))
        yield from _actions(action.get("else", {}).get("actions", {}))

"""The workflow: its definition, its runs, and their callbacks."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from local.workflow.definition import Definition, DefinitionError, load_definition
from local.workflow.definition.status import Status
from local.workflow.runs.interpreter import Interpreter, Settings
from local.workflow.runs.record import RunRecord
from local.workflow.runs.store import RunStore

_log = logging.getLogger(__name__)


@lru_cache(maxsize=16)
def _load(text: str) -> Definition:
    """Compile a definition once for all its runs."""
    return load_definition(json.loads(text))


class CallbackRefusedError(Exception):
    """A callback with a missing or wrong signature."""


class UnknownRunError(LookupError):
    """A callback for a run that does not exist, or for an action that does not wait."""


class Workflow:
    """The runs of a definition; each request of the trigger starts one run.

    A run keeps the definition with which the run began. Parameters have the values of this process,
    because they are addresses and secrets of the local stack.

    Args:
        document: the definition of new runs.
        settings: the surroundings of runs.
        store: the stored runs; `resume` continues unfinished runs.
        accepts_early_callbacks: whether a callback is accepted before the answer to the subscribing
            request. The documentation does not say what the service does. True records the
            callback; False refuses the callback, as for an action that does not wait.

    Raises:
        DefinitionError: the definition is refused, or a parameter has no value.
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        settings: Settings,
        store: RunStore,
        *,
        accepts_early_callbacks: bool = True,
    ) -> None:
        definition = self._definition = _load(json.dumps(document))
        given = {**definition.parameters, **settings.parameters}
        if missing := definition.declared - given.keys():
            raise DefinitionError(f"parameters without a value: {', '.join(sorted(missing))}")
        self._settings = replace(settings, parameters=given)
        self._store = store
        self._accepts_early_callbacks = accepts_early_callbacks
        self._digest = store.add_definition(document)
        self._running: dict[str, tuple[asyncio.Task[None], Interpreter]] = {}

    def trigger(self, outputs: dict[str, Any]) -> RunRecord:
        """Start a run.

        Args:
            outputs: headers and body of the request, as `triggerOutputs` returns them.
        """
        run = RunRecord(self._digest, outputs, self._settings.clock.now())
        self._store.save(run)
        self._launch(run)
        return run

    def resume(self) -> None:
        """Continue the runs that an earlier process has left unfinished."""
        for run in self._store.all():
            if not run.status.is_final and run.id not in self._running:
                self._launch(run)

    def callback(self, run_id: str, callback: str, sig: str, answer: dict[str, Any]) -> RunRecord:
        """Record the callback of a waiting action; a repeated callback changes nothing.

        Args:
            run_id: id of the run.
            callback: id of the callback.
            sig: signature from the callback's address.
            answer: headers and body of the request.

        Raises:
            UnknownRunError: the run does not exist, or no action waits for this callback.
            CallbackRefusedError: the signature is not the run's signature.
        """
        run = self._store.get(run_id)
        if run is None:
            raise UnknownRunError(run_id)
        if not hmac.compare_digest(sig.encode(), run.sig.encode()):
            raise CallbackRefusedError
        record = run.waiting_for(callback)
        if record is None or not (record.subscribed or self._accepts_early_callbacks):
            raise UnknownRunError(callback)
        if record.answer is None:
            record.answer = answer
            self._store.save(run)
        if run_id in self._running:
            self._running[run_id][1].called_back(callback)
        return run

    def runs(self) -> list[RunRecord]:
        """Return all stored runs, oldest first."""
        return self._store.all()

    async def aclose(self) -> None:
        """Stop all runs; `resume` of the next process continues the unfinished runs."""
        tasks = [task for task, _ in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _launch(self, run: RunRecord) -> None:
        try:
            definition = self._definition_of(run)
        except (KeyError, DefinitionError):
            _log.exception(
                "workflow run %s cannot continue, because its definition is lost", run.id
            )
            run.status = Status.FAILED
            run.ended = self._settings.clock.now()
            self._store.save(run)
            return
        interpreter = Interpreter(run, definition, self._settings, self._store.save)
        task = asyncio.create_task(self._execute(run, interpreter), name=f"workflow run {run.id}")
        self._running[run.id] = task, interpreter
        task.add_done_callback(lambda _: self._running.pop(run.id, None))

    def _definition_of(self, run: RunRecord) -> Definition:
        if run.definition == self._digest:
            return self._definition
        return _load(json.dumps(self._store.definition(run.definition)))

    async def _execute(self, run: RunRecord, interpreter: Interpreter) -> None:
        try:
            await interpreter.execute()
        except Exception:
            _log.exception("workflow run %s failed by an error of the interpreter", run.id)
            run.status = Status.FAILED
            run.ended = self._settings.clock.now()
            self._store.save(run)

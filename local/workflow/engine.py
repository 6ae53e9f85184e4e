"""The workflow: circuit opened → stop the app → request approval → start the app."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from local.workflow.actions import ActionError, Actions
from local.workflow.retry import ExponentialRetry
from local.workflow.run import Opening, Run, RunState, Step
from local.workflow.store import RunStore

_log = logging.getLogger(__name__)


class CallbackRefusedError(Exception):
    """A callback with a missing or wrong signature."""


class UnknownRunError(LookupError):
    """A callback for a run that does not exist or is no longer stored."""


class Workflow:
    """The runs of the workflow, at most one per opening of a circuit.

    The run of a newer opening cancels the runs of older openings.

    Args:
        actions: the HTTP calls.
        store: the stored runs; `resume` continues unfinished runs.
        callback_base: base URL of the callbacks to this workflow.
        retry: retry policy of stop and start.
        patient_retry: retry policy of approval requests, which are retried without end.
        now: the current time with a time zone.
        sleep: waits a number of seconds.
    """

    def __init__(
        self,
        actions: Actions,
        store: RunStore,
        callback_base: str,
        *,
        retry: ExponentialRetry | None = None,
        patient_retry: ExponentialRetry | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._actions = actions
        self._store = store
        self._callback_base = callback_base
        self._retry = retry or ExponentialRetry()
        self._patient_retry = patient_retry or ExponentialRetry(retries=None)
        self._now = now
        self._sleep = sleep
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._approved: dict[str, asyncio.Event] = {}

    def trigger(self, opening: Opening) -> Run | None:
        """Start the run of an opening.

        Generation and time can disagree on the order of two openings, for example after the
        circuit's store was emptied. The run then first looks up the current opening at the console.

        Returns:
            The run; None if the opening is a repeat or older than a handled opening, because Event
            Grid delivers at least once and not in order.
        """
        earlier = self._store.of_circuit(opening.circuit)
        if any(opening.is_covered_by(known) for known in _handled(earlier)):
            return None
        run = Run(opening.circuit, opening.generation, at=opening.at)
        detail = f"generation {opening.generation} opened"
        self._finish(self._begin(run, "triggered"), "Succeeded", detail)
        self._store.save(run)
        self._launch(run, earlier)
        return run

    def resume(self) -> None:
        """Continue the runs that an earlier process has left unfinished."""
        for run in self._store.all():
            if not run.state.is_final and run.id not in self._tasks:
                for step in run.steps:
                    if step.status == "Running":
                        self._finish(step, "Failed", "the process that ran the step ended")
                known = self._store.of_circuit(run.circuit)
                self._launch(run, known[: known.index(run)])

    def callback(self, run_id: str, sig: str, by: str | None) -> Run:
        """Record the operator's approval; a repeated approval changes nothing.

        Raises:
            UnknownRunError: the run does not exist.
            CallbackRefusedError: the signature is not the run's signature.
        """
        run = self._store.get(run_id)
        if run is None:
            raise UnknownRunError(run_id)
        if not hmac.compare_digest(sig.encode(), run.sig.encode()):
            raise CallbackRefusedError
        if run.approved_by is None:
            run.approved_by = by or "unknown"
            self._store.save(run)
        if (approved := self._approved.get(run_id)) is not None:
            approved.set()
        return run

    def runs(self) -> list[Run]:
        """Return all stored runs, oldest first."""
        return self._store.all()

    async def aclose(self) -> None:
        """Stop all runs; `resume` of the next process continues the unfinished runs."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _launch(self, run: Run, earlier: list[Run]) -> None:
        approved = self._approved[run.id] = asyncio.Event()
        if run.approved_by is not None:
            approved.set()
        outdated = [known for known in earlier if not known.state.is_final]
        is_newest = all(run.opening.is_after(known) for known in _handled(earlier))
        look_up = run.state is RunState.STOPPING and not is_newest
        work = self._run(run, outdated, look_up=look_up)
        task = asyncio.create_task(work, name=f"workflow run {run.id}")
        self._tasks[run.id] = task
        task.add_done_callback(lambda _: self._forget(run.id))

    def _forget(self, run_id: str) -> None:
        self._tasks.pop(run_id, None)
        self._approved.pop(run_id, None)

    async def _run(self, run: Run, outdated: list[Run], *, look_up: bool) -> None:
        if look_up and await self._has_passed(run):
            self._move(run, RunState.SKIPPED)
            return
        # First, because an older run must not start the app that this run stops.
        for old in outdated:
            await self._supersede(old, run)
        try:
            if run.state is RunState.STOPPING:
                # The result is ignored: if the stop fails, the circuit still holds every event.
                await self._attempt(run, "stop", self._actions.stop)
                self._move(run, RunState.WAITING)
            if run.state is RunState.WAITING:
                await self._wait_for_approval(run)
                self._move(run, RunState.STARTING)
            started = await self._attempt(run, "start", self._actions.start)
            self._move(run, RunState.SUCCEEDED if started else RunState.FAILED)
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception(
                "workflow run %s for generation %d of circuit %s failed",
                *(run.id, run.generation, run.circuit),
            )
            self._move(run, RunState.FAILED)

    async def _has_passed(self, run: Run) -> bool:
        step = self._begin(run, "look_up")
        try:
            passed = await self._actions.has_passed(run.circuit, run.generation)
        except ActionError as error:  # the run continues, because the app must not stay running
            self._finish(step, "Failed", str(error))
            return False
        self._finish(
            step,
            "Succeeded",
            "the circuit has passed this generation" if passed else "this generation is current",
        )
        return passed

    async def _supersede(self, old: Run, by: Run) -> None:
        if (task := self._tasks.get(old.id)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if not old.state.is_final:
            step = self._begin(old, "superseded")
            self._finish(step, "Succeeded", f"generation {by.generation} opened")
            self._move(old, RunState.CANCELLED)

    async def _wait_for_approval(self, run: Run) -> None:
        approved = self._approved[run.id]
        if approved.is_set():
            return
        url = f"{self._callback_base}/runs/{run.id}/callback?sig={run.sig}"

        async def ask() -> str:
            waiting = await self._actions.request_approval(run.opening, url)
            if not waiting:
                approved.set()
            return (
                "waiting for the operator"
                if waiting
                else "the circuit has already passed this generation"
            )

        asking = asyncio.create_task(
            self._attempt(run, "request_approval", ask, self._patient_retry)
        )
        step = self._begin(run, "approval")
        try:
            # An operator may approve before the console has answered the request.
            await approved.wait()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        self._finish(step, "Succeeded", f"by {run.approved_by or 'the circuit itself'}")

    async def _attempt(
        self,
        run: Run,
        name: str,
        action: Callable[[], Awaitable[str]],
        retry: ExponentialRetry | None = None,
    ) -> bool:
        """Run an action with retries by the policy; return whether the action succeeded."""
        policy = retry or self._retry
        step = self._begin(run, name)
        while True:
            step.attempts += 1
            try:
                detail = await action()
            except ActionError as error:
                step.detail = str(error)
                # Retries without end include permanent errors: an operator may fix the console.
                retried = error.retried or policy.retries is None
                wait = policy.wait_after(step.attempts) if retried else None
                if wait is None:
                    _log.warning(
                        "workflow run %s for generation %d of circuit %s: %s failed after %d "
                        "attempts and is not retried: %s",
                        *(run.id, run.generation, run.circuit, name, step.attempts, error),
                    )
                    self._finish(step, "Failed", str(error))
                    return False
                self._store.save(run)
                await self._sleep(wait)
            else:
                self._finish(step, "Succeeded", detail)
                self._store.save(run)
                return True

    def _begin(self, run: Run, name: str) -> Step:
        step = Step(name, self._now().isoformat(), "Running")
        run.steps.append(step)
        return step

    def _finish(self, step: Step, status: str, detail: str) -> None:
        step.status, step.detail = status, detail

    def _move(self, run: Run, state: RunState) -> None:
        run.state = state
        self._store.save(run)


def _handled(runs: list[Run]) -> list[Opening]:
    return [run.opening for run in runs if run.state is not RunState.SKIPPED]

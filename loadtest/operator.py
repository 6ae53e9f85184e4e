"""The simulated operator, which waits for the workflow, repairs the downstream and approves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from loadtest.errors import OperatorError
from loadtest.observe.observer import Observer
from loadtest.plan.settings import ApproveWith
from loadtest.target.commands import run_command
from loadtest.target.endpoints import Endpoints

_POLL_SECONDS = 0.1
_WAITING = "WaitingForApproval"
_STOP = "Stop_the_app"  # in infra/workflow.json
_STOP_SECONDS = 180.0

Approve = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Approval:
    """One approval, and the time at which the workflow had stopped the app."""

    generation: int
    app_stopped_at: str | None


class Operator:
    """An operator that approves each opening once; `run()` returns only when cancelled.

    Args:
        workflow_url: "" if the workflow has no URL that reports its runs.
        circuit: the name of the circuit.
        patience_seconds: how long a refused approval is retried; needed while Redis or the console
            is down.

    Raises:
        OperatorError: a workflow run failed, or an approval was refused while the circuit was
            still open and the patience had run out.
    """

    def __init__(
        self,
        observer: Observer,
        workflow_url: str,
        recover: Callable[[], Awaitable[None]],
        approve: Approve,
        *,
        circuit: str,
        approve_after_seconds: float,
        after_generation: int,
        patience_seconds: float = 0.0,
    ) -> None:
        self._observer = observer
        self._workflow_url = workflow_url
        self._recover = recover
        self._approve = approve
        self._circuit = circuit
        self._approve_after_seconds = approve_after_seconds
        self._generation = after_generation
        self._patience_seconds = patience_seconds
        self._opened_at: float | None = None
        self.waiting = False
        self.approvals: list[Approval] = []

    async def run(self) -> None:
        """Wait for openings and approve them."""
        async with httpx.AsyncClient() as client:
            while True:
                opened = await self._observer.until(
                    lambda sample: sample.state == "open" and sample.generation > self._generation
                )
                self._generation = opened.generation
                self._opened_at = None
                run = await self._until_waiting(client, opened.generation)
                if run is None:
                    continue
                self.waiting = True
                await asyncio.sleep(self._approve_after_seconds)
                await self._recover()
                await self._approve_unless_moved_on(opened.generation)
                self.waiting = False
                self.approvals.append(Approval(opened.generation, _stopped_at(run)))

    def _still_open(self, generation: int) -> bool:
        latest = self._observer.latest
        return latest.state == "open" and latest.generation == generation

    async def _until_waiting(
        self, client: httpx.AsyncClient, generation: int
    ) -> dict[str, Any] | None:
        """Return the generation's workflow run once it waits; None if the circuit moved on."""
        while self._still_open(generation):
            run = await self._workflow_run(client, generation)
            if run is not None and run["state"] == "Failed":
                raise OperatorError(f"the workflow of generation {generation} failed: {run}")
            if run is not None and run["state"] == _WAITING:
                return run
            await asyncio.sleep(_POLL_SECONDS)
        return None

    async def _workflow_run(
        self, client: httpx.AsyncClient, generation: int
    ) -> dict[str, Any] | None:
        if not self._workflow_url:
            return self._stopped_run()
        try:
            answer = await client.get(f"{self._workflow_url}/runs")
            answer.raise_for_status()
        except httpx.HTTPError:
            return None
        # Take the newest run: a skipped generation may be reported again, and an emptied store
        # counts generations from 1 again.
        # Each circuit counts its own generations.
        for run in reversed(answer.json()["runs"]):
            if int(run["generation"]) == generation and run.get("circuit") == self._circuit:
                return dict(run)
        return None

    def _stopped_run(self) -> dict[str, Any] | None:
        """Return a waiting run once the app is stopped, for a workflow that reports no runs.

        Stopping the app may take long or fail. The open circuit holds processing in any case, so
        the operator approves after 180 s.
        """
        now = time.monotonic()
        self._opened_at = self._opened_at or now
        stopped = self._observer.latest.app_state == "Stopped"
        return {"state": _WAITING} if stopped or now - self._opened_at >= _STOP_SECONDS else None

    async def _approve_unless_moved_on(self, generation: int) -> None:
        give_up_at = time.monotonic() + self._patience_seconds
        while True:
            try:
                await self._approve(generation)
            except OperatorError:
                if not self._still_open(generation):
                    return
                if time.monotonic() >= give_up_at:
                    raise
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return


def _stopped_at(run: dict[str, Any]) -> str | None:
    """Return the time at which the workflow stopped the app."""
    stops = [step.get("at") for step in run.get("steps", ()) if step.get("name") == _STOP]
    return str(stops[-1]) if stops else None


def approve_with(
    how: ApproveWith, endpoints: Endpoints, circuit_name: str, ask: Approve | None = None
) -> Approve:
    """Return the function that approves by CLI process, by the console's API, or by `ask`."""
    if ask is not None and how is ApproveWith.PERSON:
        return ask

    async def by_cli(generation: int) -> None:
        arguments = ("--generation", str(generation), "--by", "loadtest")
        code, text = await run_command(
            *("breaker", "approve", *arguments, *endpoints.pipeline_options),
            environment=endpoints.app_settings(),
        )
        if code != 0:
            raise OperatorError(
                f"`breaker approve --generation {generation}` exited with code {code}: {text}"
            )

    async def by_console(generation: int) -> None:
        async with httpx.AsyncClient() as client:
            answer = await client.post(
                f"{endpoints.console_url}/api/circuits/{circuit_name}/approve",
                json={"generation": generation, "by": "loadtest"},
                headers={"Authorization": f"Bearer {endpoints.console_token}"},
            )
        if answer.is_error:
            raise OperatorError(
                f"the console refused the approval of generation {generation}: "
                f"{answer.status_code} {answer.text}"
            )

    return by_console if how is ApproveWith.CONSOLE else by_cli


class HumanApprover:
    """An approval by a person, who is prompted through `print_line` and uses the console."""

    def __init__(
        self, observer: Observer, endpoints: Endpoints, print_line: Callable[[str], None]
    ) -> None:
        self._observer = observer
        self._endpoints = endpoints
        self._print_line = print_line

    async def approve(self, generation: int) -> None:
        """Prompt the person, and return once the generation is no longer open."""
        self._print_line(
            f"the downstream is repaired: approve generation {generation} at "
            f"{self._endpoints.console_url} with the token {self._endpoints.console_token}"
        )
        await self._observer.until(
            lambda sample: sample.state != "open" or sample.generation != generation
        )

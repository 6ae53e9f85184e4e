"""The operator's actions on the app: stop, start, and the commands of circuit and rewind."""

from __future__ import annotations

import asyncio

import httpx

from loadtest.errors import StackError
from loadtest.target.commands import run_command
from loadtest.target.endpoints import Endpoints
from loadtest.target.hosts import host_instances

_SITES_VERSION = "2025-03-01"
_MOVES = frozenset({"Stop_the_app", "Start_the_app"})  # in infra/workflow.json
_POLL_SECONDS, _STOP_SECONDS = 0.1, 60.0


async def stop(endpoints: Endpoints) -> None:
    """Stop the function app, and wait until no host runs.

    Raises:
        StackError: a host still runs after 60 s.
    """
    await _manage(endpoints, "stop")
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            while host_instances(endpoints.state_dir):  # noqa: ASYNC110 - other processes
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise StackError(f"a host still runs {_STOP_SECONDS:g} s after the app's stop") from None


async def start(endpoints: Endpoints) -> None:
    """Start the function app."""
    await _manage(endpoints, "start")


async def rewind(endpoints: Endpoints, *options: str) -> tuple[int | None, str]:
    """Run `breakwater rewind` and return its exit code and output."""
    return await _processing(endpoints, "rewind", *options)


async def redrive(endpoints: Endpoints) -> str:
    """Replay all poisoned events and the events parked behind them; return the command's output.

    Raises:
        StackError: the command failed, or an event was not handled.
    """
    code, text = await _processing(endpoints, "redrive", "--all")
    if code != 0:
        raise StackError(f"`processing redrive` ended with {code}: {text}")
    return text


async def isolate(endpoints: Endpoints) -> None:
    """Isolate the app's circuit.

    Raises:
        StackError: the command failed.
    """
    await _breaker(endpoints, "isolate", "--reason", "the load test", "--by", "loadtest")


async def close(endpoints: Endpoints, generation: int) -> None:
    """Close the app's circuit.

    Raises:
        StackError: the command failed.
    """
    await _breaker(endpoints, "close", "--generation", str(generation), "--by", "loadtest")


async def workflow_stops(endpoints: Endpoints) -> list[str]:
    """Return the runs of the workflow that called the app's stop or start, as text.

    Raises:
        httpx.HTTPError: the workflow does not answer.
    """
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.get(f"{endpoints.workflow_url}/runs")
        answer.raise_for_status()
    return [
        f"{step['name']} for {run['circuit']}, generation {run['generation']}"
        for run in answer.json()["runs"]
        for step in run["steps"]
        if step["name"] in _MOVES and step["status"] != "Skipped"
    ]


async def _processing(endpoints: Endpoints, *arguments: str) -> tuple[int | None, str]:
    settings = ("--settings", str(endpoints.settings_file))
    command = ("processing", *arguments, *settings, *endpoints.pipeline_options)
    return await run_command(*command, environment={})


async def _breaker(endpoints: Endpoints, *arguments: str) -> None:
    code, text = await run_command(
        *("breaker", *arguments, *endpoints.pipeline_options),
        environment=endpoints.app_settings(),
    )
    if code != 0:
        raise StackError(f"`breaker {arguments[0]}` ended with {code}: {text}")


async def _manage(endpoints: Endpoints, action: str) -> None:
    """Stop or start the function app as `az functionapp` does."""
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(
            f"{endpoints.management_url}/{action}", params={"api-version": _SITES_VERSION}
        )
        answer.raise_for_status()

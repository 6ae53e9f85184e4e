"""P10, the time and the memory that an instance needs to load the app."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import psutil

from benchmarks.context import Context
from benchmarks.measuring import interleaved, median, medians, spread
from benchmarks.result import Check, Result
from benchmarks.services import child, read_answer
from breaker.configuration.carried import is_installed, project_folder

RATIO, MEMORY_MIB = 2.2, 60
CONTENDERS = {
    "azure_functions": ("azure.functions",),
    "app": ("function_app",),
    "first_use": ("function_app", "processing.parts"),
}
"""The modules that each contender imports; the last import is measured."""
SETTINGS = {
    "AzureWebJobsStorage": "AccountName=account;AccountKey=a2V5",
    "EventHubConnection": "Endpoint=sb://hub.invalid;SharedAccessKeyName=n;SharedAccessKey=a2V5",
    "EVENT_HUB_NAME": "events",
    "EVENT_HUB_CONSUMER_GROUP": "app",
    "EVENT_GRID_TOPIC_ENDPOINT": "https://topic.invalid/api/events",
    "EVENT_GRID_TOPIC_KEY": "a2V5",
    "REDIS_URL": "rediss://:secret@redis.invalid:6380/0",
}
_MIB = 1024 * 1024


async def run(context: Context) -> Result:
    """Import the app and azure.functions in rotation, each time in a new interpreter."""
    rounds = context.scaled(15, 3)
    context.expect(len(CONTENDERS) * (rounds + 1))
    environment = _environment(context)
    mib: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    runs = {
        name: _import(modules, environment, mib[name], context)
        for name, modules in CONTENDERS.items()
    }
    seconds = await interleaved(runs, rounds, context.advance)  # the warm-up writes the bytecode
    each = medians(seconds)
    return Result(
        "P10",
        "cold start",
        (
            Check(
                "import function_app ÷ import azure.functions",
                each["app"] / each["azure_functions"],
                "≤",
                RATIO,
                "x",
            ),
            Check("resident memory after the import", median(mib["app"]), "≤", MEMORY_MIB, "MiB"),
        ),
        {f"{name}_ms": value * 1e3 for name, value in each.items()}
        | {f"{name}_mib": median(values) for name, values in mib.items()},
        {
            "first_use": "the import that the first event, timer or health request adds",
            "spread": {name: spread(values) for name, values in seconds.items()},
        },
    )


def _environment(context: Context) -> Mapping[str, str]:
    """Return an environment with app settings, in which Python keeps bytecode."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if is_installed():
        kept["PYTHONPATH"] = str(project_folder())  # the wheel has function_app.py in this folder
    return kept | SETTINGS | {"PYTHONPYCACHEPREFIX": str(context.directory / "bytecode")}


def _import(
    modules: tuple[str, ...], environment: Mapping[str, str], mib: list[float], context: Context
) -> Callable[[], Awaitable[float]]:
    """Return a contender that appends its resident memory to `mib`."""
    log = context.directory / "import.log"

    async def measure() -> float:
        arguments = ("-m", "benchmarks.children.cold_start", *modules)
        async with child(*arguments, log=log, environment=environment) as process:
            seconds = cast("float", await read_answer(process, arguments, log))
            mib.append(psutil.Process(process.pid).memory_info().rss / _MIB)
            return seconds

    return measure

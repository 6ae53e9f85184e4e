"""The import of function_app, which each start of an instance waits for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from processing import bootstrap
from processing.parts import Parts
from processing.pipelines import running
from scripts.load_app import SETTINGS

ROOT = Path(__file__).parents[2]
OURS = {"breaker", "breakwater", "function_app", "processing"}
AT_FIRST_USE = (
    "aiohttp",
    "azure.core",
    "azure.eventgrid",
    "azure.eventhub",
    "azure.identity",
    "azure.storage",
    "cryptography",
    "hiredis",
    "msal",
    "opentelemetry",
    "processing.parts",
    "processing.wiring",
    "redis",
    "requests",
    "tenacity",
)
"""The packages and modules that only an event, a timer or a health request imports."""
WITH_KEYS = {
    "AzureWebJobsStorage": "AccountName=abc;AccountKey=a2V5",
    "EventHubConnection": "Endpoint=sb://n.invalid;SharedAccessKeyName=n;SharedAccessKey=a2V5",
    "EVENT_HUB_NAME": "events",
    "EVENT_HUB_CONSUMER_GROUP": "app",
    "EVENT_GRID_TOPIC_ENDPOINT": "https://topic.invalid/api/events",
    "EVENT_GRID_TOPIC_KEY": "a2V5",
    "REDIS_URL": "redis://:secret@redis.invalid:6380/0",
}
KEYLESS = SETTINGS | {
    "BREAKER_REDIS_AUTH": "entra",
    "EVENT_GRID_TOPIC_ENDPOINT": "https://topic.invalid/api/events",
}


def imported(statement: str, settings: dict[str, str] = WITH_KEYS) -> set[str]:
    """Return the modules that a new interpreter has imported after a statement."""
    program = (
        f"import sys\nbefore = set(sys.modules)\n{statement}\nprint(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"} | settings,
        capture_output=True,
        check=True,
        text=True,
    )
    return set(done.stdout.split())


def too_early(modules: set[str]) -> list[str]:
    """Return the packages and modules of AT_FIRST_USE among the imported modules."""
    return [
        name
        for name in AT_FIRST_USE
        if any(module == name or module.startswith(f"{name}.") for module in modules)
    ]


@pytest.mark.parametrize("settings", [WITH_KEYS, KEYLESS], ids=["keys", "identity"])
def test_import_of_the_app_imports_no_sdk(settings: dict[str, str]) -> None:
    """An instance starts several times faster, and reports an invalid setting sooner."""
    assert too_early(imported("import function_app", settings)) == []


def test_import_of_the_app_adds_only_own_modules_to_azure_functions() -> None:
    """A package that AT_FIRST_USE does not name would also delay each start."""
    added = imported("import function_app") - imported("import azure.functions")
    packages = {name.partition(".")[0] for name in added}
    assert packages - OURS - set(sys.stdlib_module_names) == set()


def test_an_early_import_is_found() -> None:
    """The search can fail: a handler's module is imported with the app, and may import SDKs."""
    handler = {"EVENT_HANDLER": "redis.commands.helpers:nativestr"}
    assert "redis" in too_early(imported("import function_app", WITH_KEYS | handler))


def test_the_first_use_imports_each_package() -> None:
    """AT_FIRST_USE contains no name that the app never imports."""
    parts = "import function_app, processing.parts, breaker.alerts.event_grid"
    assert too_early(imported(parts)) == list(AT_FIRST_USE)


async def test_the_first_use_leaves_the_event_loop_responsive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The import takes about a second, and runs in a thread."""
    loop = asyncio.get_running_loop()

    class LoadedError(Exception):
        """The end of the import."""

    async def answer() -> int:
        return 1

    def load() -> type[Parts]:
        # On the loop's own thread this would never end.
        if asyncio.run_coroutine_threadsafe(answer(), loop).result(timeout=10):
            raise LoadedError
        raise AssertionError

    monkeypatch.setattr(running, "_load_parts", load)
    with pytest.raises(LoadedError):
        await bootstrap.Application(WITH_KEYS).deliver_alerts()

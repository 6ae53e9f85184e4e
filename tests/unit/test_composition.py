"""Clients and stores are built in the wiring and nowhere else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("breakwater", "processing", "breaker", "console", "benchmarks", "scripts")
BUILT_BY_WIRING = {
    "BlobServiceClient",
    "ContainerClient",
    "DefaultAzureCredential",
    "EventHubConsumerClient",
    "ManagedIdentityCredential",
    "QueueClient",
    "QueueServiceClient",
    "RedisCircuitStore",
    "RedisDependencyStore",
    "RedisParkingStore",
    "RedisProgressStore",
}
MAY_BUILD = {
    "processing/wiring/clients.py": "builds the clients of Azure's SDKs",
    "processing/wiring/wiring.py": "builds everything that needs those clients",
    "processing/storage/clients.py": "builds the clients of the storage accounts for the wiring",
    "processing/circuit_wiring.py": "builds the circuit and its Redis, without those SDKs",
    "processing/handlers/ledger.py": "a sample handler, which opens its own clients as users' do",
    "breaker/cli/circuits.py": "the breaker's own command line, which works without processing",
    "breaker/alerts/event_grid.py": "an identity for a publisher that is used without processing",
    "breaker/stores/redis/client.py": "the login to Redis",
    "breaker/stores/redis/store.py": "a circuit store that is used without processing",
    "benchmarks/endpoint.py": "measures the stock SDK against the endpoint",
    "benchmarks/children/receiver.py": "measures the stock SDK against the endpoint",
}


def built(source: str) -> list[str]:
    """Return the clients and stores of BUILT_BY_WIRING that a module builds, with line numbers."""
    tree = ast.parse(source)
    names: dict[str, str] = {}  # the class by its name in the module
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for each in node.names:
                redis = (node.module or "").startswith("breaker.stores.redis")
                if each.name in BUILT_BY_WIRING or (redis and each.name == "connect"):
                    names[each.asname or each.name] = each.name
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        parts = ast.unparse(node.func).split(".")
        target = names.get(parts[0]) or next(
            (part for part in parts if part in BUILT_BY_WIRING),
            "connect" if parts[:-1] in REDIS_MODULES and parts[-1] == "connect" else None,
        )
        if target is not None:
            found.append(f"{node.lineno}: {target}")
    return found


REDIS_MODULES = [
    ["breaker", "stores", "redis"],
    ["breaker", "stores", "redis", "client"],
]


def modules() -> dict[str, str]:
    """Return the source of each production module, by its path."""
    paths = [ROOT / "function_app.py"]
    for package in PACKAGES:
        paths += sorted((ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


def test_only_the_wiring_builds_clients_and_stores() -> None:
    """A setting then means the same to the app, its tools, the console and the benchmarks."""
    found = {path: built(source) for path, source in modules().items()}
    elsewhere = {path: lines for path, lines in found.items() if lines and path not in MAY_BUILD}
    assert not elsewhere, f"use processing/wiring: {elsewhere}"


def test_each_exception_is_needed() -> None:
    """An entry of MAY_BUILD that builds nothing must be removed."""
    sources = modules()
    assert [path for path in MAY_BUILD if not built(sources[path])] == []


@pytest.mark.parametrize(
    "source",
    [
        "from azure.storage.queue.aio import QueueClient\nQueueClient('u', 'n')",
        "from azure.storage.queue.aio import QueueClient as Q\nQ.from_connection_string('c', 'n')",
        "import azure.identity.aio as identity\nidentity.DefaultAzureCredential()",
        "from breaker import RedisCircuitStore\nRedisCircuitStore.from_settings('u', s)",
        "from breaker.stores.redis import connect\nconnect('redis://')",
        "from breaker.stores.redis.client import connect as client\nclient('redis://')",
        "import breaker.stores.redis\nbreaker.stores.redis.connect('redis://')",
    ],
)
def test_each_way_to_build_a_client_is_found(source: str) -> None:
    """The search for clients and stores can fail."""
    assert len(built(source)) == 1


def test_function_app_imports_only_breakwater() -> None:
    """The deployed app uses what every app uses."""
    tree = ast.parse((ROOT / "function_app.py").read_text())
    imported = {
        (node.module or "").partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    } | {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    project = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    assert imported & project == {"breakwater"}


def test_console_starts_without_the_azure_sdks() -> None:
    """The SDKs take longer to load than everything else that the console needs to start."""
    program = (
        "import sys\n"
        "from console.composition import compose\n"
        "from console.settings import ConsoleSettings\n"
        "values = {'REDIS_URL': 'redis://127.0.0.1:1/0', 'CONSOLE_TOKEN': 'x' * 32}\n"
        "compose(values, ConsoleSettings.from_mapping(values))\n"
        "print(*[name for name in sys.modules if name.partition('.')[0] == 'azure'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == []

"""The check `python -I -S scripts/load_app.py DIRECTORY`, which loads a package as Azure does.

Python runs without site-packages (-S) and without the current directory (-I). Every import
therefore comes from the package, its `.python_packages`, or Python itself. If an import is missing,
the script prints an error and exits with 1.
"""

import asyncio
import json
import os
import sys
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

EXPECTED = {"process_events", "deliver_alerts", "replay_deferred", "health", "live"}
AT_RUN_TIME = (
    "processing.parts",  # imports every SDK
    "processing.handlers.ledger",  # the sample handler, which reads its script
    "redis_entraid.identity_provider",  # needed with BREAKER_REDIS_AUTH=entra
    "azure.identity.aio",
    "azure.monitor.opentelemetry",  # imported by the worker when it exports telemetry
)
"""The modules that are imported after function_app.py has been loaded."""

SETTINGS = {
    "AzureWebJobsStorage__blobServiceUri": "https://blob.invalid",
    "AzureWebJobsStorage__queueServiceUri": "https://queue.invalid",
    "EventHubConnection__fullyQualifiedNamespace": "hub.invalid",
    "EVENT_HUB_NAME": "events",
    "EVENT_HUB_CONSUMER_GROUP": "app",
    "REDIS_URL": "rediss://redis.invalid:10000/0",
}
"""The settings that loading the app needs; loading connects to none of the addresses."""

_PROTOS = Path(__file__).parents[1] / "local" / "functions_host" / "worker" / "protos.py"


def _protos() -> ModuleType:
    """Return the local stack's replacements of the gRPC classes; they have no imports."""
    loader = SourceFileLoader("protos", str(_PROTOS))
    module = module_from_spec(spec_from_loader(loader.name, loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    return module


async def _functions(app: Path) -> list[dict[str, Any]]:
    """Return the functions; raise RuntimeError with the worker's message."""
    import azure_functions_runtime as runtime  # noqa: PLC0415 - imported from the package

    protos = _protos()
    start = protos.Message(
        request=protos.Message(
            worker_init_request=protos.Message(function_app_directory=str(app), capabilities={})
        ),
        properties={"host": "127.0.0.1", "protos": protos},
    )
    response = await runtime.worker_init_request(start)
    if response.result.status != protos.StatusResult.Success:
        raise RuntimeError(response.result.exception.message)
    answer = await runtime.functions_metadata_request(None)
    return [
        {"name": item.name, "bindings": [json.loads(each) for each in item.raw_bindings]}
        for item in answer.function_metadata_results
    ]


def _outside(app: Path) -> list[str]:
    """Return the modules that come neither from the package nor from Python itself."""
    homes = (str(app), os.path.realpath(app / ".python_packages"), sys.base_prefix, str(_PROTOS))
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    del files["__main__"]
    return [name for name, file in files.items() if file and not file.startswith(homes)]


def main(arguments: list[str]) -> int:
    """Load the package, compare its functions with `EXPECTED` and return the exit code."""
    app = Path(arguments[0]).resolve()
    # Use the order of Azure's worker, with the app before its libraries.
    sys.path[:0] = [str(app), str(app / ".python_packages" / "lib" / "site-packages")]
    os.chdir(app)
    os.environ |= SETTINGS
    try:
        functions = asyncio.run(_functions(app))
        for name in AT_RUN_TIME:
            import_module(name)
    except (ImportError, RuntimeError) as error:
        print(
            f"{app.name}: {type(error).__name__}: {error}; is the package in requirements.txt?",
            file=sys.stderr,
        )
        return 1
    names = {function["name"] for function in functions}
    if names != EXPECTED:
        print(
            f"{app.name}: found the functions {sorted(names)}, expected {sorted(EXPECTED)}",
            file=sys.stderr,
        )
        return 1
    if outside := _outside(app):
        print(
            f"{app.name}: modules imported from outside the package: {', '.join(outside)}",
            file=sys.stderr,
        )
        return 1
    print(f"{app.name}: {', '.join(sorted(names))} load with only requirements.txt installed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The Python worker: Microsoft's library, driven in this process instead of over gRPC."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import azure_functions_runtime as runtime
from azure.functions.eventhub import EventHubTriggerConverter
from azure_functions_runtime.bindings.datumdef import Datum
from azure_functions_runtime.native_invocation import invocation_request_native

import local
from local.functions_host.errors import AppLoadError
from local.functions_host.worker import protos
from local.functions_host.worker.functions import Function

if TYPE_CHECKING:
    from local.functions_host.worker.retry_policy import RetryPolicy

__all__ = ["Datum", "Result", "Worker"]

_CACHED_TIMES = 8192
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one attempt.

    `value` is the return value and `outputs` has the values of the output parameters, all as
    Datums. `error` and `traceback` are set when the function raised an exception.
    """

    ok: bool
    value: Datum | None
    outputs: dict[str, Datum]
    error: str = ""
    traceback: str = ""


class Worker:
    """A function app that is loaded into this process and runs on the running loop."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()

    async def load(self) -> list[Function]:
        """Import function_app.py and index its functions.

        The app's folder becomes the current directory and the first import path, as on Azure.

        Raises:
            AppLoadError: the app does not exist, cannot be imported, or has a wrong function.
        """
        script = self._directory / os.environ.get("PYTHON_SCRIPT_FILE_NAME", "function_app.py")
        if not script.is_file():
            raise AppLoadError(
                f"no {script.name} in {self._directory}; name the app's folder with --app"
            )
        self._check_names()
        self._forget_breaker()
        os.chdir(self._directory)
        if sys.path[:1] != [str(self._directory)]:
            sys.path.insert(0, str(self._directory))
        runtime.start_threadpool_executor()
        cache_parsed_times()
        start = protos.Message(
            request=protos.Message(
                worker_init_request=protos.Message(
                    function_app_directory=str(self._directory), capabilities={}
                )
            ),
            properties={"host": "127.0.0.1", "protos": protos},
        )
        response = await runtime.worker_init_request(start)
        if response.result.status != protos.StatusResult.Success:
            raise self._load_error(script, response.result.exception)
        answer = await runtime.functions_metadata_request(None)
        functions = [Function.from_metadata(item) for item in answer.function_metadata_results]
        if not functions:
            raise AppLoadError(f"{script} declares no functions")
        return functions

    async def invoke(
        self,
        function: Function,
        invocation_id: str,
        inputs: list[tuple[str, Datum]],
        metadata: dict[str, Datum],
        *,
        retry: RetryPolicy | None = None,
        retry_count: int = 0,
    ) -> Result:
        """Run one attempt; the result has the function's exception, if any."""
        ok, value, outputs, error, trace = await invocation_request_native(
            invocation_id,
            function.function_id,
            inputs,
            metadata,
            retry_count=retry_count,
            max_retry_count=retry.max_retry_count if retry else 0,
        )
        return Result(ok, value, dict(outputs), error or "", trace or "")

    def _forget_breaker(self) -> None:
        """Let the app import a package `breaker` of its own, as on Azure, where no host has one.

        This host has imported parts of Breakwater's package.
        """
        own = self._directory / "breaker"
        known = sys.modules.get("breaker")
        places = [Path(each).resolve() for each in getattr(known, "__path__", ())]
        if own.with_suffix(".py").exists() or (own.is_dir() and own not in places):
            for name in [each for each in sys.modules if each.partition(".")[0] == "breaker"]:
                del sys.modules[name]

    def _check_names(self) -> None:
        """Refuse an app whose module would get this process's package instead of its own.

        Raises:
            AppLoadError: the app has a module `local`.
        """
        for file in (self._directory / "local.py", self._directory / "local" / "__init__.py"):
            if file.is_file() and not file.samefile(local.__file__):
                raise AppLoadError(
                    f"{file} cannot be imported on the local host, whose own package has the name "
                    "`local`; rename the module"
                )

    def _load_error(self, script: Path, exception: Any) -> AppLoadError:
        """Build an error that names the last frame inside the app's folder."""
        place = ""
        for match in _FRAME.finditer(exception.stack_trace):
            file = Path(match["file"])
            if file.is_relative_to(self._directory) and "site-packages" not in file.parts:
                place = f" at {match['file']}, line {match['line']}"
        message = str(exception.message).partition(". Please check the requirements.txt")[0]
        if "has invalid non-type annotation list[" in message:
            message += " (the worker takes typing.List[...] here, not list[...])"
        return AppLoadError(
            f"{script.name} could not be loaded{place}: {message}", str(exception.stack_trace)
        )


def cache_parsed_times() -> None:
    """Patch the worker library, so that it parses each distinct enqueued time only once.

    The library tries up to thirteen formats for every event, 25 to 120 µs, which is more than the
    rest of an event's cost. Events that were sent together have the same time.
    """
    parse = EventHubTriggerConverter._parse_datetime
    cached = staticmethod(lru_cache(_CACHED_TIMES)(parse))
    setattr(EventHubTriggerConverter, "_parse_datetime", cached)  # noqa: B010 - for mypy

"""An invoker that reads the inputs of a function before its call, and writes its outputs after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from local.functions_host.bindings.errors import BindingFailedError
from local.functions_host.bindings.trigger_data import trigger_data
from local.functions_host.worker.worker import Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breaker.configuration.host_options import HostJson
    from local.functions_host.app_settings import AppSettings
    from local.functions_host.bindings.expressions import Data, Template
    from local.functions_host.worker.execution import Invoker
    from local.functions_host.worker.functions import Function
    from local.functions_host.worker.retry_policy import RetryPolicy
    from local.functions_host.worker.worker import Datum

RETURN = "$return"
"""The name of the binding that takes a function's return value."""


class Input(Protocol):
    """A binding whose value a function gets."""

    template: Template

    async def read(self, data: Data) -> Datum:
        """Return the value."""

    async def close(self) -> None:
        """Close the clients."""


class Output(Protocol):
    """A binding that takes a value of a function."""

    template: Template

    async def write(self, datum: Datum | None, data: Data) -> None:
        """Write the value; None writes nothing."""

    async def close(self) -> None:
        """Close the clients."""


class _Bindings:
    """The inputs and outputs of one function, by parameter."""

    def __init__(self, function: Function, settings: AppSettings, host_json: HostJson) -> None:
        self.inputs: dict[str, Input] = {
            str(binding["name"]): _input(binding, function, settings) for binding in function.inputs
        }
        self.outputs: dict[str, Output] = {
            str(binding["name"]): _output(binding, function, settings, host_json)
            for binding in function.outputs
            if binding["type"] != "http"  # the response's sender reads the http output
        }

    def all(self) -> list[Input | Output]:
        return [*self.inputs.values(), *self.outputs.values()]

    def data(
        self, function: Function, inputs: list[tuple[str, Datum]], metadata: dict[str, Datum]
    ) -> Data:
        """Return the trigger's values, or none of them if no binding needs one."""
        if not any(binding.template.has_expressions for binding in self.all()):
            return {}
        return trigger_data(function, dict(inputs).get(function.parameter), metadata)


class BindingInvoker:
    """An invoker whose invocations succeed only after their outputs are written."""

    def __init__(self, worker: Invoker, settings: AppSettings, host_json: HostJson) -> None:
        self._worker = worker
        self._settings = settings
        self._host_json = host_json
        self._bindings: dict[str, _Bindings] = {}

    def check(self, functions: Iterable[Function]) -> None:
        """Resolve every binding, so that a missing setting stops the start.

        Raises:
            SettingsError: a setting or connection is not set.
            AppLoadError: a path or expression is malformed.
        """
        for function in functions:
            self._of(function)

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
        """Run one attempt; the attempt fails when a read or a write fails.

        A failed read prevents the call of the function. Outputs are written one after another, and
        only if the function succeeded.
        """
        bindings = self._of(function)
        data = bindings.data(function, inputs, metadata)
        given = list(inputs)
        for name, each in bindings.inputs.items():
            try:
                given.append((name, await each.read(data)))
            except BindingFailedError as error:
                return _failed(f"Exception binding parameter '{name}'. {error}")
        result = await self._worker.invoke(
            function, invocation_id, given, metadata, retry=retry, retry_count=retry_count
        )
        if not result.ok:
            return result
        for name, output in bindings.outputs.items():
            datum = result.value if name == RETURN else result.outputs.get(name)
            try:
                await output.write(datum, data)
            except BindingFailedError as error:
                return _failed(
                    f"Error while handling parameter {name} after function returned: {error}"
                )
        return result

    async def close(self) -> None:
        """Close the clients."""
        known, self._bindings = list(self._bindings.values()), {}
        for bindings in known:
            for binding in bindings.all():
                await binding.close()

    def _of(self, function: Function) -> _Bindings:
        found = self._bindings.get(function.name)
        if found is None:
            found = self._bindings[function.name] = _Bindings(
                function, self._settings, self._host_json
            )
        return found


def _failed(error: str) -> Result:
    return Result(ok=False, value=None, outputs={}, error=error)


# Each SDK is imported only for an app that needs it, because an import takes up to half a second.


def _input(binding: dict[str, Any], function: Function, settings: AppSettings) -> Input:
    from local.functions_host.bindings.blobs import BlobBinding  # noqa: PLC0415

    return BlobBinding(binding, function.name, settings)


def _output(
    binding: dict[str, Any], function: Function, settings: AppSettings, host_json: HostJson
) -> Output:
    match binding["type"]:
        case "queue":
            from local.functions_host.bindings.queues import QueueOutput  # noqa: PLC0415

            return QueueOutput(binding, function.name, settings, host_json.queues)
        case "eventHub":
            from local.functions_host.bindings.event_hubs import EventHubOutput  # noqa: PLC0415

            return EventHubOutput(binding, function.name, settings, host_json.event_hubs)
        case _:
            from local.functions_host.bindings.blobs import BlobBinding  # noqa: PLC0415

            return BlobBinding(binding, function.name, settings)

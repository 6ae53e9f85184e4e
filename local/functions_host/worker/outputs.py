"""Output bindings: sends the values of queue outputs to their queues."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue.aio import QueueServiceClient

from local.functions_host.storage import QUICK_RETRIES, queue_of
from local.functions_host.worker.worker import Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from azure.storage.queue.aio import QueueClient

    from breaker.configuration.host_options import QueuesOptions
    from local.functions_host.app_settings import AppSettings
    from local.functions_host.worker.execution import Invoker
    from local.functions_host.worker.functions import Function
    from local.functions_host.worker.retry_policy import RetryPolicy
    from local.functions_host.worker.worker import Datum

_RETURN = "$return"


class OutputWriter:
    """An invoker whose invocations succeed only after their outputs are written."""

    def __init__(self, worker: Invoker, settings: AppSettings, options: QueuesOptions) -> None:
        self._worker = worker
        self._settings = settings
        self._options = options
        self._services: dict[str, QueueServiceClient] = {}

    def check(self, functions: Iterable[Function]) -> None:
        """Resolve every output binding, so that a missing setting stops the start.

        Raises:
            SettingsError: a setting or connection is not set.
        """
        for function in functions:
            for binding in _queue_outputs(function):
                queue_of(binding, function.name, self._settings)

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
        """Run one attempt, then write its outputs; the attempt fails when a write fails."""
        result = await self._worker.invoke(
            function, invocation_id, inputs, metadata, retry=retry, retry_count=retry_count
        )
        if not result.ok:
            return result
        for binding in _queue_outputs(function):
            name = str(binding["name"])
            datum = result.value if name == _RETURN else result.outputs.get(name)
            try:
                await self._write(function, binding, _messages(datum))
            except (AzureError, UnicodeDecodeError) as error:
                return Result(
                    ok=False,
                    value=None,
                    outputs={},
                    error=f"Error while handling parameter {name} after function returned: {error}",
                )
        return result

    async def close(self) -> None:
        """Close the clients."""
        services, self._services = list(self._services.values()), {}
        for service in services:
            await service.close()

    async def _write(
        self, function: Function, binding: dict[str, Any], messages: list[bytes]
    ) -> None:
        if not messages:
            return
        connection, name = queue_of(binding, function.name, self._settings)
        service = self._services.get(connection)
        if service is None:
            service = self._services[connection] = QueueServiceClient.from_connection_string(
                connection, **QUICK_RETRIES
            )
        queue = service.get_queue_client(name)
        is_base64 = self._options.message_encoding == "base64"
        for message in messages:
            await _send(queue, (base64.b64encode(message) if is_base64 else message).decode())


async def _send(queue: QueueClient, text: str) -> None:
    """Send one message; a missing queue is created, as on Azure."""
    try:
        await queue.send_message(text)
    except ResourceNotFoundError:
        with suppress(ResourceExistsError):
            await queue.create_queue()
        await queue.send_message(text)


def _queue_outputs(function: Function) -> list[dict[str, Any]]:
    return [binding for binding in function.outputs if binding["type"] == "queue"]


def _messages(datum: Datum | None) -> list[bytes]:
    """Return the message bodies: one for each element of an array, else a single one."""
    if datum is None or datum.value is None:
        return []
    if isinstance(datum.value, bytes):
        return [datum.value]
    text = str(datum.value)
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, list):
        return [text.encode()]
    return [(v if isinstance(v, str) else json.dumps(v)).encode() for v in value]

"""Queue outputs: each body becomes a message."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local.functions_host.bindings.errors import BindingFailedError
from local.functions_host.bindings.expressions import Template
from local.functions_host.bindings.values import bodies
from local.functions_host.storage import QUICK_RETRIES, queue_of

if TYPE_CHECKING:
    from breaker.configuration.host_options import QueuesOptions
    from local.functions_host.app_settings import AppSettings
    from local.functions_host.bindings.expressions import Data
    from local.functions_host.worker.worker import Datum


class QueueOutput:
    """A queue output of one function."""

    def __init__(
        self,
        binding: dict[str, Any],
        function: str,
        settings: AppSettings,
        options: QueuesOptions,
    ) -> None:
        """Resolve the binding's settings.

        Raises:
            SettingsError: a setting or connection is not set.
            AppLoadError: the name has an expression that is not known.
        """
        self._connection, name = queue_of(binding, function, settings)
        self.template = Template(name, f"function {function!r}")
        self._is_base64 = options.message_encoding == "base64"
        self._service: QueueServiceClient | None = None

    async def write(self, datum: Datum | None, data: Data) -> None:
        """Send a message for each body; a missing queue is created, as on Azure.

        Raises:
            BindingFailedError: storage did not take a message, or a body is no text although
                host.json has the message encoding `none`.
        """
        messages = bodies(datum)
        if not messages:
            return
        if self._service is None:
            self._service = QueueServiceClient.from_connection_string(
                self._connection, **QUICK_RETRIES
            )
        queue = self._service.get_queue_client(self.template.resolve(data).lower())
        try:
            for message in messages:
                body = base64.b64encode(message) if self._is_base64 else message
                await _send(queue, body.decode())
        except (AzureError, UnicodeDecodeError) as error:
            raise BindingFailedError(str(error)) from error

    async def close(self) -> None:
        """Close the client."""
        service, self._service = self._service, None
        if service is not None:
            await service.close()


async def _send(queue: QueueClient, text: str) -> None:
    try:
        await queue.send_message(text)
    except ResourceNotFoundError:
        with suppress(ResourceExistsError):
            await queue.create_queue()
        await queue.send_message(text)

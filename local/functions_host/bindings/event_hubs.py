"""Event hub outputs: each body becomes an event."""

from __future__ import annotations

from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import TYPE_CHECKING, Any

from azure.eventhub import EventData, TransportType, parse_connection_string
from azure.eventhub.aio import EventHubProducerClient
from azure.eventhub.exceptions import EventHubError

from local.functions_host.bindings.errors import BindingFailedError
from local.functions_host.bindings.expressions import Template
from local.functions_host.bindings.values import bodies
from local.functions_host.triggers.event_hubs.source import hub_connection, uses_tls

if TYPE_CHECKING:
    from breaker.configuration.host_options import EventHubsOptions
    from local.functions_host.app_settings import AppSettings
    from local.functions_host.bindings.expressions import Data
    from local.functions_host.worker.worker import Datum

_RETRIES: dict[str, Any] = {"retry_total": 3, "retry_backoff_factor": 0.1}
"""As many retries as on Azure, with short delays: the SDK's default of 11 s holds the function."""


class EventHubOutput:
    """An event hub output of one function.

    The events of one call are sent together, without a partition key: the worker library of Python
    has none. The service chooses a partition for each batch.
    """

    def __init__(
        self,
        binding: dict[str, Any],
        function: str,
        settings: AppSettings,
        options: EventHubsOptions,
    ) -> None:
        """Resolve the binding's settings.

        Raises:
            SettingsError: a setting or connection is not set, or is malformed.
            AppLoadError: the hub's name has an expression that is not known.
        """
        where = f"function {function!r}"
        self._connection = hub_connection(binding, where, settings)
        # As on Azure, a hub in the connection string replaces the hub of the binding.
        name = parse_connection_string(self._connection).eventhub_name or settings.expand(
            str(binding["eventHubName"]), where
        )
        self.template = Template(name, where)
        self._transport = (
            TransportType.AmqpOverWebsocket
            if options.transport_type == "amqpWebSockets"
            else TransportType.Amqp
        )
        self._clients: dict[str, EventHubProducerClient] = {}

    async def write(self, datum: Datum | None, data: Data) -> None:
        """Send an event for each body.

        Raises:
            BindingFailedError: the hub did not take an event, or an event is too large.
        """
        found = bodies(datum)
        if not found:
            return
        hub = self.template.resolve(data)
        try:
            await self._send(self._client(hub), found)
        except EventHubError as error:
            # The SDK's text often has neither the hub nor the service's reason.
            raise BindingFailedError(f"event hub {hub!r}: {error}") from error

    async def close(self) -> None:
        """Close the clients."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()

    def _client(self, hub: str) -> EventHubProducerClient:
        client = self._clients.get(hub)
        if client is None:
            client = self._clients[hub] = EventHubProducerClient.from_connection_string(
                self._connection,
                eventhub_name=hub,
                transport_type=self._transport,
                **_RETRIES,
                # Even without TLS, the SDK would read every root certificate.
                ssl_context=None if uses_tls(self._connection) else SSLContext(PROTOCOL_TLS_CLIENT),
            )
        return client

    async def _send(self, client: EventHubProducerClient, found: list[bytes]) -> None:
        batch = await client.create_batch()
        for body in found:
            event = EventData(body)
            try:
                batch.add(event)
            except ValueError:
                if len(batch):
                    await client.send_batch(batch)
                    batch = await client.create_batch()
                try:
                    batch.add(event)
                except ValueError:
                    raise BindingFailedError(
                        f"Event is too large. Event is approximately {len(body)}b and max size is "
                        f"{batch.max_size_in_bytes}b"
                    ) from None
        await client.send_batch(batch)

"""An Event Hubs endpoint for one machine, compatible with the stock azure-eventhub client.

Proton's engine implements AMQP 1.0 and asyncio serves the sockets. The partition logs are kept in
memory and bounded by retention. In a test:

    async with EventHubsServer(NamespaceConfig.single("events", partitions=4)) as server:
        EventHubProducerClient.from_connection_string(server.connection_string, ...)
"""

from local.event_hubs.config import ConfigError, HubConfig, NamespaceConfig
from local.event_hubs.errors import AmqpError
from local.event_hubs.housekeeping import IdleLimits
from local.event_hubs.hub.retention import Retention
from local.event_hubs.server import EventHubsServer

__all__ = [
    "AmqpError",
    "ConfigError",
    "EventHubsServer",
    "HubConfig",
    "IdleLimits",
    "NamespaceConfig",
    "Retention",
]

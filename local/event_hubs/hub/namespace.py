"""All event hubs of the endpoint, by name; they can be created and deleted while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from local.event_hubs.config import ConfigError, HubConfig, NamespaceConfig
from local.event_hubs.errors import RESOURCE_LIMIT_EXCEEDED, AmqpError, entity_not_found
from local.event_hubs.hub.hub import EventHub
from local.event_hubs.hub.retention import Retention

MAX_HUBS = 1000
MAX_GROUPS = 1000


class Namespace:
    """Event hubs by name; upper and lower case are one, as in the service."""

    def __init__(
        self, config: NamespaceConfig, retention: Retention, now_ms: Callable[[], int]
    ) -> None:
        self.name = config.name
        self._config = config
        self._retention = retention
        self._now_ms = now_ms
        self._hubs: dict[str, EventHub] = {}
        for hub in config.hubs:
            self.create(hub)

    def __iter__(self) -> Iterator[EventHub]:
        return iter(list(self._hubs.values()))

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._hubs

    def hub(self, name: str) -> EventHub:
        """Find an event hub.

        Raises:
            AmqpError: `amqp:not-found`.
        """
        try:
            return self._hubs[name.lower()]
        except KeyError:
            raise entity_not_found(name) from None

    def open(self, name: str) -> EventHub:
        """Find an event hub for a client, or create it if the configuration says so.

        Raises:
            AmqpError: `amqp:not-found`, or there are too many already.
        """
        if name in self or not self._config.create_partitions:
            return self.hub(name)
        if len(self._hubs) >= MAX_HUBS:
            raise AmqpError(RESOURCE_LIMIT_EXCEEDED, f"A namespace takes at most {MAX_HUBS} hubs.")
        try:
            return self.create(HubConfig(name, self._config.create_partitions))
        except ConfigError:
            raise entity_not_found(name) from None

    def open_group(self, hub: EventHub, group: str) -> None:
        """Check that a consumer group exists, or create it if the configuration says so.

        Raises:
            AmqpError: `amqp:not-found`, or there are too many already.
        """
        if group.lower() not in hub.groups and self._config.create_partitions:
            if len(hub.groups) >= MAX_GROUPS:
                raise AmqpError(
                    RESOURCE_LIMIT_EXCEEDED, f"A hub takes at most {MAX_GROUPS} consumer groups."
                )
            try:
                HubConfig(hub.name, 1, (group,))
            except ConfigError:
                raise entity_not_found(f"{hub.name}/ConsumerGroups/{group}") from None
            hub.groups.add(group.lower())
        hub.require_group(group)

    def create(self, config: HubConfig) -> EventHub:
        """Create an event hub with empty partitions; one of that name is deleted first."""
        if config.name in self:
            self.delete(config.name)
        hub = self._hubs[config.name.lower()] = EventHub(config, self._retention, self._now_ms)
        return hub

    def delete(self, name: str) -> None:
        """Delete an event hub with its events; its links are detached with `amqp:not-found`.

        Raises:
            AmqpError: `amqp:not-found`.
        """
        hub = self.hub(name)
        del self._hubs[name.lower()]
        for link in list(hub.links):
            link.detach(entity_not_found(hub.name))

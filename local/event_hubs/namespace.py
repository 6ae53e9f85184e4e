"""All event hubs of the endpoint, by name; they can be created and deleted while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from local.event_hubs.config import HubConfig, NamespaceConfig
from local.event_hubs.errors import entity_not_found
from local.event_hubs.hub import EventHub
from local.event_hubs.retention import Retention


class Namespace:
    """Event hubs by name; upper and lower case are one, as in the service."""

    def __init__(
        self, config: NamespaceConfig, retention: Retention, now_ms: Callable[[], int]
    ) -> None:
        self.name = config.name
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

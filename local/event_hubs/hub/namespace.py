"""The event hubs of the endpoint, which can be created and deleted at run time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from local.event_hubs.config import ConfigError, HubConfig, NamespaceConfig
from local.event_hubs.errors import RESOURCE_LIMIT_EXCEEDED, AmqpError, entity_not_found
from local.event_hubs.hub.hub import EventHub
from local.event_hubs.hub.retention import Retention
from local.event_hubs.hub.storage import Storage

MAX_HUBS = 1000
MAX_GROUPS = 1000


class Namespace:
    """A namespace of event hubs. Hub names ignore case, as in the service.

    Args:
        config: the hubs that exist from the start.
        retention: the limits of the events kept per hub.
        now_ms: the clock, in ms since 1970.
        storage: keeps the hubs while no process runs; None keeps them in memory only.

    Raises:
        ConfigError: a kept hub has more partitions than the configuration.
        DamagedFileError: a file of a kept hub cannot be read.
    """

    def __init__(
        self,
        config: NamespaceConfig,
        retention: Retention,
        now_ms: Callable[[], int],
        storage: Storage | None = None,
    ) -> None:
        self.name = config.name
        self._config = config
        self._retention = retention
        self._now_ms = now_ms
        self._storage = storage
        self._hubs: dict[str, EventHub] = {}
        for files, record in storage.hubs() if storage is not None else ():
            hub = EventHub(record.config, retention, now_ms, files, record)
            self._hubs[hub.name.lower()] = hub
        for wanted in config.hubs:
            self._require(wanted)

    def __iter__(self) -> Iterator[EventHub]:
        return iter(list(self._hubs.values()))

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._hubs

    def hub(self, name: str) -> EventHub:
        """Return an event hub.

        Raises:
            AmqpError: `amqp:not-found`, the hub does not exist.
        """
        try:
            return self._hubs[name.lower()]
        except KeyError:
            raise entity_not_found(name) from None

    def open(self, name: str) -> EventHub:
        """Return an event hub for a client; create a missing hub if the configuration allows this.

        Raises:
            AmqpError: `amqp:not-found`, the hub does not exist, or
                `amqp:resource-limit-exceeded`, the namespace has `MAX_HUBS` hubs.
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
        """Check that a consumer group exists; create the group if the configuration allows this.

        Raises:
            AmqpError: `amqp:not-found`, the group does not exist, or
                `amqp:resource-limit-exceeded`, the hub has `MAX_GROUPS` groups.
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
            hub.add_groups((group,))
        hub.require_group(group)

    def create(self, config: HubConfig) -> EventHub:
        """Create an event hub with empty partitions; an existing hub of that name is deleted."""
        if config.name in self:
            self.delete(config.name)
        files = None if self._storage is None else self._storage.hub(config.name)
        hub = EventHub(config, self._retention, self._now_ms, files)
        self._hubs[config.name.lower()] = hub
        return hub

    def delete(self, name: str) -> None:
        """Delete an event hub with its events, and detach its links with `amqp:not-found`.

        Raises:
            AmqpError: `amqp:not-found`, the hub does not exist.
        """
        hub = self.hub(name)
        del self._hubs[name.lower()]
        hub.delete()
        for link in list(hub.links):
            link.detach(entity_not_found(hub.name))

    def close(self) -> None:
        """Close the files of all hubs."""
        for hub in self:
            hub.close()
        if self._storage is not None:
            self._storage.close()

    def _require(self, config: HubConfig) -> None:
        """Create a hub that does not exist; add partitions and groups to a kept hub."""
        if config.name not in self:
            self.create(config)
            return
        hub = self.hub(config.name)
        if config.partitions != len(hub.partitions):
            hub.grow(config.partitions)
        hub.add_groups(config.consumer_groups)

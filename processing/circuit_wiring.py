"""The circuit and its Redis, built from the app settings without loading Azure's SDKs.

The console starts with these parts alone; `processing.wiring` adds the parts that need the SDKs.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    DependencyCircuits,
    DependencySettings,
    RedisCircuitStore,
    RedisDependencyStore,
    SettingsError,
)
from breaker.alerts.base import AlertPublisher
from breaker.configuration.lookup import value_of
from breaker.stores.redis import Client, connect
from processing.errors import MissingSettingError
from processing.identity import digest
from processing.settings import ConnectionSettings

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from processing.monitoring.redis_vitals import RedisVitalsReader
    from processing.site.client import Site


class CircuitWiring:
    """A builder of the circuit's parts; `opened` closes the parts in reverse order.

    Settings are read when the first part needs them. Each read may raise `breaker.SettingsError`:
    a setting is missing, unknown or out of bounds.

    Args:
        settings: the app settings.
        opened: closes the parts; the caller closes the stack.
        breaking: the circuit's settings, instead of those in `settings`.
        redis: a Redis client that another wiring of the process closes; None: an own one.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        opened: AsyncExitStack,
        *,
        breaking: BreakerSettings | None = None,
        redis: Client | None = None,
    ) -> None:
        self._shared_redis = redis
        self._settings = settings
        self._opened = opened
        self._breaking = breaking

    @cached_property
    def breaking(self) -> BreakerSettings:
        """The settings of the circuit and of its connection to Redis."""
        return self._breaking or BreakerSettings.from_mapping(self._settings)

    @cached_property
    def depending(self) -> DependencySettings:
        """The settings of the circuits of dependencies."""
        # Tools pass settings without a standstill rule, see `without_judging`.
        judges = self._breaking is None or self._breaking.standstill_failures > 0
        return DependencySettings.from_mapping(self._settings, self.breaking, judges=judges)

    @property
    def redis_url(self) -> str:
        """The address of Redis."""
        url = value_of(self._settings, "REDIS_URL")
        if not url:
            raise SettingsError(
                "the app setting REDIS_URL is missing; it takes redis://host:port/db or "
                "rediss://..."
            )
        return url

    @cached_property
    def redis(self) -> Client:
        """The Redis client that all parts share; it connects at the first command."""
        if self._shared_redis is not None:
            return self._shared_redis
        client = connect(self.redis_url, self.breaking)
        self._opened.push_async_callback(client.aclose)
        return client

    def publisher(self, credential: AsyncTokenCredential | None = None) -> AlertPublisher | None:
        """Return the publisher of alerts; None without EVENT_GRID_TOPIC_ENDPOINT.

        Without a key and without a credential the publisher opens its own identity.
        """
        endpoint = value_of(self._settings, "EVENT_GRID_TOPIC_ENDPOINT")
        if not endpoint:
            return None
        # Imported here, so that a console without a topic does not load an Azure SDK.
        from breaker.alerts.event_grid import EventGridPublisher  # noqa: PLC0415

        return EventGridPublisher(
            endpoint,
            key=value_of(self._settings, "EVENT_GRID_TOPIC_KEY") or None,
            credential=credential,
        )

    def new_breaker(
        self, publisher: AlertPublisher | None = None, *, registers: bool = False
    ) -> CircuitBreaker:
        """Return the circuit, not yet started.

        Args:
            publisher: destination of alerts; without one they stay in the outbox.
            registers: whether this process is an instance of the app, and not a tool.
        """
        store = RedisCircuitStore(
            self.redis,
            self.breaking.name,
            timeout_seconds=self.breaking.store_timeout_seconds,
        )
        return CircuitBreaker(
            store,
            self.breaking,
            publisher=publisher,
            instance=instance_name(),
            registers=registers,
        )

    def new_dependencies(
        self, publisher: AlertPublisher | None = None, *, registers: bool = False
    ) -> DependencyCircuits:
        """Return the circuits of the app's dependencies, not yet started.

        Args:
            publisher: destination of alerts, which the circuits do not close; without one the
                alerts stay in the outboxes.
            registers: whether this process is an instance of the app, and not a tool.
        """
        store = RedisDependencyStore(
            self.redis,
            self.breaking.name,
            timeout_seconds=self.breaking.store_timeout_seconds,
        )
        return DependencyCircuits(
            store,
            self.depending,
            publisher=publisher,
            instance=instance_name(),
            registers=registers,
        )

    def site(self) -> Site | None:
        """Return the client of the function app; None without FUNCTION_APP_URL.

        Raises:
            processing.errors.SettingsError: FUNCTION_APP_URL is not the address of a function app.
        """
        # Imported here, because the app itself neither reads nor changes its own state.
        from processing.site.client import Site  # noqa: PLC0415
        from processing.site.settings import SiteSettings  # noqa: PLC0415

        settings = SiteSettings.from_mapping(self._settings)
        if settings is None:
            return None
        site = Site(settings, self._operator_credential)
        self._opened.push_async_callback(site.aclose)
        return site

    def vitals(self) -> RedisVitalsReader:
        """Return the reader of the reports that the app's instances write."""
        from processing.monitoring.redis_vitals import RedisVitalsReader  # noqa: PLC0415

        return RedisVitalsReader(self.redis, self.breaking.name, self.app)

    @cached_property
    def app(self) -> str:
        """The digest of the app's identity; "" if the settings do not name hub and storage.

        Raises:
            processing.errors.SettingsError: a setting of hub or storage is unusable.
        """
        found = self._named
        return "" if found is None else found.identity.digest

    @cached_property
    def queue_digest(self) -> str:
        """Sixteen digits that name the poison queue; "" if the settings lack hub or storage.

        Several apps may have one poison queue.

        Raises:
            processing.errors.SettingsError: a setting of hub or storage is unusable.
        """
        found = self._named
        return "" if found is None else digest(f"{found.app_storage.queue}/{found.poison_queue}")

    @cached_property
    def _named(self) -> ConnectionSettings | None:
        try:
            return ConnectionSettings.from_mapping(self._settings)
        except MissingSettingError:
            return None  # a console of the circuit alone

    def _operator_credential(self) -> AsyncTokenCredential:
        """Return the managed identity on Azure, and elsewhere the operator's own login."""
        from azure.identity.aio import (  # noqa: PLC0415 - loaded for an app on Azure only
            DefaultAzureCredential,
            ManagedIdentityCredential,
        )

        client_id = value_of(os.environ, "AZURE_CLIENT_ID") or value_of(
            self._settings, "AZURE_CLIENT_ID"
        )
        if os.environ.get("IDENTITY_ENDPOINT"):  # set by App Service and Container Apps
            return ManagedIdentityCredential(client_id=client_id or None)
        return DefaultAzureCredential()

    async def breaker(
        self, publisher: AlertPublisher | None = None, *, registers: bool = False
    ) -> CircuitBreaker:
        """Return the circuit of `new_breaker`, started; `opened` closes it."""
        breaker = self.new_breaker(publisher, registers=registers)
        return await self._opened.enter_async_context(breaker)

    async def dependencies(
        self, publisher: AlertPublisher | None = None, *, registers: bool = False
    ) -> DependencyCircuits:
        """Return the circuits of `new_dependencies`, started; `opened` closes them.

        A publisher that another part closes must be opened before.
        """
        dependencies = self.new_dependencies(publisher, registers=registers)
        return await self._opened.enter_async_context(dependencies)


def without_judging(settings: Mapping[str, str]) -> BreakerSettings:
    """Return the circuit's settings for a tool, which judges no standstill.

    A tool may have other settings than the app, so its look must not open the circuit.
    """
    return replace(BreakerSettings.from_mapping(settings), standstill_failures=0)


def instance_name() -> str:
    """Return this instance's name in alerts, history and poison messages."""
    host = os.environ.get("WEBSITE_INSTANCE_ID", "")[:12] or socket.gethostname()
    return f"{host}:{os.getpid()}"

"""The factory of the listeners that run an app's functions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from azure.storage.blob.aio import ContainerClient

from local.functions_host.storage import QUICK_RETRIES, queue_of
from local.functions_host.triggers.event_hubs.balancing import Balancing
from local.functions_host.triggers.event_hubs.extension import Extension
from local.functions_host.triggers.event_hubs.listener import EventHubsListener
from local.functions_host.triggers.event_hubs.source import EventHubsSource
from local.functions_host.triggers.queue import QueueListener
from local.functions_host.triggers.timer.lease import HOSTS_CONTAINER, SingletonLease
from local.functions_host.triggers.timer.listener import TimerListener, resolve_schedule
from local.functions_host.triggers.timer.schedule_monitor import (
    BlobScheduleMonitor,
    ScheduleMonitor,
    is_worth_monitoring,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breaker.configuration.host_options import HostJson
    from local.functions_host.app_settings import AppSettings
    from local.functions_host.triggers.listener import Listener
    from local.functions_host.worker.execution import Executor
    from local.functions_host.worker.functions import Function


@dataclass
class ListenerFactory:
    """A factory of listeners; `close` closes the storage client that the listeners share."""

    settings: AppSettings
    options: HostJson
    executor: Executor
    balancing: Balancing
    extension: Extension
    host_id: str
    _hosts: ContainerClient | None = None

    def check(self, functions: Iterable[Function]) -> None:
        """Resolve every binding, so that a missing setting stops the start and not a listener.

        Raises:
            SettingsError: a setting or connection is not set.
            AppLoadError: a schedule is malformed.
        """
        for function in functions:
            match function.kind:
                case "eventHubTrigger":
                    EventHubsSource.resolve(function, self.settings)
                case "timerTrigger":
                    resolve_schedule(function, self.settings)
                case "queueTrigger":
                    queue_of(function.trigger, function.name, self.settings)

    def build(self, functions: Iterable[Function]) -> list[Listener]:
        """Return a listener for each function whose trigger is not called over HTTP."""
        listeners: list[Listener] = []
        for function in functions:
            match function.kind:
                case "eventHubTrigger":
                    listeners.append(
                        EventHubsListener(
                            function,
                            EventHubsSource.resolve(function, self.settings),
                            self.options.event_hubs,
                            self.executor,
                            self.balancing,
                            extension=self.extension,
                        )
                    )
                case "timerTrigger":
                    listeners.append(
                        TimerListener(
                            function,
                            resolve_schedule(function, self.settings),
                            self.executor,
                            self._lease(function),
                            self._monitor(function),
                        )
                    )
                case "queueTrigger":
                    connection, queue = queue_of(function.trigger, function.name, self.settings)
                    listeners.append(
                        QueueListener(
                            function, connection, queue, self.options.queues, self.executor
                        )
                    )
        return listeners

    async def close(self) -> None:
        """Close the storage client that the leases share."""
        if self._hosts is not None:
            await self._hosts.close()
            self._hosts = None

    def _lease(self, function: Function) -> SingletonLease | None:
        """Return the timer's lock; None without storage, which no other instance can share."""
        container = self._hosts_container(function)
        if container is None:
            return None
        name = f"{self.host_id}/{self.host_id}.{function.name}.Listener"
        return SingletonLease(container, name)

    def _monitor(self, function: Function) -> ScheduleMonitor | None:
        """Return the store of the timer's last run; None if the binding or schedule has none."""
        container = self._hosts_container(function)
        schedule = resolve_schedule(function, self.settings)
        if (
            container is None
            or function.trigger.get("useMonitor") is False
            or not is_worth_monitoring(schedule, datetime.now(UTC))
        ):
            return None
        return BlobScheduleMonitor(container, self.host_id, function.name)

    def _hosts_container(self, function: Function) -> ContainerClient | None:
        """Return the container that hosts share; None without storage."""
        if not self.settings.value("AzureWebJobsStorage"):
            return None
        if self._hosts is None:
            storage = self.settings.storage("AzureWebJobsStorage", f"function {function.name!r}")
            self._hosts = ContainerClient.from_connection_string(
                storage, HOSTS_CONTAINER, **QUICK_RETRIES
            )
        return self._hosts

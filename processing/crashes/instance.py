"""The objects that all pipelines of one instance share: its watchdog and its careful mode.

Both are about the process. The event loop stands still for all pipelines, and the death of the
process ends the events of all pipelines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from processing.crashes.careful import CarefulMode, create_careful_gauge
from processing.event import Event
from processing.handlers.debugging import is_debugging, processing_settings
from processing.handlers.loaded import LoadedHandler
from processing.monitoring.telemetry import Telemetry
from processing.settings import ConnectionSettings
from processing.watchdog.recorder import app_name
from processing.watchdog.watchdog import Watchdog


class Instance:
    """The objects that all pipelines of one instance share.

    Args:
        pipelines: the settings of each pipeline, the first one first.

    Attributes:
        careful: careful mode, which counts the running calls of all handlers.
        watchdog: the watchdog, which names the events of all handlers.
        pipelines: the number of pipelines.

    Raises:
        SettingsError: a setting is missing, unknown or out of bounds.
    """

    def __init__(self, pipelines: Sequence[Mapping[str, str]]) -> None:
        connections = [ConnectionSettings.from_mapping(each) for each in pipelines]
        self.pipelines = len(pipelines)
        self._handlers: list[LoadedHandler] = []
        self.careful = CarefulMode(lambda: sum(each.in_flight for each in self._handlers))
        create_careful_gauge(self.careful)
        self.watchdog = Watchdog(
            processing_settings(pipelines[0]).watchdog_seconds,
            handler=", ".join(dict.fromkeys(each.event_handler for each in connections)),
            app=app_name(connections[0].identity),
            find_event=self._event_of,
            blocked=Telemetry().loop_blocked,
        )
        if not is_debugging(pipelines[0]):  # a breakpoint stops the loop on purpose
            self.watchdog.start()

    def add(self, handler: LoadedHandler) -> None:
        """Watch the calls of a pipeline's handler."""
        handler.recorder = self.watchdog.recorder
        self._handlers = [*self._handlers, handler]  # the watchdog's thread reads the list

    def remove(self, handler: LoadedHandler) -> None:
        """Forget a handler that is closed."""
        self._handlers = [each for each in self._handlers if each is not handler]

    async def aclose(self) -> None:
        """Stop the watchdog; no handler may run any more."""
        await self.watchdog.aclose()

    def _event_of(self, task: asyncio.Task[object]) -> Event | None:
        for handler in self._handlers:
            if (event := handler.event_of(task)) is not None:
                return event
        return None

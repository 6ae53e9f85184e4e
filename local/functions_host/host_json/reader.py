"""Reading host.json: every option is checked, and what is unknown is named."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from local.functions_host.errors import HostJsonError, near
from local.functions_host.host_json.options import EventHubsOptions, HostJson, QueuesOptions
from local.functions_host.host_json.values import count, one_of, span, text, utc

_log = logging.getLogger("Host.Startup")

_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "information": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "none": logging.CRITICAL + 10,
}

_IGNORED: dict[str, frozenset[str]] = {
    # Known to the platform, without meaning on one machine: accepted in silence.
    "": frozenset(
        {
            *("version", "extensionBundle", "aggregator", "applicationInsights", "concurrency"),
            *("customHandler", "functions", "healthMonitor", "id", "managedDependency", "retry"),
            *("singleton", "snapshotConfiguration", "telemetryMode", "watchDirectories"),
            *("watchFiles", "sendCanceledInvocationsToWorker"),
        }
    ),
    "logging": frozenset({"fileLoggingMode", "console", "applicationInsights"}),
    "extensions": frozenset(
        {
            *(
                "blobs",
                "cosmosDB",
                "customHandler",
                "durableTask",
                "eventGrid",
                "kafka",
                "sendGrid",
            ),
            *("serviceBus", "signalR", "sql", "tables", "warmup"),
        }
    ),
    "extensions.eventHubs": frozenset({"clientRetryOptions", "webProxy", "enableCheckpointing"}),
    "extensions.eventHubs.initialOffsetOptions": frozenset(),
    "extensions.http": frozenset(
        {
            *("customHeaders", "dynamicThrottlesEnabled", "hsts", "maxConcurrentRequests"),
            "maxOutstandingRequests",
        }
    ),
    "extensions.queues": frozenset(),
}


def load_host_json(path: Path) -> HostJson:
    """Read and check a host.json; one that is not there gives the defaults, as on Azure.

    Raises:
        HostJsonError: not JSON, or an option has a value that is not accepted.
    """
    try:
        content = path.read_text()
    except FileNotFoundError:
        _log.warning("no host.json in %s: every option has its default", path.parent)
        return HostJson()
    try:
        document = json.loads(content)
    except ValueError as error:
        raise HostJsonError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise HostJsonError(f"{path} takes a JSON object, not {type(document).__name__}")
    return _Reader(str(path)).read(document)


class _Reader:
    """Takes known options out of a document and complains about the rest, by dotted path."""

    def __init__(self, source: str) -> None:
        self._source = source

    def read(self, document: dict[str, Any]) -> HostJson:
        if (version := document.get("version")) != "2.0":
            raise self._error("version", version, '"2.0"')
        top = self._section(document, "", ("functionTimeout", "extensions", "logging"))
        extensions = self._section(
            self._object(top, "extensions"), "extensions", ("eventHubs", "http", "queues")
        )
        http = self._section(
            self._object(extensions, "http", "extensions"), "extensions.http", ("routePrefix",)
        )
        timeout = top.get("functionTimeout")
        return HostJson(
            route_prefix=self._take(http, "extensions.http.routePrefix", "api", text).strip("/"),
            function_timeout=None
            if timeout in (None, -1, "-1")
            else self._take(top, "functionTimeout", timedelta(), span),
            log_levels=self._log_levels(self._object(top, "logging")),
            event_hubs=self._event_hubs(self._object(extensions, "eventHubs", "extensions")),
            queues=self._queues(self._object(extensions, "queues", "extensions")),
        )

    def _event_hubs(self, options: dict[str, Any]) -> EventHubsOptions:
        where = "extensions.eventHubs"
        default = EventHubsOptions()
        options = self._section(
            options,
            where,
            (
                *("maxEventBatchSize", "minEventBatchSize", "maxWaitTime", "prefetchCount"),
                *("batchCheckpointFrequency", "initialOffsetOptions", "transportType"),
                "targetUnprocessedEventThreshold",
            ),
        )
        offset_where = f"{where}.initialOffsetOptions"
        offset = self._section(
            self._object(options, "initialOffsetOptions", where),
            offset_where,
            ("type", "enqueuedTimeUtc"),
        )
        kind = self._take(
            offset,
            f"{offset_where}.type",
            default.initial_offset,
            one_of("fromStart", "fromEnd", "fromEnqueuedTime"),
        )
        when = self._take(offset, f"{offset_where}.enqueuedTimeUtc", None, utc)
        if kind == "fromEnqueuedTime" and when is None:
            raise self._error(f"{offset_where}.enqueuedTimeUtc", None, "an ISO 8601 time")
        threshold = "targetUnprocessedEventThreshold"
        result = EventHubsOptions(
            self._take(options, f"{where}.maxEventBatchSize", 100, count),
            self._take(options, f"{where}.minEventBatchSize", 1, count),
            self._take(options, f"{where}.maxWaitTime", default.max_wait_time, span),
            self._take(options, f"{where}.batchCheckpointFrequency", 1, count),
            self._take(options, f"{where}.prefetchCount", 300, count),
            kind,
            when,
            self._take(
                options, f"{where}.transportType", "amqpTcp", one_of("amqpTcp", "amqpWebSockets")
            ),
            self._take(options, f"{where}.{threshold}", None, count),
        )
        if result.min_event_batch_size > result.max_event_batch_size:
            raise self._error(
                f"{where}.minEventBatchSize",
                result.min_event_batch_size,
                f"at most maxEventBatchSize ({result.max_event_batch_size})",
            )
        return result

    def _queues(self, options: dict[str, Any]) -> QueuesOptions:
        where = "extensions.queues"
        default = QueuesOptions()
        options = self._section(
            options,
            where,
            (
                *("batchSize", "newBatchThreshold", "maxDequeueCount", "maxPollingInterval"),
                *("visibilityTimeout", "messageEncoding"),
            ),
        )
        batch_size = self._take(options, f"{where}.batchSize", default.batch_size, count)
        if batch_size > 32:
            raise self._error(f"{where}.batchSize", batch_size, "a number from 1 to 32")
        return QueuesOptions(
            batch_size,
            self._take(options, f"{where}.newBatchThreshold", max(1, batch_size // 2), count),
            self._take(options, f"{where}.maxDequeueCount", default.max_dequeue_count, count),
            self._take(options, f"{where}.maxPollingInterval", default.max_polling_interval, span),
            self._take(options, f"{where}.visibilityTimeout", default.visibility_timeout, span),
            self._take(options, f"{where}.messageEncoding", "base64", one_of("base64", "none")),
        )

    def _log_levels(self, options: dict[str, Any]) -> dict[str, int]:
        options = self._section(options, "logging", ("logLevel",))
        levels = {}
        for category, level in self._object(options, "logLevel", "logging").items():
            number = _LEVELS.get(str(level).lower())
            if number is None:
                accepted = ", ".join(name.capitalize() for name in _LEVELS)
                raise self._error(f"logging.logLevel.{category}", level, f"one of {accepted}")
            levels[category] = number
        return levels

    def _object(self, options: dict[str, Any], name: str, parent: str = "") -> dict[str, Any]:
        value = options.get(name, {})
        if not isinstance(value, dict):
            raise self._error(f"{parent}.{name}".lstrip("."), value, "a JSON object")
        return value

    def _section(
        self, options: dict[str, Any], where: str, known: tuple[str, ...]
    ) -> dict[str, Any]:
        """Return the options under their proper names (host.json ignores case), warn of others."""
        proper = {name.lower(): name for name in (*known, *_IGNORED[where])}
        found = {}
        for name, value in options.items():
            if name.startswith("$"):
                continue
            if name.lower() in proper:
                found[proper[name.lower()]] = value
            else:
                place = f"{where}.{name}".lstrip(".")
                hint = near(name, proper.values())
                _log.warning("%s: unknown option %r is ignored%s", self._source, place, hint)
        return found

    def _take[T](
        self, options: dict[str, Any], path: str, default: T, convert: Callable[[Any], T]
    ) -> T:
        value = options.get(path.rpartition(".")[2])
        if value is None:
            return default
        try:
            return convert(value)
        except ValueError as error:
            raise self._error(path, value, str(error)) from None

    def _error(self, path: str, value: object, accepted: str) -> HostJsonError:
        return HostJsonError(
            f"{self._source}: {path} is {json.dumps(value, default=str)}; it takes {accepted}"
        )

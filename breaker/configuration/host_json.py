"""A reader of host.json that checks each option and lists unknown options."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from breaker.configuration.errors import ConfigurationError, HostJsonError, nearest
from breaker.configuration.host_options import (
    LEVELS,
    OPTIONS,
    EventHubsOptions,
    HostJson,
    Options,
    QueuesOptions,
)
from breaker.configuration.host_values import count, one_of, span, text, utc
from breaker.configuration.json_file import read_json_file
from breaker.configuration.overrides import SettingText, overrides, with_overrides


def read_host_json(path: Path, settings: Mapping[str, str] | None = None) -> HostJson:
    """Read and check a host.json.

    Args:
        path: the file.
        settings: app settings; those named `AzureFunctionsJobHost__…` replace options.

    Raises:
        FileNotFoundError: the file does not exist, and no app setting replaces an option; Azure
            then uses the defaults, `HostJson()`.
        HostJsonError: the file is not JSON, or an option has a value that is not accepted.
    """
    settings = settings or {}
    try:
        document = read_json_file(path)
    except FileNotFoundError:
        if not any(overrides(settings)):
            raise
        document = {"version": "2.0"}
    except ConfigurationError as error:
        raise HostJsonError(str(error)) from None
    if not isinstance(document, dict):
        raise HostJsonError(f"{path} takes a JSON object, not {type(document).__name__}")
    return _Reader(str(path)).read(with_overrides(document, settings))


class _Reader:
    """A reader of one document, with a list of its unknown options."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._unknown: list[str] = []

    def read(self, document: dict[str, Any]) -> HostJson:
        """Return the options.

        Raises:
            HostJsonError: an option has a value that is not accepted.
        """
        options = self._named(document, OPTIONS, "")
        if (version := options.get("version")) != "2.0":
            raise self._error("version", version, '"2.0"')
        extensions = options.get("extensions", {})
        http = extensions.get("http", {})
        unlimited = options.get("functionTimeout") in (None, -1, "-1")
        return HostJson(
            route_prefix=self._take(http, "extensions.http.routePrefix", "api", text).strip("/"),
            function_timeout=None
            if unlimited
            else self._take(options, "functionTimeout", timedelta(), span),
            extension_bundle={
                name: self._take(options["extensionBundle"], f"extensionBundle.{name}", "", text)
                for name in options.get("extensionBundle", {})
            },
            log_levels=self._log_levels(options.get("logging", {}).get("logLevel", {})),
            event_hubs=self._event_hubs(extensions.get("eventHubs", {})),
            queues=self._queues(extensions.get("queues", {})),
            unknown=tuple(self._unknown),
        )

    def _named(self, found: object, known: Options, where: str) -> dict[str, Any]:
        """Return a section with the options' published spelling, because host.json ignores case."""
        if not isinstance(found, dict):
            raise self._error(where, found, "a JSON object")
        proper = {name.lower(): name for name in known}
        named = {}
        for name, value in found.items():
            if name.startswith("$"):
                continue
            path = f"{where}.{name}".lstrip(".")
            option = name if "*" in known else proper.get(name.lower())
            if option is None:
                near = nearest(name, known, cutoff=0.75)
                hint = f"; did you mean {near!r}?" if near else ""
                where = self._source
                if isinstance(value, SettingText):
                    where = f"the app setting {value.setting}"
                self._unknown.append(f"{where}: unknown option {path!r} is ignored{hint}")
                continue
            below = known.get(option)
            path = f"{where}.{option}".lstrip(".")
            named[option] = value if below is None else self._named(value, below, path)
        return named

    def _event_hubs(self, options: dict[str, Any]) -> EventHubsOptions:
        where = "extensions.eventHubs"
        default = EventHubsOptions()
        offset = options.get("initialOffsetOptions", {})
        offset_where = f"{where}.initialOffsetOptions"
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
        levels = {}
        for category, level in options.items():
            number = LEVELS.get(str(level).lower())
            if number is None:
                accepted = ", ".join(name.capitalize() for name in LEVELS)
                raise self._error(f"logging.logLevel.{category}", level, f"one of {accepted}")
            levels[category] = number
        return levels

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
        if isinstance(value, SettingText):
            return HostJsonError(
                f"the app setting {value.setting} is {json.dumps(value)}; it takes {accepted}"
            )
        return HostJsonError(
            f"{self._source}: {path} is {json.dumps(value, default=str)}; it takes {accepted}"
        )

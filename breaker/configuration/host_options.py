"""The options of host.json: those that the local host uses, and all names that Azure publishes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal

type Options = Mapping[str, Options | None]

LEVELS: Mapping[str, int] = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "information": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "none": logging.CRITICAL + 10,
}
"""Python's log level for each log level of host.json."""


def _values(*names: str) -> Options:
    return dict.fromkeys(names)


OPTIONS: Options = {
    **_values("version", "functionTimeout", "telemetryMode", "aggregator", "applicationInsights"),
    **_values("concurrency", "customHandler", "functions", "healthMonitor", "id"),
    **_values("managedDependency", "retry", "singleton", "snapshotConfiguration"),
    **_values("watchDirectories", "watchFiles", "sendCanceledInvocationsToWorker"),
    "extensionBundle": _values("id", "version"),
    "extensions": {
        **_values("blobs", "cosmosDB", "customHandler", "durableTask", "eventGrid", "kafka"),
        **_values("sendGrid", "serviceBus", "signalR", "sql", "tables", "warmup"),
        "eventHubs": {
            **_values("maxEventBatchSize", "minEventBatchSize", "maxWaitTime", "prefetchCount"),
            **_values("batchCheckpointFrequency", "transportType", "webProxy"),
            **_values("targetUnprocessedEventThreshold", "enableCheckpointing"),
            "initialOffsetOptions": _values("type", "enqueuedTimeUtc"),
            "clientRetryOptions": _values(
                "mode", "tryTimeout", "delay", "maximumDelay", "maximumRetries"
            ),
        },
        "http": {
            **_values("routePrefix", "customHeaders", "dynamicThrottlesEnabled", "hsts"),
            **_values("maxConcurrentRequests", "maxOutstandingRequests"),
        },
        "queues": {
            **_values("batchSize", "newBatchThreshold", "maxDequeueCount", "maxPollingInterval"),
            **_values("visibilityTimeout", "messageEncoding"),
        },
    },
    "logging": {
        **_values("fileLoggingMode", "console", "applicationInsights"),
        "logLevel": {"*": None},
    },
}
"""All known names. None stands for a value of any form, `*` for any name.

A known option that `HostJson` lacks has no effect on the local host.
"""


@dataclass(frozen=True)
class EventHubsOptions:
    """The options of `extensions.eventHubs`."""

    max_event_batch_size: int = 100
    min_event_batch_size: int = 1
    max_wait_time: timedelta = timedelta(minutes=1)
    batch_checkpoint_frequency: int = 1
    prefetch_count: int = 300
    initial_offset: Literal["fromStart", "fromEnd", "fromEnqueuedTime"] = "fromStart"
    initial_enqueued_time: datetime | None = None
    transport_type: Literal["amqpTcp", "amqpWebSockets"] = "amqpTcp"
    target_unprocessed_event_threshold: int | None = None


@dataclass(frozen=True)
class QueuesOptions:
    """The options of `extensions.queues`."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    max_polling_interval: timedelta = timedelta(minutes=1)
    visibility_timeout: timedelta = timedelta()
    message_encoding: Literal["base64", "none"] = "base64"


@dataclass(frozen=True)
class HostJson:
    """The options of one host, with the platform's defaults.

    Attributes:
        function_timeout: None for no limit.
        unknown: one message for each option that Azure does not publish; the host ignores these.
    """

    route_prefix: str = "api"
    function_timeout: timedelta | None = None
    extension_bundle: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    log_levels: dict[str, int] = field(default_factory=dict)
    event_hubs: EventHubsOptions = field(default_factory=EventHubsOptions)
    queues: QueuesOptions = field(default_factory=QueuesOptions)
    unknown: tuple[str, ...] = ()

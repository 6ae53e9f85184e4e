"""The options of host.json that this host honours, with the platform's defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal


@dataclass(frozen=True)
class EventHubsOptions:
    """`extensions.eventHubs`."""

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
    """`extensions.queues`."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    max_polling_interval: timedelta = timedelta(minutes=1)
    visibility_timeout: timedelta = timedelta()
    message_encoding: Literal["base64", "none"] = "base64"


@dataclass(frozen=True)
class HostJson:
    """The options of one host."""

    route_prefix: str = "api"
    function_timeout: timedelta | None = None
    log_levels: dict[str, int] = field(default_factory=dict)
    event_hubs: EventHubsOptions = field(default_factory=EventHubsOptions)
    queues: QueuesOptions = field(default_factory=QueuesOptions)

"""The host.json reader: defaults, accepted and refused values, unknown options."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from breaker.configuration.errors import HostJsonError
from breaker.configuration.host_json import read_host_json
from breaker.configuration.host_options import HostJson
from breaker.configuration.timespan import parse_timespan


def _load(directory: Path, **options: Any) -> HostJson:
    path = directory / "host.json"
    path.write_text(json.dumps({"version": "2.0", **options}))
    return read_host_json(path)


def test_host_json_has_platform_defaults(tmp_path: Path) -> None:
    host = _load(tmp_path)
    assert host == HostJson()
    assert host.route_prefix == "api"
    assert host.function_timeout is None
    assert host.event_hubs.max_event_batch_size == 100
    assert host.event_hubs.min_event_batch_size == 1
    assert host.event_hubs.max_wait_time == timedelta(minutes=1)
    assert host.event_hubs.batch_checkpoint_frequency == 1
    assert host.event_hubs.prefetch_count == 300
    assert host.event_hubs.initial_offset == "fromStart"
    assert host.event_hubs.transport_type == "amqpTcp"


def test_option_names_are_not_case_sensitive(tmp_path: Path) -> None:
    host = _load(
        tmp_path,
        functionTimeout="00:10:00",
        extensions={
            "EventHubs": {
                "maxEventBatchSize": 500,
                "MinEventBatchSize": 20,
                "maxWaitTime": "00:00:05",
                "batchCheckpointFrequency": 2,
                "prefetchCount": 1000,
                "initialOffsetOptions": {
                    "type": "fromEnqueuedTime",
                    "enqueuedTimeUtc": "2026-01-31T12:00:00Z",
                },
                "transportType": "amqpWebSockets",
                "targetUnprocessedEventThreshold": 75,
            },
            "http": {"routePrefix": "/v1/"},
            "queues": {"batchSize": 4, "messageEncoding": "none"},
        },
        logging={"logLevel": {"default": "Warning", "Host.Triggers": "Trace"}},
    )
    options = host.event_hubs
    assert host.function_timeout == timedelta(minutes=10)
    assert host.route_prefix == "v1"
    assert (options.max_event_batch_size, options.min_event_batch_size) == (500, 20)
    assert options.max_wait_time == timedelta(seconds=5)
    assert options.initial_enqueued_time == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert options.transport_type == "amqpWebSockets"
    assert options.target_unprocessed_event_threshold == 75
    assert (host.queues.batch_size, host.queues.new_batch_threshold) == (4, 2)
    assert host.log_levels == {"default": logging.WARNING, "Host.Triggers": logging.DEBUG}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": "1.0"}, 'version is "1.0"; it takes "2.0"'),
        ({"functionTimeout": "5 minutes"}, "functionTimeout is"),
        ({"functionTimeout": [1]}, "functionTimeout is [1]; it takes a time span"),
        ({"functionTimeout": {}}, "functionTimeout is {}; it takes a time span"),
        ({"extensions": {"eventHubs": {"maxEventBatchSize": 0}}}, "it takes a whole number from 1"),
        ({"extensions": {"eventHubs": {"prefetchCount": "many"}}}, 'prefetchCount is "many"'),
        ({"extensions": {"eventHubs": {"prefetchCount": True}}}, "prefetchCount is true"),
        ({"extensions": {"eventHubs": {"maxWaitTime": "1m"}}}, "it takes a time span"),
        (
            {"extensions": {"eventHubs": {"minEventBatchSize": 101}}},
            "minEventBatchSize is 101; it takes at most maxEventBatchSize (100)",
        ),
        (
            {"extensions": {"eventHubs": {"initialOffsetOptions": {"type": "fromMiddle"}}}},
            "it takes one of fromStart, fromEnd, fromEnqueuedTime",
        ),
        (
            {"extensions": {"eventHubs": {"initialOffsetOptions": {"type": "fromEnqueuedTime"}}}},
            "enqueuedTimeUtc is null; it takes an ISO 8601 time",
        ),
        ({"extensions": {"eventHubs": 5}}, "extensions.eventHubs is 5; it takes a JSON object"),
        ({"extensions": {"queues": {"batchSize": 33}}}, "it takes a number from 1 to 32"),
        ({"logging": {"logLevel": {"default": "Loud"}}}, "logging.logLevel.default"),
    ],
)
def test_invalid_option_value_is_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(HostJsonError) as e:
        _load(tmp_path, **options)
    assert message in str(e.value)
    assert str(tmp_path / "host.json") in str(e.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:00:05", 5), ("1:02", 3720), ("1.00:00:00", 86_400), ("00:00:00.5", 0.5)],
)
def test_time_span_is_parsed(text: str, seconds: float) -> None:
    assert parse_timespan(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "5", "24:00:00", "00:60:00", "00:00:61", "-00:00:01", "1h"])
def test_invalid_time_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_timespan(text)


def test_unknown_nested_option_is_listed_with_nearest_name(tmp_path: Path) -> None:
    """Options that only Azure uses are known; a name that Azure lacks is listed."""
    host = _load(
        tmp_path,
        **{"$schema": "x"},
        Retry={"strategy": "fixedDelay"},
        extensions={"eventHubs": {"clientRetryOptions": {"Mode": "fixed", "tryTimeouts": "1"}}},
    )
    [message] = host.unknown
    assert "unknown option 'extensions.eventHubs.clientRetryOptions.tryTimeouts'" in message
    assert message.endswith("did you mean 'tryTimeout'?")

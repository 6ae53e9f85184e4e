"""The `$management` node, which returns the properties of a hub or partition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proton import UNDESCRIBED, Array, Data, Message, int32, symbol, timestamp

from local.event_hubs.connection.request_reply import text
from local.event_hubs.errors import NOT_FOUND, UNAUTHORIZED, AmqpError
from local.event_hubs.hub.hub import EventHub
from local.event_hubs.hub.namespace import Namespace

HUB = "com.microsoft:eventhub"
PARTITION = "com.microsoft:partition"
_YEAR_1_MS = -62_135_596_800_000  # the service's value for "never"
_STATUS = {NOT_FOUND: 404, UNAUTHORIZED: 401}


class Management:
    """The handler of management requests for a namespace.

    Args:
        namespace: the namespace with the hubs.
        require: raises `AmqpError` if the connection may not use the named hub.
    """

    def __init__(self, namespace: Namespace, require: Callable[[str], None]) -> None:
        self._namespace = namespace
        self._require = require

    def answer(self, request: Message) -> Message:
        """Answer a request; errors are reported by the status of the reply."""
        properties = request.properties
        operation, kind = text(properties, "operation"), text(properties, "type")
        name, partition = text(properties, "name"), text(properties, "partition")
        if operation != "READ" or kind not in (HUB, PARTITION):
            return _reply(400, f"the operation {operation!r} on {kind!r} is not supported", None)
        try:
            self._require(name or "")
            hub = self._namespace.open(name or "")
            body = _hub(hub) if kind == HUB else _partition(hub, partition or "")
        except AmqpError as error:
            return _reply(
                _STATUS.get(error.condition, 400), error.description, None, error.condition
            )
        return _reply(200, "OK", body)


def _hub(hub: EventHub) -> dict[str, Any]:
    ids = [str(log.partition) for log in hub.partitions]
    return {
        "name": hub.name,
        "type": HUB,
        "created_at": timestamp(hub.created_ms),
        "partition_count": int32(len(ids)),
        "partition_ids": Array(UNDESCRIBED, Data.STRING, *ids),
    }


def _partition(hub: EventHub, partition: str) -> dict[str, Any]:
    log = hub.log(partition)
    hub.trim()
    return {
        "name": hub.name,
        "type": PARTITION,
        "partition": str(log.partition),
        "begin_sequence_number": log.begin_sequence,
        "last_enqueued_sequence_number": log.last_sequence,
        "last_enqueued_offset": str(log.last_offset),
        "last_enqueued_time_utc": timestamp(
            log.last_enqueued_ms if log.last_sequence >= 0 else _YEAR_1_MS
        ),
        "is_partition_empty": len(log) == 0,
    }


def _reply(
    code: int, description: str, body: dict[str, Any] | None, condition: str | None = None
) -> Message:
    properties: dict[str, Any] = {
        "status-code": int32(code),
        "status-description": description,
    }
    if condition is not None:
        properties["error-condition"] = symbol(condition)
    return Message(properties=properties, body=body)

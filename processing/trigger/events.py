"""Bound events that read their fields when they are asked for.

For each event of a batch, azure-functions 2.3.0 converts five system properties in about a hundred
calls, and throws away the JSON that it has parsed. The app reads the same JSON again, because the
bound events lack most properties. The events of this module keep the parsed JSON, share it, and
convert a field only when somebody asks for it, with the library's own functions. So every field has
the value that the library would give it.

The library offers no setting for this, and refuses a second converter for the trigger. So one class
method of the trigger's converter is replaced, if the library looks as expected; see `install`.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

from azure.functions import EventHubEvent
from azure.functions.eventhub import EventHubTriggerConverter
from azure.functions.meta import Datum

logger = logging.getLogger(__name__)

type Decode = Callable[[Any, Mapping[str, Any]], list[Any]]

NAME = "decode_multiple_events"
SYSTEM = "SystemPropertiesArray"


class BoundBatch:
    """The data of one batch, which its events share.

    Attributes:
        converter: the trigger's converter.
        bodies: the bodies of the events.
        systems: the parsed system properties of the events.
    """

    def __init__(
        self,
        converter: Any,
        bodies: list[bytes],
        systems: list[dict[str, Any]],
        metadata: Mapping[str, Any],
    ) -> None:
        self.converter = converter
        self.bodies = bodies
        self.systems = systems
        self._metadata = metadata

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The trigger's metadata as Python values."""
        return {
            name: self.systems if name == SYSTEM else value.python_value
            for name, value in self._metadata.items()
        }


class BoundEvent(EventHubEvent):
    """An event of a batch."""

    def __init__(self, batch: BoundBatch, index: int) -> None:
        self._batch = batch
        self._index = index

    def get_body(self) -> bytes:
        """Return the body."""
        return self._batch.bodies[self._index]

    @property
    def partition_key(self) -> str | None:
        """The partition key."""
        return self._converted("PartitionKey", str)  # type: ignore[no-any-return]

    @property
    def sequence_number(self) -> int | None:
        """The sequence number."""
        return self._converted("SequenceNumber", int)  # type: ignore[no-any-return]

    @property
    def offset(self) -> Any:
        """The offset; as in the library, a number if the service's offset is one."""
        return self._converted("Offset", int)

    @property
    def enqueued_time(self) -> datetime | None:
        """The time at which the hub enqueued the event."""
        time: datetime | None = self._batch.converter._parse_datetime(
            self._system.get("EnqueuedTimeUtc")
        )
        return time

    @property
    def iothub_metadata(self) -> Mapping[str, str]:
        """The system properties of IoT Hub, without the prefix of their names."""
        found: Mapping[str, str] = self._batch.converter._extract_iothub_from_dict(self._system)
        return found

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata of the whole batch, the same for each event."""
        return self._batch.metadata

    @property
    def _system(self) -> dict[str, Any]:
        return self._batch.systems[self._index]

    def _converted(self, name: str, kind: type) -> Any:
        converter = self._batch.converter
        return converter._decode_typed_data(
            converter.encode(self._system.get(name), expected_type=kind), python_type=kind
        )


def install(converter: Any = EventHubTriggerConverter) -> bool:
    """Replace the decoding of batches; return whether it is replaced.

    The library's decoding stays, with a warning, if it takes other arguments or if it gives another
    result for a sample. A repeat changes nothing.

    Args:
        converter: the class to change.
    """
    try:
        original = getattr(converter, NAME)
        if getattr(original, "is_lean", False):
            return True
        replacement = lean(converter, original)
        problem = _difference(original, replacement)
    except Exception as error:  # whatever a future version of the library looks like
        problem = f"{type(error).__name__}: {error}"
    if problem:
        logger.warning(
            "The decoding of batches of azure-functions is not replaced: %s. Decoding an event "
            "takes about 15 us longer; everything else works",
            problem,
        )
        return False
    setattr(converter, NAME, staticmethod(replacement))
    return True


def lean(converter: Any, original: Decode) -> Decode:
    """Return a decoding of batches of bytes; other data are left to the original."""

    def decode(data: Any, trigger_metadata: Mapping[str, Any]) -> list[Any]:
        if data.type != "collection_bytes" or SYSTEM not in trigger_metadata:
            return original(data, trigger_metadata)
        bodies = list(data.value.bytes)
        systems = json.loads(trigger_metadata[SYSTEM].value)
        if len(bodies) != len(systems):
            raise AssertionError("Number of bodies and metadata mismatched")
        batch = BoundBatch(converter, bodies, systems, trigger_metadata)
        return [BoundEvent(batch, index) for index in range(len(bodies))]

    decode.is_lean = True  # type: ignore[attr-defined]
    return decode


class _Collection:
    """The part of a protobuf collection that the library reads."""

    bytes = (b"x", b"\xff")


_SAMPLE = Datum(_Collection, "collection_bytes")
_METADATA = {
    "PartitionContext": Datum('{"PartitionId":"1"}', "json"),
    SYSTEM: Datum(
        '[{"SequenceNumber":7,"Offset":"700","PartitionKey":null,'
        '"EnqueuedTimeUtc":"2026-11-29T06:24:26.493","iothub-connection-device-id":"dev1"},'
        '{"SequenceNumber":8,"Offset":"800","PartitionKey":"k",'
        '"EnqueuedTimeUtc":"2026-11-29T06:24:26+00:00"}]',
        "json",
    ),
}


def _difference(original: Decode, replacement: Decode) -> str:
    """Return how the two decodings differ for a sample, or ""."""
    parameters = list(inspect.signature(original).parameters)
    if parameters != ["data", "trigger_metadata"]:
        return f"it takes {parameters}"
    expected, found = (
        [_fields(event) for event in decode(_SAMPLE, _METADATA)]
        for decode in (original, replacement)
    )
    return "" if expected == found else f"{expected} differs from {found}"


def _fields(event: Any) -> list[Any]:
    names = [
        name for name, value in inspect.getmembers(EventHubEvent) if isinstance(value, property)
    ]
    return [event.get_body(), event.to_dict(), *(getattr(event, name) for name in sorted(names))]

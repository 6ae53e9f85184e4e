"""Poison messages: complete events that failed, with their errors."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

from processing.event import Event, enqueued_time, event_id
from processing.formats import json_text
from processing.formats.cut import beginning, short_key
from processing.frozen import EMPTY, FrozenDict, frozen
from processing.handlers.raised import describe, dotted_type
from processing.handlers.retry import Failure
from processing.identity import Identity, Source
from processing.poison import message_json
from processing.poison.error_detail import ErrorDetail

INLINE_BYTES = 48 * 1024  # the service's limit is 64 KiB of base64, which is 48 KiB of data
TEXT_BYTES = 1024
"""Longest text of a claim check's message that names something, in JSON."""


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """The blob that stores a message or an event."""

    container: str
    blob: str


@dataclass(frozen=True, slots=True)
class PoisonMessage:
    """A poison message of one event. Times are ISO 8601 in UTC; `body` is base64.

    Attributes:
        source: the partition of the event and the app that read it.
        enqueued_ms: time at which the hub enqueued the event, milliseconds since 1970 (UTC).
        redrives: number of redrives in which the event failed again.
        parked: whether the event is also in its key's parked list. A redrive then replays the list,
            and uses this message only to select the key.
    """

    source: Source
    key: str | None
    body: str | None
    properties: Mapping[str, Any]
    sequence_number: int
    offset: str
    enqueued_ms: int
    error: ErrorDetail
    attempts: int
    first_attempt_time: str
    last_attempt_time: str
    handler: str
    circuit_generation: int
    instance: str
    claim_check: ClaimCheck | None = None
    redrives: int = 0
    parked: bool = False
    system_properties: Mapping[str, Any] = field(default_factory=FrozenDict)

    @classmethod
    def from_failure(
        cls, event: Event, failure: Failure, *, handler: str, circuit_generation: int, instance: str
    ) -> Self:
        """Return the message for an event and its failure.

        A handler can replace the parts of an event, although the event is frozen. A part that
        cannot be stored is left out, and the error's text says so.
        """
        kinds = {"body": bytes, "properties": dict, "system_properties": dict}
        left_out = [
            name for name, kind in kinds.items() if not isinstance(getattr(event, name), kind)
        ]
        error = ErrorDetail.from_error(failure.error)
        if left_out:
            error = error.without(f"{', '.join(left_out)}, which the handler replaced")
        return cls(
            source=event.source,
            key=event.key,
            body="" if "body" in left_out else base64.b64encode(event.body).decode(),
            properties=EMPTY if "properties" in left_out else event.properties,
            system_properties=(
                EMPTY if "system_properties" in left_out else event.system_properties
            ),
            sequence_number=event.sequence_number,
            offset=event.offset,
            enqueued_ms=event.enqueued_ms,
            error=error,
            attempts=failure.attempts,
            first_attempt_time=_time(failure.first_attempt),
            last_attempt_time=_time(failure.last_attempt),
            handler=handler,
            circuit_generation=circuit_generation,
            instance=instance,
        )

    @property
    def id(self) -> str:
        """The event's id; a second message for the same event has the same id."""
        return event_id(self.source, self.sequence_number, self.enqueued_ms)

    @property
    def partition(self) -> str:
        """The partition's id."""
        return self.source.partition

    @property
    def verdict(self) -> str:
        """The id of this poisoning of the event.

        All copies of the message have the same verdict. A later poisoning has a different verdict.
        """
        return f"{self.id}@{self.first_attempt_time}@{self.instance}"

    @property
    def event(self) -> Event:
        """The event that the handler received; some property values may have become text.

        Raises:
            ValueError: the message is only a claim check.
        """
        return Event(
            body=self.payload,
            key=self.key,
            properties=frozen(self.properties),
            source=self.source,
            sequence_number=self.sequence_number,
            offset=self.offset,
            enqueued_ms=self.enqueued_ms,
            system_properties=frozen(self.system_properties),
        )

    def failed_again(self, failure: Failure) -> Self:
        """Return this message after a redrive in which the event failed again."""
        return replace(
            self,
            error=ErrorDetail.from_error(failure.error),
            attempts=self.attempts + failure.attempts,
            last_attempt_time=_time(failure.last_attempt),
            redrives=self.redrives + 1,
        )

    def essence(self, why: Exception) -> Self:
        """Return this message without its properties, which cannot be stored for this reason."""
        reason = f"its properties: {dotted_type(why)}: {describe(why)}"
        error = replace(self.error.without(reason), traceback="")
        return replace(self, properties=EMPTY, system_properties=EMPTY, error=error)

    @property
    def is_large(self) -> bool:
        """Return whether the message is too large for the queue."""
        return len(self.to_json().encode()) > INLINE_BYTES

    @property
    def has_body(self) -> bool:
        """Return whether the message has its body; the message of a claim check has none."""
        return self.body is not None

    @property
    def blob_name(self) -> str:
        """The blob's name for a large message; the identity may contain any character."""
        source = self.source
        name = f"{self.sequence_number}-{self.enqueued_ms}.json"
        return f"{source.identity.digest}/{source.partition}/{name}"

    def with_claim_check(self, check: ClaimCheck) -> Self:
        """Return this message with a claim check instead of its body and properties.

        The result always fits into the queue: all its texts are cut, and the blob keeps the event's
        whole key and offset.
        """
        return replace(
            self,
            key=None if self.key is None else short_key(self.key),
            body=None,
            properties=EMPTY,
            system_properties=EMPTY,
            offset=beginning(self.offset, TEXT_BYTES),
            error=self.error.cut(),
            handler=beginning(self.handler, TEXT_BYTES),
            instance=beginning(self.instance, TEXT_BYTES),
            claim_check=check,
        )

    @property
    def payload(self) -> bytes:
        """The event's body.

        Raises:
            ValueError: the message is only a claim check; the body is in its blob.
        """
        if self.body is None:
            raise ValueError(
                f"poison message {self.id} is only a claim check; its body is in the blob "
                f"{self.claim_check}"
            )
        return base64.b64decode(self.body)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the message's JSON form; property values are not converted."""
        identity = self.source.identity
        error = asdict(self.error)
        return {
            # Beside the error: readers before the frames ignore unknown fields, but not inside it.
            "frames": list(error.pop("frames")),
            "version": message_json.VERSION,
            "id": self.id,
            "namespace": identity.namespace,
            "hub": identity.hub,
            "consumer_group": identity.consumer_group,
            "pipeline": identity.pipeline,
            "partition": self.partition,
            "sequence_number": self.sequence_number,
            "offset": self.offset,
            "enqueued_time": enqueued_time(self.enqueued_ms).isoformat(),
            "key": self.key,
            "body": self.body,
            "properties": self.properties,
            "system_properties": self.system_properties,
            "error": error,
            "attempts": self.attempts,
            "first_attempt_time": self.first_attempt_time,
            "last_attempt_time": self.last_attempt_time,
            "handler": self.handler,
            "circuit_generation": self.circuit_generation,
            "instance": self.instance,
            "claim_check": self.claim_check and asdict(self.claim_check),
            "redrives": self.redrives,
            "parked": self.parked,
        }

    def to_json(self) -> str:
        """Return the message as JSON; property values that JSON does not support become text."""
        return json_text.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str | bytes, *, namespace: str = "") -> Self:
        """Parse a message of any supported version.

        Args:
            text: the message.
            namespace: the namespace of a message that does not name it (versions 1 and 2).

        Raises:
            ValueError: the text is not a poison message of a supported version.
        """
        found = message_json.read(text, namespace=namespace)
        identity = Identity(
            *(found.pop(name) for name in ("namespace", "hub", "consumer_group", "pipeline"))
        )
        found["source"] = Source(identity, found.pop("partition"))
        found["enqueued_ms"] = int(found.pop("id").rpartition("/")[2])
        found["error"] = ErrorDetail(**found["error"], frames=tuple(found.pop("frames")))
        if found["claim_check"] is not None:
            found["claim_check"] = ClaimCheck(**found["claim_check"])
        for derived in ("version", "enqueued_time"):
            del found[derived]
        return cls(**found)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()

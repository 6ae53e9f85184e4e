"""Poison messages: complete events that failed, with their errors."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from processing.event import Event, Source
from processing.handlers.retry import Failure, describe
from processing.poison import message_json as poison_json

INLINE_BYTES = 48 * 1024  # the service's limit is 64 KiB of base64, which is 48 KiB of data
TRACEBACK_CHARACTERS = 4000
MESSAGE_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """The last error: its type's dotted name, its message and the tail of its traceback."""

    type: str
    message: str
    traceback: str

    @classmethod
    def from_error(cls, error: Exception) -> Self:
        """Return the details of an error; long texts are cut."""
        kind = type(error)
        return cls(
            type=f"{kind.__module__}.{kind.__qualname__}",
            message=describe(error)[:MESSAGE_CHARACTERS],
            traceback="".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:],
        )


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """The blob that stores a message or an event."""

    container: str
    blob: str


@dataclass(frozen=True, slots=True)
class PoisonMessage:
    """A poison message of one event. Times are ISO 8601 in UTC; `body` is base64.

    `id` identifies the event, not the message: a second message for the same event has the same id.

    Attributes:
        redrives: number of redrives in which the event failed again.
        parked: whether the event is also in its key's parked list. A redrive then replays the list,
            and uses this message only to select the key.
    """

    id: str
    key: str | None
    body: str | None
    properties: Mapping[str, Any]
    partition: str
    sequence_number: int
    offset: str
    enqueued_time: str
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
    version: int = poison_json.VERSION

    @classmethod
    def from_failure(
        cls,
        event: Event,
        failure: Failure,
        *,
        source: Source,
        handler: str,
        circuit_generation: int,
        instance: str,
    ) -> Self:
        """Return the message for an event and its failure."""
        return cls(
            id=f"{source}/{event.sequence_number}/{event.enqueued_ms}",
            key=event.key,
            body=base64.b64encode(event.body).decode(),
            properties=dict(event.properties),
            partition=event.partition,
            sequence_number=event.sequence_number,
            offset=event.offset,
            enqueued_time=event.enqueued_time.isoformat(),
            error=ErrorDetail.from_error(failure.error),
            attempts=failure.attempts,
            first_attempt_time=_time(failure.first_attempt),
            last_attempt_time=_time(failure.last_attempt),
            handler=handler,
            circuit_generation=circuit_generation,
            instance=instance,
        )

    @property
    def source(self) -> Source:
        """The partition and consumer group of the event."""
        stream, _, _, _ = self.id.rsplit("/", 3)
        hub, _, group = stream.partition("/")
        return Source(hub, group, self.partition)

    @property
    def enqueued_ms(self) -> int:
        """The time at which the hub enqueued the event, milliseconds since 1970."""
        return int(self.id.rpartition("/")[2])

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
            properties=self.properties,
            partition=self.partition,
            sequence_number=self.sequence_number,
            offset=self.offset,
            enqueued_ms=self.enqueued_ms,
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

    @property
    def is_large(self) -> bool:
        """Return whether the message is too large for the queue."""
        return len(self.to_json().encode()) > INLINE_BYTES

    def with_claim_check(self, check: ClaimCheck) -> Self:
        """Return this message with a claim check instead of its body, properties and traceback.

        The result always fits into the queue: a key has at most 128 bytes, and the error is cut.
        """
        error = replace(self.error, traceback="")
        return replace(self, body=None, properties={}, error=error, claim_check=check)

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

    def to_json(self) -> str:
        """Return the message as JSON; property values that JSON does not support become text."""
        return poison_json.write(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse a message.

        Raises:
            ValueError: the text is not a poison message of a supported version.
        """
        values = poison_json.read(text)
        values["error"] = ErrorDetail(**values["error"])
        if values["claim_check"] is not None:
            values["claim_check"] = ClaimCheck(**values["claim_check"])
        return cls(**values)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()

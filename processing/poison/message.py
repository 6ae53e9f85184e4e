"""Poison messages: an event that will not be handled, kept whole, with what is known of why."""

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

INLINE_BYTES = 48 * 1024  # the service takes 64 KiB; base64, which the trigger expects, leaves 48
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
        """What is kept of an error."""
        kind = type(error)
        return cls(
            type=f"{kind.__module__}.{kind.__qualname__}",
            message=describe(error)[:MESSAGE_CHARACTERS],
            traceback="".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:],
        )


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """Where a message lies that is too large for the queue."""

    container: str
    blob: str


@dataclass(frozen=True, slots=True)
class PoisonMessage:
    """One poison event. Times are ISO 8601 in UTC; `body` is base64.

    `id` names the event, not the message: a repeat of the same event has the same id.

    Attributes:
        redrives: how often a redrive tried it again in vain.
        parked: whether its key was parked with it; its key's parked list is then what counts, and
            this message tells of it.
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
        """The message for an event and its failure."""
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
        """Where the event came from."""
        stream, _, _, _ = self.id.rsplit("/", 3)
        hub, _, group = stream.partition("/")
        return Source(hub, group, self.partition)

    @property
    def enqueued_ms(self) -> int:
        """When the hub took the event, milliseconds since 1970."""
        return int(self.id.rpartition("/")[2])

    @property
    def verdict(self) -> str:
        """Names this poisoning of the event: the same in every copy of the message, another one
        when the event is poisoned anew.
        """
        return f"{self.id}@{self.first_attempt_time}@{self.instance}"

    @property
    def event(self) -> Event:
        """The event as the handler had it, but for properties that JSON has no form for.

        Raises:
            ValueError: this is only a claim check.
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
        """This message after a redrive in vain."""
        return replace(
            self,
            error=ErrorDetail.from_error(failure.error),
            attempts=self.attempts + failure.attempts,
            last_attempt_time=_time(failure.last_attempt),
            redrives=self.redrives + 1,
        )

    @property
    def is_large(self) -> bool:
        """Whether it takes a claim check to fit into the queue."""
        return len(self.to_json().encode()) > INLINE_BYTES

    def checked_in(self, check: ClaimCheck) -> Self:
        """The claim check of this message. A key takes 128 bytes and an error's parts are cut:
        what is left is always small.
        """
        error = replace(self.error, traceback="")
        return replace(self, body=None, properties={}, error=error, claim_check=check)

    @property
    def payload(self) -> bytes:
        """The event's body.

        Raises:
            ValueError: this is only a claim check; the whole message lies in its blob.
        """
        if self.body is None:
            raise ValueError(f"poison message {self.id} is a claim check: {self.claim_check}")
        return base64.b64decode(self.body)

    def to_json(self) -> str:
        """The message as JSON; properties that JSON has no form for become text."""
        return poison_json.write(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a message.

        Raises:
            ValueError: it is no poison message of a version known here; says what is wrong.
        """
        values = poison_json.read(text)
        values["error"] = ErrorDetail(**values["error"])
        if values["claim_check"] is not None:
            values["claim_check"] = ClaimCheck(**values["claim_check"])
        return cls(**values)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()

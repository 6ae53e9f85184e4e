"""Poison messages: an event that will not be handled, kept whole, with what is known of why."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Protocol, Self

from processing.event import Event, Source
from processing.retry import Failure

VERSION = 1
TRACEBACK_CHARACTERS = 4000
MESSAGE_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """The last error: its type's dotted name, its message and the tail of its traceback."""

    type: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """Where a message lies that is too large for the queue."""

    container: str
    blob: str


@dataclass(frozen=True, slots=True)
class PoisonMessage:
    """One poison event. Times are ISO 8601 in UTC; `body` is base64.

    `id` names the event, not the message: a repeat of the same event has the same id.
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
    version: int = field(default=VERSION)

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
        error = failure.error
        kind = type(error)
        return cls(
            id=f"{source}/{event.sequence_number}/{event.enqueued_ms}",
            key=event.key,
            body=base64.b64encode(event.body).decode(),
            properties=dict(event.properties),
            partition=event.partition,
            sequence_number=event.sequence_number,
            offset=event.offset,
            enqueued_time=event.enqueued_time.isoformat(),
            error=ErrorDetail(
                type=f"{kind.__module__}.{kind.__qualname__}",
                message=str(error)[:MESSAGE_CHARACTERS],
                traceback="".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:],
            ),
            attempts=failure.attempts,
            first_attempt_time=_time(failure.first_attempt),
            last_attempt_time=_time(failure.last_attempt),
            handler=handler,
            circuit_generation=circuit_generation,
            instance=instance,
        )

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
        return json.dumps(asdict(self), default=_plain, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a message.

        Raises:
            ValueError: it is no poison message of a version known here; says what is wrong.
        """
        try:
            found = json.loads(text)
        except ValueError as error:
            raise ValueError(f"not a poison message: not JSON ({error})") from None
        if not isinstance(found, dict):
            raise ValueError(f"not a poison message: a JSON {type(found).__name__}, not an object")
        if found.get("version") != VERSION:
            raise ValueError(
                f"poison message of version {found.get('version')!r}; this reads {VERSION}"
            )
        names = {each.name for each in fields(cls)}
        if missing := names - found.keys():
            raise ValueError(f"not a poison message: it lacks {', '.join(sorted(missing))}")
        values = {name: found[name] for name in names}
        values["error"] = ErrorDetail(**values["error"])
        if values["claim_check"] is not None:
            values["claim_check"] = ClaimCheck(**values["claim_check"])
        return cls(**values)


class PoisonQueue(Protocol):
    """Takes poison messages durably."""

    async def put(self, message: PoisonMessage) -> None:
        """Returns once the message is durable. Repeat-safe: the id stays the same.

        Raises:
            StorageUnavailableError: the queue or the blob container did not take it.
        """
        ...


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)

"""Parked events: complete events that wait behind a poisoned event of their key."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, Self

from processing.event import Event, Source
from processing.poison.claim_checks import ClaimChecks, stored_content
from processing.poison.message import ClaimCheck
from processing.poison.message_json import plain

VERSION = 1

type Position = str
"""The place of an event among the events of its key: "<enqueued ms>:<sequence number>".

Both numbers are padded with zeros, so that the order of the texts is the order of the events. The
time comes first because a recreated hub counts sequence numbers from zero."""


class Placed(Protocol):
    """An object with an event's place: an event, its poison message or a progress mark."""

    @property
    def enqueued_ms(self) -> int: ...  # noqa: D102

    @property
    def sequence_number(self) -> int: ...  # noqa: D102


def position_of(event: Placed) -> Position:
    """Return the event's position, which also identifies the event within its partition."""
    return f"{event.enqueued_ms:015d}:{event.sequence_number:020d}"


def is_reached(position: Position, replayed: Position) -> bool:
    """Return whether a replay up to `replayed` included the event at `position`.

    Both the time and the sequence number must be at or below. The number alone would include events
    of a recreated hub. The time alone would include later events if the hub's clock went back.
    """
    return position <= replayed and position[16:] <= replayed[16:]


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event with its source; a claim check instead of the body of a large event."""

    source: Source
    event: Event
    claim_check: ClaimCheck | None = None

    @property
    def blob_name(self) -> str:
        """The blob's name for a large event, with a hash of the hub and the consumer group."""
        stream = hashlib.sha256(f"{self.source.hub}/{self.source.consumer_group}".encode())
        event = self.event
        return (
            f"parked/{stream.hexdigest()[:16]}/{event.partition}/"
            f"{event.sequence_number}-{event.enqueued_ms}.json"
        )

    def with_claim_check(self, check: ClaimCheck) -> Self:
        """Return this event with a claim check instead of its body and properties."""
        return replace(self, event=replace(self.event, body=b"", properties={}), claim_check=check)

    def to_json(self) -> str:
        """Return the event as JSON; property values that JSON does not support become text."""
        found: dict[str, Any] = asdict(self.event)
        found |= {
            "version": VERSION,
            "hub": self.source.hub,
            "consumer_group": self.source.consumer_group,
            "body": base64.b64encode(self.event.body).decode(),
            "properties": dict(self.event.properties),
            "claim_check": self.claim_check and asdict(self.claim_check),
        }
        return json.dumps(found, default=plain, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse the output of `to_json`.

        Raises:
            ValueError: the text has another version, or is not a parked event.
        """
        found = json.loads(text)
        if not isinstance(found, dict) or found.get("version") != VERSION:
            raise ValueError(f"not a parked event of version {VERSION}: {str(text)[:100]!r}")
        try:
            check = found["claim_check"]
            return cls(
                Source(found["hub"], found["consumer_group"], found["partition"]),
                Event(
                    body=base64.b64decode(found["body"]),
                    key=found["key"],
                    properties=found["properties"],
                    partition=found["partition"],
                    sequence_number=found["sequence_number"],
                    offset=found["offset"],
                    enqueued_ms=found["enqueued_ms"],
                ),
                ClaimCheck(**check) if check else None,
            )
        except KeyError as error:
            raise ValueError(f"not a parked event: it lacks {error}") from None


async def with_body(parked: ParkedEvent, claims: ClaimChecks) -> ParkedEvent:
    """Return the parked event with its body and properties, read from its blob if it is large.

    Raises:
        BodyLostError: the blob was deleted or replaced.
        StorageUnavailableError: the blob cannot be read.
    """
    if (check := parked.claim_check) is None:
        return parked
    content = stored_content(check, await claims.get_bytes(check))
    event = replace(
        parked.event, body=base64.b64decode(content.body), properties=content.properties
    )
    return replace(parked, event=event, claim_check=None)

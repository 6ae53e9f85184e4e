"""Parked events: events that wait behind a poisoned one of their key, kept whole."""

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
"""Where an event stands within its key: "<enqueued ms>:<sequence number>", padded with zeros so
that the order of the texts is the order of the events. The time comes first because a hub that was
made again counts anew."""


class Placed(Protocol):
    """Anything that stands where an event stands: an event, its poison message, a progress mark."""

    @property
    def enqueued_ms(self) -> int: ...  # noqa: D102

    @property
    def sequence_number(self) -> int: ...  # noqa: D102


def position_of(event: Placed) -> Position:
    """Return the event's place among those of its key, its identity within its partition."""
    return f"{event.enqueued_ms:015d}:{event.sequence_number:020d}"


def is_reached(position: Position, replayed: Position) -> bool:
    """Whether a replay up to `replayed` took this event along.

    Both its time and its number must say so. The number alone would take in events of a hub that
    was made again; the time alone one that came later, should the hub's clock have gone back.
    """
    return position <= replayed and position[16:] <= replayed[16:]


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event and where it came from; without its body while it is only a claim check."""

    source: Source
    event: Event
    claim_check: ClaimCheck | None = None

    @property
    def blob_name(self) -> str:
        """Where it lies if it is large: the event's name, the hub's and group's part hashed."""
        stream = hashlib.sha256(f"{self.source.hub}/{self.source.consumer_group}".encode())
        event = self.event
        return (
            f"parked/{stream.hexdigest()[:16]}/{event.partition}/"
            f"{event.sequence_number}-{event.enqueued_ms}.json"
        )

    def checked_in(self, check: ClaimCheck) -> Self:
        """The claim check of this event."""
        return replace(self, event=replace(self.event, body=b"", properties={}), claim_check=check)

    def to_json(self) -> str:
        """The event as JSON; properties that JSON has no form for become text."""
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
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is of another version, or no parked event.
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
    """Return the parked event with its body and its properties, fetched from its blob if need be.

    Raises:
        BodyLostError: the blob is gone, or holds something else.
        StorageUnavailableError: the blob cannot be read.
    """
    if (check := parked.claim_check) is None:
        return parked
    content = stored_content(check, await claims.get_bytes(check))
    event = replace(
        parked.event, body=base64.b64decode(content.body), properties=content.properties
    )
    return replace(parked, event=event, claim_check=None)

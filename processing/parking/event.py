"""Parked events: complete events that wait behind a poisoned event of their key."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, replace
from typing import Protocol, Self

from processing.event import Event
from processing.formats import json_text
from processing.frozen import EMPTY, frozen
from processing.identity import PIPELINE, Identity, Source
from processing.poison.claim_checks import ClaimChecks, stored_content
from processing.poison.message import ClaimCheck

VERSION = 2
READABLE = (1, 2)

type Position = str
"""The place of an event among the events of its key: "<enqueued ms>:<sequence number>".

Both numbers are padded with zeros, so that the order of the texts is the order of the events. The
time comes first because a recreated hub counts sequence numbers from zero."""


type Replayed = str
"""The events of a key that replays have handled: "<last position>|<first position>", or "".

Events before the first are covered by progress. After a rewind they are processed again, although a
replay of their key may finish later events before that. Format 2 wrote the last position only."""


class Placed(Protocol):
    """An object with an event's place: an event, its poison message or a progress mark."""

    @property
    def enqueued_ms(self) -> int: ...  # noqa: D102

    @property
    def sequence_number(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Lone:
    """The name of the list of one event without a key that waits alone (keyless order `none`)."""

    position: Position


type ListKey = str | Lone | None
"""The name of a parked list within its partition.

An event key; None for the events without a key that keep their order; or one event's `Lone`."""


def event_key(key: ListKey) -> str | None:
    """Return the key of the events in a list."""
    return None if isinstance(key, Lone) else key


def position_of(event: Placed) -> Position:
    """Return the event's position, which also identifies the event within its partition."""
    return f"{event.enqueued_ms:015d}:{event.sequence_number:020d}"


def is_reached(position: Position, replayed: Replayed) -> bool:
    """Return whether the replays of a key have included the event at `position`.

    Both the time and the sequence number must be at or below those of the last replayed event. The
    number alone would include events of a recreated hub. The time alone would include later events
    if the hub's clock went back.
    """
    last, _, first = replayed.partition("|")
    return first <= position <= last and position[16:] <= last[16:]


def extended(replayed: Replayed, position: Position) -> Replayed:
    """Return the replayed positions after a replay of one more event."""
    last, _, first = replayed.partition("|")
    if not last:
        return f"{position}|{position}"
    return f"{max(last, position)}|{first}"


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that waits; a claim check instead of the body and properties of a large event."""

    event: Event
    claim_check: ClaimCheck | None = None

    @property
    def has_body(self) -> bool:
        """Return whether the event has its body; the body of a claim check is in its blob."""
        return self.claim_check is None

    @property
    def blob_name(self) -> str:
        """The blob's name for a large event."""
        event = self.event
        return (
            f"parked/{event.source.identity.digest}/{event.partition}/"
            f"{event.sequence_number}-{event.enqueued_ms}.json"
        )

    def with_claim_check(self, check: ClaimCheck) -> Self:
        """Return this event with a claim check instead of its body and properties."""
        small = replace(self.event, body=b"", properties=EMPTY, system_properties=EMPTY)
        return replace(self, event=small, claim_check=check)

    def to_json(self) -> str:
        """Return the event as JSON; property values that JSON does not support become text."""
        event, identity = self.event, self.event.source.identity
        return json_text.dumps(
            {
                "version": VERSION,
                "id": event.id,
                "namespace": identity.namespace,
                "hub": identity.hub,
                "consumer_group": identity.consumer_group,
                "pipeline": identity.pipeline,
                "partition": event.partition,
                "sequence_number": event.sequence_number,
                "offset": event.offset,
                "enqueued_ms": event.enqueued_ms,
                "key": event.key,
                "body": base64.b64encode(event.body).decode(),
                "properties": event.properties,
                "system_properties": event.system_properties,
                "claim_check": self.claim_check and asdict(self.claim_check),
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes, *, namespace: str = "") -> Self:
        """Parse a parked event of any supported version.

        Args:
            text: the output of `to_json`.
            namespace: the namespace of an event that does not name it (version 1).

        Raises:
            ValueError: the text has another version, or is not a parked event.
        """
        found = json.loads(text)
        if not isinstance(found, dict) or found.get("version") not in READABLE:
            raise ValueError(
                f"not a parked event of version {' or '.join(map(str, READABLE))}: "
                f"{str(text)[:100]!r}"
            )
        if found["version"] == 1:
            found |= {"namespace": namespace, "pipeline": PIPELINE, "system_properties": {}}
        try:
            check = found["claim_check"]
            identity = Identity(
                *(found[name] for name in ("namespace", "hub", "consumer_group", "pipeline"))
            )
            return cls(
                Event(
                    body=base64.b64decode(found["body"]),
                    key=found["key"],
                    properties=frozen(found["properties"]),
                    source=Source(identity, found["partition"]),
                    sequence_number=found["sequence_number"],
                    offset=found["offset"],
                    enqueued_ms=found["enqueued_ms"],
                    system_properties=frozen(found["system_properties"]),
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
    content = stored_content(check, await claims.get_bytes(check), parked.event)
    event = replace(
        parked.event,
        body=base64.b64decode(content.body),
        properties=frozen(content.properties),
        system_properties=frozen(content.system_properties),
    )
    return replace(parked, event=event, claim_check=None)

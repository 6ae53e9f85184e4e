"""The names and documents of format 1, which version 0.1 wrote.

The names of hubs and consumer groups were used as they were configured, and the namespace with its
port. So one partition may have data under several spellings.
"""

from __future__ import annotations

from dataclasses import dataclass

from processing.identity import Identity, Source, normal_name
from processing.parking.event import ParkedEvent
from processing.parking.store import EntryKind
from processing.poison.message import PoisonMessage


@dataclass(frozen=True, slots=True)
class OldSource:
    """A partition as version 0.1 named it."""

    namespace: str
    hub: str
    consumer_group: str
    partition: str

    @property
    def source(self) -> Source:
        """The partition as it is named now."""
        return Source(Identity(self.namespace, self.hub, self.consumer_group), self.partition)

    @property
    def progress_keys(self) -> tuple[str, str]:
        """The keys of the watermark and of the finished events."""
        prefix = f"progress:{{{self.namespace}/{self._stream}}}"
        return f"{prefix}:watermark", f"{prefix}:finished"

    def parking_key(self, name: str) -> str:
        """Return one of the keys of the partition's parked lists."""
        return f"parking:{self.namespace}:{{{self._stream}}}:{name}"

    @property
    def _stream(self) -> str:
        return f"{self.hub}/{self.consumer_group}/{self.partition}"

    @classmethod
    def from_progress_key(cls, key: str) -> OldSource | None:
        """Return the partition of a watermark's key, or None for another key."""
        name = key.removeprefix("progress:{").removesuffix("}:watermark")
        parts = name.split("/")
        return cls(*parts) if len(parts) == 4 and f"progress:{{{name}}}:watermark" == key else None

    @classmethod
    def from_parking_set(cls, key: str, member: str) -> OldSource | None:
        """Return the partition of a member of the set of parked partitions."""
        namespace = key.removeprefix("parking:").removesuffix(":sources")
        parts = member.split("/")
        return cls(namespace, *parts) if len(parts) == 3 else None


def upgraded_entry(document: str, namespace: str) -> str:
    """Return an entry of a parked list in today's form: the letter of its kind, then JSON.

    Raises:
        ValueError: the document is not an entry of format 1.
    """
    kind, text = EntryKind(document[:1]), document[1:]
    if kind is EntryKind.EVENT:
        return kind + ParkedEvent.from_json(text, namespace=namespace).to_json()
    return kind + PoisonMessage.from_json(text, namespace=namespace).to_json()


def upgraded_verdict(verdict: str, namespace: str) -> str:
    """Return a verdict of format 1 with the event's id of today."""
    name, at, rest = verdict.partition("@")
    stream, *place = name.rsplit("/", 3)
    hub = normal_name(stream.partition("/")[0])
    return "/".join([namespace, hub, *place]) + at + rest

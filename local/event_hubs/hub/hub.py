"""One event hub: partitions, consumer groups, attached links and retention."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol, runtime_checkable

from local.event_hubs.config import DEFAULT_GROUP, ConfigError, HubConfig
from local.event_hubs.errors import (
    ARGUMENT_OUT_OF_RANGE,
    INTERNAL_ERROR,
    AmqpError,
    entity_not_found,
)
from local.event_hubs.hub.epochs import Receiver, admit
from local.event_hubs.hub.injected_faults import InjectedFaults
from local.event_hubs.hub.messages import split
from local.event_hubs.hub.partition_log import PartitionLog
from local.event_hubs.hub.partitioner import RoundRobin, partition_for_key
from local.event_hubs.hub.retention import Retention
from local.event_hubs.hub.storage import HubFiles, HubRecord

MAX_KEY_CHARACTERS = 128
_AGE_CHECK_MS = 1000


class AttachedLink(Protocol):
    """The interface of a publishing or receiving link for the hub."""

    hub: EventHub
    partition: int | None
    group: str | None
    claim: Receiver | None

    def detach(self, error: AmqpError) -> None:
        """Close the link and report the error to the peer."""


@runtime_checkable
class RedeliveringLink(Protocol):
    """The interface of a receiving link that can deliver events again."""

    def redeliver(self, events: int) -> int:
        """Redeliver the link's last events; return their number."""


class EventHub:
    """One event hub. Times come from `now_ms`, in milliseconds since 1970.

    Args:
        config: the name, the partitions and the consumer groups.
        retention: the limits of the events kept.
        now_ms: the clock.
        files: the folder that keeps the hub while no process runs; None keeps it in memory only.
        record: the hub as the folder has it; None for a new hub.

    Raises:
        DamagedFileError: a file of the hub cannot be read.
    """

    def __init__(
        self,
        config: HubConfig,
        retention: Retention,
        now_ms: Callable[[], int],
        files: HubFiles | None = None,
        record: HubRecord | None = None,
    ) -> None:
        self.name = config.name
        self._files = files
        self.partitions = tuple(self._open(index) for index in range(config.partitions))
        self.groups = {name.lower() for name in (DEFAULT_GROUP, *config.consumer_groups)}
        self.created_ms = now_ms()
        self.links: set[AttachedLink] = set()
        self.injected_faults = InjectedFaults(now_ms)
        self._retention = retention
        self._now_ms = now_ms
        self._turns = RoundRobin(config.partitions)
        self._events = sum(map(len, self.partitions))
        self._bytes = sum(log.size_bytes for log in self.partitions)
        self._next_age_check_ms = 0
        self._changed_retention: float | None = None
        if record is not None:
            self.groups.update(record.groups)
            self.created_ms = record.created_ms
            if record.retention_seconds is not None:
                self._changed_retention = record.retention_seconds
                self._retention = replace(retention, max_age_seconds=record.retention_seconds)
        self._save()

    def log(self, partition: str) -> PartitionLog:
        """Return the log of the partition with this id.

        Raises:
            AmqpError: `amqp:not-found`, the partition does not exist.
        """
        if partition.isascii() and partition.isdecimal() and int(partition) < len(self.partitions):
            return self.partitions[int(partition)]
        raise entity_not_found(f"{self.name}/Partitions/{partition}")

    def grow(self, partitions: int) -> None:
        """Add empty partitions; the hub keeps its events, its links and its creation time.

        From now on the service's hash spreads the keys over all partitions.

        Args:
            partitions: the new number of partitions; the service cannot remove partitions.

        Raises:
            ConfigError: the number is smaller than before, or too large.
        """
        before = len(self.partitions)
        HubConfig(self.name, partitions)
        if partitions < before:
            raise ConfigError(
                f"partitionCount of event hub {self.name!r} must be {before} or more, "
                f"got {partitions}"
            )
        added = (self._open(index) for index in range(before, partitions))
        self.partitions = (*self.partitions, *added)
        self._turns = RoundRobin(partitions)
        self._save()

    def add_groups(self, names: Iterable[str]) -> None:
        """Add consumer groups that do not exist yet."""
        if added := {name.lower() for name in names} - self.groups:
            self.groups |= added
            self._save()

    def require_group(self, group: str) -> None:
        """Check that a consumer group exists.

        Raises:
            AmqpError: `amqp:not-found`, the consumer group does not exist.
        """
        if group.lower() not in self.groups:
            raise entity_not_found(f"{self.name}/ConsumerGroups/{group}")

    def publish(self, message: bytes, message_format: int, partition: int | None) -> range:
        """Append a message or all messages of a batch to one partition.

        Args:
            message: the bytes of the transfer.
            message_format: 0, or `messages.BATCH_FORMAT`.
            partition: the partition in the link's address; None selects the partition by key, or in
                turn without a key.

        Returns:
            The sequence numbers of the events.

        Raises:
            AmqpError: the message is refused by a fault or malformed, the key is too long, or the
                events could not be written to disk.
        """
        key, events = split(message, message_format)
        self.injected_faults.check_publication(len(events))
        if key is not None and len(key.decode("utf-8", "replace")) > MAX_KEY_CHARACTERS:
            raise AmqpError(
                ARGUMENT_OUT_OF_RANGE,
                f"The partition key exceeds the limit of {MAX_KEY_CHARACTERS} characters.",
            )
        if partition is None:
            partition = (
                self._turns.next_partition()
                if key is None
                else partition_for_key(key, len(self.partitions))
            )
        log = self.partitions[partition]
        before = log.size_bytes
        try:
            sequences = log.append(events, self._now_ms())
        except OSError as error:
            raise AmqpError(
                INTERNAL_ERROR, f"The events could not be stored: {error.strerror or error}."
            ) from error
        self._events += len(events)
        self._bytes += log.size_bytes - before
        self.trim()
        return sequences

    def receivers(self, partition: int, group: str) -> list[AttachedLink]:
        """Return the receivers of one partition and consumer group."""
        return [
            link
            for link in self.links
            if link.claim is not None
            and link.partition == partition
            and link.group is not None
            and link.group.lower() == group.lower()
        ]

    def admit(self, newcomer: AttachedLink) -> None:
        """Attach a receiver by the ownership rules, and detach the receivers that are displaced.

        Raises:
            AmqpError: the ownership rules refuse the receiver.
        """
        claim, partition, group = newcomer.claim, newcomer.partition, newcomer.group
        if claim is None or partition is None or group is None:
            raise TypeError("the link must be a receiver with a claim, a partition and a group")
        present = self.receivers(partition, group)
        admission = admit([link.claim for link in present if link.claim is not None], claim)
        if admission.refusal is not None:
            raise admission.refusal
        reasons = {id(receiver): error for receiver, error in admission.displaced}
        for link in present:
            if (error := reasons.get(id(link.claim))) is not None:
                link.detach(error)
        self.links.add(newcomer)

    def retain(self, seconds: float) -> None:
        """Keep events for `seconds` from now on, and remove older events at once.

        Raises:
            ValueError: `seconds` is not above 0.
        """
        self._retention = replace(self._retention, max_age_seconds=seconds)
        self._changed_retention = seconds
        self._save()
        self._next_age_check_ms = 0
        self.trim()

    def trim(self) -> None:
        """Remove the events that exceed retention; also called after each append."""
        limits, now_ms = self._retention, self._now_ms()
        if now_ms >= self._next_age_check_ms:
            self._next_age_check_ms = now_ms + _AGE_CHECK_MS
            horizon = now_ms - int(limits.max_age_seconds * 1000)
            for log in self.partitions:
                self._forget(log, log.sequence_at_time(horizon) - log.begin_sequence)
        while (excess := self._events - limits.max_events) > 0 or self._bytes > limits.max_bytes:
            oldest = min(self.partitions, key=_age)
            self._forget(oldest, self._older_than_others(oldest, excess) if excess > 1 else 1)

    def close(self) -> None:
        """Close the hub's files."""
        for log in self.partitions:
            log.close()

    def delete(self) -> None:
        """Delete the hub's files."""
        self.close()
        if self._files is not None:
            self._files.delete()

    def _open(self, index: int) -> PartitionLog:
        return PartitionLog(index, None if self._files is None else self._files.partition(index))

    def _save(self) -> None:
        if self._files is not None:
            self._files.write(
                HubRecord(
                    self.name,
                    self.created_ms,
                    len(self.partitions),
                    tuple(sorted(self.groups)),
                    self._changed_retention,
                )
            )

    def _older_than_others(self, oldest: PartitionLog, most: int) -> int:
        """Count the log's events (1 to `most`) that are older than all events of other logs."""
        next_ms = min((_age(log) for log in self.partitions if log is not oldest), default=1 << 62)
        return max(1, min(most, oldest.sequence_at_time(next_ms) - oldest.begin_sequence))

    def _forget(self, log: PartitionLog, count: int) -> None:
        before = log.size_bytes
        log.trim(count)
        self._events -= count
        self._bytes -= before - log.size_bytes


def _age(log: PartitionLog) -> int:
    oldest = log.oldest_enqueued_ms
    return oldest if oldest is not None else 1 << 63

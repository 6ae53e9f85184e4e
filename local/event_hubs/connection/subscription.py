"""Receiving links, which read one partition's log as far as the peer's credit allows.

A subscription stores only a position. Events without credit stay in the log. Deliveries are sent
settled, as the service sends them.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from typing import Any

from cproton import (
    pn_delivery,
    pn_delivery_settle,
    pn_link_credit,
    pn_link_drained,
    pn_link_get_drain,
    pn_link_send,
    pn_session_outgoing_bytes,
)
from proton import Described, Link

from local.event_hubs.connection.links import LinkHandler, Owner
from local.event_hubs.errors import ARGUMENT_ERROR, AmqpError
from local.event_hubs.hub.epochs import Receiver
from local.event_hubs.hub.hub import EventHub
from local.event_hubs.hub.messages import with_delivery_annotations
from local.event_hubs.hub.partition_log import PartitionLog
from local.event_hubs.hub.positions import START, Position, first_sequence, parse_selector

EPOCH = "com.microsoft:epoch"
RECEIVER_NAME = "com.microsoft:receiver-name"
RUNTIME_METRIC = b"com.microsoft:enable-receiver-runtime-metric"
SELECTOR = "apache.org:selector-filter:string"

TURN_EVENTS = 256
TURN_BYTES = 256 * 1024
MAX_UNSENT_BYTES = 512 * 1024
"""The most bytes that wait for the peer's session window before a subscription pauses."""

_TAGS = tuple(bytes((number,)) for number in range(256))

logger = logging.getLogger(__name__)


class Subscription(LinkHandler):
    """A receiving link from one partition for one consumer group."""

    def __init__(
        self,
        owner: Owner,
        link: Any,
        hub: EventHub,
        log: PartitionLog,
        group: str,
        *,
        runtime_metric: bool,
        now_ms: Callable[[], int],
    ) -> None:
        super().__init__(owner, link)
        self.hub = hub
        self.group: str | None = group
        self.partition: int | None = log.partition
        self.claim: Receiver | None = claim_of(link)
        self._log = log
        self._runtime_metric = runtime_metric
        self._now_ms = now_ms
        self._session = link.session
        self._first = 0
        self._next = 0
        self._sent = 0

    def attach(self) -> None:
        """Attach to the partition by the ownership rules, and start at the requested position.

        Raises:
            AmqpError: the position is invalid, or the ownership rules refuse the receiver.
        """
        self.hub.trim()
        self._first = self._next = first_sequence(position_of(self.link), self._log)
        self.hub.admit(self)
        self.link.snd_settle_mode = Link.SND_SETTLED
        self.accept()
        self._log.listeners[self] = self.owner.schedule_delivery

    def on_closed(self) -> None:
        """Remove the link from the hub and the partition."""
        self.hub.links.discard(self)
        self.hub.injected_faults.forget(self)
        self._log.listeners.pop(self, None)

    def on_flow(self) -> None:
        """Schedule a delivery turn, because the peer may have given credit."""
        self.owner.schedule_delivery()

    def redeliver(self, events: int) -> int:
        """Move back by up to `events` events that this link delivered; return their number."""
        back = min(events, self._next - max(self._first, self._log.begin_sequence))
        if self.closed or back <= 0:
            return 0
        self._next -= back
        self.owner.schedule_delivery()
        return back

    @property
    def ready(self) -> bool:
        """Return whether an event can be sent to the peer now."""
        return (
            not self.closed
            and self._next <= self._log.last_sequence
            and pn_link_credit(self.link._impl) > 0
            and pn_session_outgoing_bytes(self._session._impl) <= MAX_UNSENT_BYTES
            and self.hub.injected_faults.deliverable(self, 1) > 0
        )

    def deliver(self, limit: int) -> int:
        """Send up to `limit` events within the credit and `TURN_BYTES`; return their number."""
        if self.closed:
            return 0
        log = self._log
        if self._next < log.begin_sequence:
            logger.warning(
                "a receiver of hub %s partition %s missed %d events that retention has removed and "
                "continues at sequence number %d",
                *(
                    self.hub.name,
                    self.partition,
                    log.begin_sequence - self._next,
                    log.begin_sequence,
                ),
            )
            self._next = log.begin_sequence
        link = self.link._impl
        limit = self.hub.injected_faults.deliverable(self, min(limit, pn_link_credit(link)))
        sent = self._send(link, limit) if self.ready else 0
        if self._next > log.last_sequence and pn_link_get_drain(link):
            pn_link_drained(link)
            self.owner.schedule_flush()
        return sent

    def _send(self, link: Any, limit: int) -> int:
        events = self._log.read(self._next, limit)
        metric = self._metric() if self._runtime_metric else None
        room = TURN_BYTES
        count = 0
        for event in events:
            payload = with_delivery_annotations(event, metric) if metric else event
            # Tags may repeat, because the peer settles nothing. The Python SDK never frees a tag.
            delivery = pn_delivery(link, _TAGS[(self._sent + count) & 0xFF])
            pn_link_send(link, payload)
            pn_delivery_settle(delivery)
            count += 1
            room -= len(payload)
            if room <= 0:
                break
        self.hub.injected_faults.delivered(self, count)
        self._next += count
        self._sent += count
        return count

    def _metric(self) -> bytes:
        log = self._log
        offset = b"%d" % log.last_offset
        entries = b"".join(
            (
                _symbol(b"last_enqueued_sequence_number"),
                struct.pack(">Bq", 0x81, log.last_sequence),
                _symbol(b"last_enqueued_offset"),
                bytes((0xA1, len(offset))),
                offset,
                _symbol(b"last_enqueued_time_utc"),
                struct.pack(">Bq", 0x83, log.last_enqueued_ms),
                _symbol(b"runtime_info_retrieval_time_utc"),
                struct.pack(">Bq", 0x83, self._now_ms()),
            )
        )
        return b"\x00\x53\x71\xd1" + struct.pack(">II", len(entries) + 4, 8) + entries


def position_of(link: Any) -> Position:
    """Read the start position from the link's selector filter; the default is the beginning.

    Raises:
        AmqpError: `com.microsoft:argument-error`, the filter is not supported.
    """
    data = link.remote_source.filter
    data.rewind()
    filters = data.get_object() if data.next() else None
    if not isinstance(filters, dict):
        return START
    for name, value in filters.items():
        if str(name) == SELECTOR and value is not None:
            return parse_selector(str(value.value if isinstance(value, Described) else value))
    return START


def claim_of(link: Any) -> Receiver:
    """Read the receiver's name and epoch from the link's properties.

    Raises:
        AmqpError: `com.microsoft:argument-error`, the epoch is not a whole number.
    """
    found = link.remote_properties
    properties = {str(k): v for k, v in found.items()} if isinstance(found, dict) else {}
    epoch = properties.get(EPOCH)
    if epoch is not None and (isinstance(epoch, bool) or not isinstance(epoch, int)):
        raise AmqpError(ARGUMENT_ERROR, f"{EPOCH} must be a whole number, got {epoch!r}.")
    name = str(properties.get(RECEIVER_NAME) or "nil")
    return Receiver(name, None if epoch is None else int(epoch))


def _symbol(name: bytes) -> bytes:
    return bytes((0xA3, len(name))) + name

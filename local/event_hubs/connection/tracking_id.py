"""The suffix that the service appends to each error text, for its operators' log search.

The format is:

... TrackingId:<guid>_G0, SystemTracker:<namespace>:eventhub:<hub>~<partition>|<group>,
Timestamp:2026-01-31T12:00:00
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from proton import Condition

from local.event_hubs.connection.address import address_of
from local.event_hubs.errors import AmqpError
from local.event_hubs.protocol.engine import UNREADABLE

_NOWHERE = "NoSystemTracker"


class TrackingIds:
    """A generator of tracking ids for error texts.

    Args:
        namespace: the namespace's name.
        now: seconds since 1970.
    """

    def __init__(self, namespace: str, now: Callable[[], float]) -> None:
        self._namespace = namespace
        self._now = now

    def with_tracking_id(self, text: str, link: Any = None) -> str:
        """Return the text with a tracking id; `link` is the affected link, if any."""
        moment = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return (
            f"{text} TrackingId:{uuid.uuid4()}_G0, SystemTracker:{self._where(link)}, "
            f"Timestamp:{moment}"
        )

    def condition(self, error: AmqpError, link: Any = None) -> Condition:
        """Return the error as an AMQP condition with a tracking id."""
        return Condition(error.condition, self.with_tracking_id(error.description, link))

    def _where(self, link: Any) -> str:
        try:
            address = None if link is None else address_of(link)
        except (AmqpError, *UNREADABLE):
            address = None
        if address is None or address.is_service_node:
            return _NOWHERE
        partition = "" if address.partition is None else f"~{address.partition}"
        group = "" if address.group is None else f"|{address.group.lower()}"
        return f"{self._namespace}:eventhub:{address.hub.lower()}{partition}{group}"

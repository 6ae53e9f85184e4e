"""A topic's journal on disk, with the subscriptions and the pending deliveries."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from local.event_grid.events import GridEvent, Schema
from local.event_grid.subscription import Subscription
from local.files import write_atomically

_SLACK = 1000
"""The number of outdated lines after which the file is rewritten."""


@dataclass(frozen=True)
class PendingDelivery:
    """An accepted event and the names of the subscriptions without a finished delivery."""

    key: str
    event: GridEvent
    received_at: float
    waiting: tuple[str, ...]


class Journal:
    """A file with one line per change, so that an acknowledged event is on disk.

    Args:
        path: the file, which contains endpoints with their secrets; None disables the journal.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._subscriptions: dict[str, dict[str, Any]] = {}
        self._pending: dict[str, dict[str, Any]] = {}
        self._file: TextIO | None = None
        self._lines = 0
        if path is not None:
            for line in _lines_of(path):
                self._apply(line)
            self._rewrite(path)

    def subscriptions(self) -> list[Subscription]:
        """Return the subscriptions at the end of the journal."""
        return [Subscription.from_request(record) for record in self._subscriptions.values()]

    def pending(self) -> list[PendingDelivery]:
        """Return the deliveries that are pending at the end of the journal, oldest first."""
        return [
            PendingDelivery(
                key,
                GridEvent(**{**record["event"], "schema": Schema(record["event"]["schema"])}),
                record["received_at"],
                tuple(record["waiting"]),
            )
            for key, record in self._pending.items()
        ]

    def subscribed(self, subscription: Subscription) -> None:
        """Record a subscription that was added or replaced."""
        kinds = subscription.event_types
        self._append(
            {
                "subscribed": {
                    "name": subscription.name,
                    "endpoint": subscription.endpoint,
                    "event_types": None if kinds is None else sorted(kinds),
                    "schema": subscription.schema,
                }
            }
        )

    def unsubscribed(self, name: str) -> None:
        """Record that a subscription and its pending deliveries were removed."""
        self._append({"unsubscribed": name})

    def accepted(
        self, key: str, event: GridEvent, received_at: float, waiting: Collection[str]
    ) -> None:
        """Record an accepted event and the names of its subscriptions."""
        record = {"event": vars(event), "received_at": received_at, "waiting": list(waiting)}
        self._append({"accepted": key, **record})

    def ended(self, key: str, subscription: str) -> None:
        """Record that a delivery succeeded or was dead-lettered."""
        self._append({"ended": key, "subscription": subscription})

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, line: dict[str, Any]) -> None:
        if self._path is None:
            return
        self._apply(line)
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._lines += 1
        if self._lines > 2 * (len(self._pending) + len(self._subscriptions)) + _SLACK:
            self._rewrite(self._path)

    def _apply(self, line: dict[str, Any]) -> None:
        match line:
            case {"subscribed": {"name": str(name)} as record}:
                self._subscriptions[name] = record
            case {"unsubscribed": str(name)}:
                self._subscriptions.pop(name, None)
                for key in list(self._pending):
                    self._remove_pending(key, name)
            case {"accepted": str(key), **delivery}:
                self._pending[key] = dict(delivery)
            case {"ended": str(key), "subscription": str(name)}:
                self._remove_pending(key, name)

    def _remove_pending(self, key: str, subscription: str) -> None:
        record = self._pending.get(key)
        if record is None:
            return
        record["waiting"] = [name for name in record["waiting"] if name != subscription]
        if not record["waiting"]:
            del self._pending[key]

    def _rewrite(self, path: Path) -> None:
        self.close()
        lines: list[dict[str, Any]] = [
            *({"subscribed": record} for record in self._subscriptions.values()),
            *({"accepted": key, **record} for key, record in self._pending.items()),
        ]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines))
        self._lines = len(lines)


def _lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the valid lines; a crash may have truncated the last line."""
    if not path.exists():
        return
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line

"""A topic's journal on disk: its subscriptions and its pending deliveries."""

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
"""Lines about finished deliveries before the file is rewritten."""


@dataclass(frozen=True)
class PendingDelivery:
    """An accepted event, and the subscriptions that still wait for it."""

    key: str
    event: GridEvent
    received_at: float
    waiting: tuple[str, ...]


class Journal:
    """One line for each change: a publisher that got its answer has its event on disk.

    Args:
        path: the file, which holds endpoints with their secrets; None keeps nothing.
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
        """Those that were there at the end."""
        return [Subscription.from_request(record) for record in self._subscriptions.values()]

    def pending(self) -> list[PendingDelivery]:
        """Return the deliveries that were pending at the end, oldest first."""
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
        """Note a subscription that is new, or replaces the one of its name."""
        kinds = subscription.event_types
        self._note(
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
        """Note that a subscription has gone, and its deliveries with it."""
        self._note({"unsubscribed": name})

    def accepted(
        self, key: str, event: GridEvent, received_at: float, waiting: Collection[str]
    ) -> None:
        """Note an event that was taken, for the subscriptions named."""
        record = {"event": vars(event), "received_at": received_at, "waiting": list(waiting)}
        self._note({"accepted": key, **record})

    def ended(self, key: str, subscription: str) -> None:
        """Note that an event was delivered, or given up."""
        self._note({"ended": key, "subscription": subscription})

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _note(self, line: dict[str, Any]) -> None:
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
    """The lines that can be read; the last one may have been cut off by a crash."""
    if not path.exists():
        return
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line

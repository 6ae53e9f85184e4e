"""The outbox of the memory store: undelivered alerts, and the lease of the deliverer."""

from __future__ import annotations

from dataclasses import replace

from breaker.alerts.base import Alert, AlertBatch, OutboxStatus


class MemoryOutbox:
    """The undelivered alerts, oldest first; times are microseconds of the store's clock."""

    def __init__(self) -> None:
        self._alerts: list[Alert] = []
        self._added = 0
        self._holder = ""
        self._held_until_us = 0

    def add(self, alert: Alert, limit: int) -> None:
        """Append an alert under a new entry id; remove the oldest alerts beyond the limit."""
        self._added += 1
        self._alerts.append(replace(alert, entry=str(self._added)))
        del self._alerts[:-limit]

    def alerts(self) -> list[Alert]:
        """Return all undelivered alerts, oldest first."""
        return list(self._alerts)

    def claim(self, now_us: int, token: str, lease_seconds: float, limit: int) -> AlertBatch:
        """See `CircuitStore.claim_alerts`."""
        if self._holder not in {"", token} and self._held_until_us > now_us:
            return AlertBatch(wait=(self._held_until_us - now_us) / 1_000_000)
        alerts = tuple(self._alerts[:limit])
        self._hold(token if alerts else "", now_us, lease_seconds)
        return AlertBatch(alerts)

    def settle(self, now_us: int, token: str, entry: str, lease_seconds: float) -> None:
        """See `CircuitStore.settle_alert`."""
        self._alerts = [alert for alert in self._alerts if alert.entry != entry]
        if self._holder == token:
            self._hold(token, now_us, lease_seconds)

    def release(self, token: str) -> None:
        """See `CircuitStore.release_alerts`."""
        if self._holder == token:
            self._holder = ""

    def status(self, now_us: int) -> OutboxStatus:
        """See `CircuitStore.outbox`."""
        if not self._alerts:
            return OutboxStatus(0, None)
        age_us = max(0, now_us - round(self._alerts[0].at * 1_000_000))
        return OutboxStatus(len(self._alerts), age_us / 1_000_000)

    def _hold(self, token: str, now_us: int, lease_seconds: float) -> None:
        self._holder = token
        self._held_until_us = now_us + round(lease_seconds * 1_000_000)

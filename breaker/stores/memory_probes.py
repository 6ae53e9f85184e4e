"""The probes of a half-open circuit in the memory store."""

from __future__ import annotations

from collections import Counter

from breaker.state import ASK_US, PROBE_FAILURES, Permit, Rules


class MemoryProbes:
    """Leases and outcomes of the probes since the circuit became half-open.

    A permit without a key counts as a key of its own.

    Attributes:
        failures: number of failed probes that count.
    """

    def __init__(self) -> None:
        self.failures = 0
        self._leases: dict[str, int] = {}
        self._succeeded: set[str] = set()
        self._successes: Counter[str] = Counter()
        self._failed: dict[str, tuple[int, int, str]] = {}
        self._asked_us = 0  # when a key without a failed probe asked for a permit

    @property
    def successes(self) -> int:
        """Number of probes that succeeded."""
        return len(self._succeeded)

    def acquire(self, rules: Rules, now: int, probe_id: str, key: str) -> tuple[bool, int | None]:
        """Return whether a lease was granted, and otherwise the microseconds until one may be."""
        self._leases = {probe: until for probe, until in self._leases.items() if until > now}
        key = key or probe_id
        if key not in self._failed:
            self._asked_us = now
        elif (left := self._others_until(key, probe_id) - now) > 0:
            return False, left
        free = len(self._leases) + len(self._succeeded) < rules.half_open_permits
        if free or probe_id in self._leases:
            self._leases[probe_id] = now + rules.permit_us
            return True, None
        return False, min(self._leases.values()) - now if self._leases else None

    def _others_until(self, key: str, probe_id: str) -> int:
        """Return the time until which a key whose probe failed leaves the permits to others.

        Other keys have some time to ask, and those that probe have the time of their lease.
        """
        running = [until for probe, until in self._leases.items() if probe != probe_id]
        return min(running, default=max(self._failed[key][1], self._asked_us) + ASK_US)

    def release(self, probe_id: str) -> None:
        """End a lease without an outcome."""
        self._leases.pop(probe_id, None)

    def succeed(self, probe_id: str, key: str) -> None:
        """Note a probe that succeeded; a repeat changes nothing."""
        self._leases.pop(probe_id, None)
        if probe_id not in self._succeeded:
            self._succeeded.add(probe_id)
            self._successes[key] += 1

    def fail(self, now: int, permit: Permit) -> bool:
        """Note a probe that failed, and return whether enough probes have failed to open.

        Failures of one key count as one, unless no other key succeeded between two of them. So
        one dead key among keys that work does not open the circuit.
        """
        probe_id = permit.probe_id or ""
        key = permit.key or probe_id
        self._leases.pop(probe_id, None)
        others = len(self._succeeded) - self._successes[key]
        last_others, _, last_probe = self._failed.get(key, (others, 0, ""))
        # In mode observe nothing opens, and further keys would need memory without end.
        full = self.failures >= PROBE_FAILURES and key not in self._failed
        if last_probe != probe_id and not full:
            self.failures += others == last_others
            self._failed[key] = (others, now, probe_id)
        return self.failures >= PROBE_FAILURES

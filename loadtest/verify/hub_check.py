"""The check of the hub's ends in `recreated-hub`, `expired` and `clock-back`.

- A recreated hub: health names each partition within a minute, the checkpoints stay where they were
  until the operator's command moves them, and the command succeeds.
- Expired events: a missing event counts as *expired*, not as lost, while the hub has lost as many
  events of its partition. The hub has lost each sequence number that is below the hub's first event
  and not in the ledger. The missing events of each key must be consecutive.
- The records of gaps have exactly the number of events that the hub has lost, by partition. Health
  has the same number within a minute.
- A clock that was set back: health reports the step within a minute, and no recreated hub.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from loadtest.plan.hub_ends import NOTICE_SECONDS
from loadtest.verify.evidence import HubEvidence, LedgerEntry
from loadtest.verify.verdict import Diff


class HubCheck:
    """The check, which receives the handled and the missing events and then returns what is broken.

    Attributes:
        expired: the number of missing events that the hub has lost.
    """

    def __init__(self, hub: HubEvidence, diff: Diff) -> None:
        self.expired = 0
        self._hub = hub
        self._diff = diff
        self._partitions: dict[str, str] = {}
        self._handled: Counter[str] = Counter()
        self._missing: dict[str, list[int]] = {}

    def handled(self, key: str, entry: LedgerEntry) -> None:
        """Record a handled event."""
        if self._hub.expiry is None:
            return
        self._partitions[key] = entry.partition
        if entry.sequence < self._hub.expiry.begins.get(entry.partition, 0):
            self._handled[entry.partition] += 1

    def missing(self, key: str, counter: int) -> None:
        """Record an event that is neither handled, nor poisoned, nor parked."""
        self._missing.setdefault(key, []).append(counter)

    def close(self) -> None:
        """Count each missing event as expired in the hub, or report it as lost by the app."""
        left = Counter(self._lost_by_hub())
        for key, counters in self._missing.items():
            partition = self._partitions.get(key, "")
            gone = left[partition] >= len(counters) and _consecutive(counters)
            if gone:
                left[partition] -= len(counters)
                self.expired += len(counters)
                continue
            for counter in counters:
                self._diff.add("lost", f"{key} #{counter}")

    def _lost_by_hub(self) -> dict[str, int]:
        """Return partition → the number of events that the hub has lost unhandled."""
        if self._hub.expiry is None:
            return {}
        begins = self._hub.expiry.begins
        return {each: begin - self._handled[each] for each, begin in begins.items()}

    def broken(self) -> list[str]:
        """Return one line for each broken promise."""
        return [
            *self._broken_by_recreation(),
            *self._broken_by_expiry(),
            *self._broken_by_clock(),
        ]

    def _broken_by_clock(self) -> list[str]:
        clock = self._hub.clock
        if clock is None:
            return []
        lines = []
        if _is_late(clock.named_seconds):
            lines.append(
                f"health did not say within {NOTICE_SECONDS:g} s that the broker's clock was set "
                "back"
            )
        if clock.mistaken:
            lines.append(
                f"health named partition {', '.join(sorted(clock.mistaken))} as that of a "
                "recreated hub, but only the broker's clock was set back"
            )
        return lines

    def _broken_by_recreation(self) -> list[str]:
        recreation = self._hub.recreation
        if recreation is None:
            return []
        lines = []
        named = {
            partition: (at_us - recreation.created_us) / 1e6
            for partition, at_us in recreation.named_us.items()
        }
        if late := [
            each
            for each in recreation.before
            if named.get(each, NOTICE_SECONDS + 1) > NOTICE_SECONDS
        ]:
            lines.append(
                f"health did not name the partitions {', '.join(late)} of the recreated hub within "
                f"{NOTICE_SECONDS:g} s"
            )
        if recreation.at_command != recreation.before:
            lines.append(
                f"the checkpoints moved from {_text(recreation.before)} to "
                f"{_text(recreation.at_command)} before the operator's command"
            )
        if recreation.code != 0:
            lines.append(
                f"the operator's command ended with {recreation.code}: {recreation.output[-300:]}"
            )
        return lines

    def _broken_by_expiry(self) -> list[str]:
        expiry = self._hub.expiry
        if expiry is None:
            return []
        lines = []
        lost = self._lost_by_hub()
        total = sum(lost.values())
        if not total:
            lines.append("no event expired unhandled, so the run has tested nothing")
        if total != self.expired:
            lines.append(f"the hub has lost {total} events, but {self.expired} are missing")
        if (recorded := _positive(self._hub.recorded)) != (wanted := _positive(lost)):
            lines.append(
                f"the app has recorded the expired events {_text(recorded)} by partition, but the "
                f"hub has lost {_text(wanted)}"
            )
        if expiry.exact_seconds is None:
            lines.append(
                f"health named {expiry.health_said} expired events {NOTICE_SECONDS:g} s after the "
                f"app's return, expected {total}"
            )
        elif _is_late(expiry.exact_seconds):
            lines.append(
                f"health named the {total} expired events {expiry.exact_seconds:.0f} s after the "
                f"app's return, later than {NOTICE_SECONDS:g} s"
            )
        if expiry.app_ran and _is_late(expiry.pending_seconds):
            lines.append(
                f"health named no expired event within {NOTICE_SECONDS:g} s while the circuit was "
                "isolated"
            )
        return lines


def _is_late(seconds: float | None) -> bool:
    """Return whether health did not say something within the time that is allowed."""
    return seconds is None or seconds > NOTICE_SECONDS


def _consecutive(counters: Sequence[int]) -> bool:
    return counters[-1] - counters[0] + 1 == len(counters)


def _positive(counts: Mapping[str, int]) -> dict[str, int]:
    return {partition: count for partition, count in sorted(counts.items()) if count}


def _text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{partition}: {count}" for partition, count in counts.items()) or "none"

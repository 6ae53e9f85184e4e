"""The standstill rule's data in the memory store."""

from __future__ import annotations

from breaker.notes import Report
from breaker.standstill import MINUTE_US, PACE_US, Attempts, Minute, standstill, with_failed
from breaker.standstill import with_success as minute_with_success
from breaker.state import SUCCESS_REPORTS, Rules


class MemoryStandstill:
    """Failed attempts, successes and running keys, as the instances have reported them.

    Attributes:
        success_us: time of the last success, microseconds; 0: unknown.
    """

    def __init__(self) -> None:
        self.success_us = 0
        self._attempts = Attempts()
        self._minutes: dict[int, Minute] = {}
        self._running: dict[str, int] = {}
        self._reports: dict[str, int] = {}

    def failed_attempts(self, generation: int) -> int:
        """Return the number of attempts of a generation that failed since the last success."""
        return self._attempts.count if self._attempts.generation == generation else 0

    def note(self, rules: Rules, now: int, report: Report, generation: int | None) -> None:
        """Note a report; `generation` is that of the closed circuit, or None if not closed."""
        if report.running:
            self._running |= dict.fromkeys(report.running, now)
            self._running = self._fresh(rules, now)
        self.success_us = min(self.success_us, now)  # the clock may have been set back
        if not self.success_us and not report.succeeded:
            self.success_us = now  # unknown
        success_age, longest, attempts_age = report.ages_us
        if report.succeeded:
            at_us = now - success_age
            self.success_us = max(self.success_us, at_us)
            if at_us >= self._attempts.first_us:  # else all attempts failed after this success
                self._attempts = Attempts()
            self._add_success(now, at_us, longest)
        if report.failed_attempts and report.generation == generation:
            self._add_attempts(rules, now, report, max(now - attempts_age, self.success_us))

    def reset(self, now: int) -> None:
        """Forget the failed attempts and begin a new quiet time, because the circuit has closed."""
        self.success_us = now
        self._attempts = Attempts()

    def judge(self, rules: Rules, now: int, generation: int) -> str | None:
        """Return the reason to open the closed circuit; None to stay closed."""
        if self._attempts.generation != generation:
            return None
        return standstill(
            self._attempts,
            self._minutes.values(),
            self.success_us,
            running=self._fresh(rules, now),
            rules=rules,
            now_us=now,
        )

    def _fresh(self, rules: Rules, now: int) -> dict[str, int]:
        """Return the running keys without old reports, and without those of the future.

        A report is of the future if the clock was set back since.
        """
        oldest = now - rules.fresh_us
        return {token: at for token, at in self._running.items() if oldest < at <= now}

    def _add_success(self, now: int, at_us: int, longest_us: int) -> None:
        minute, present = at_us // MINUTE_US, now // MINUTE_US
        if minute not in self._minutes:
            keep = PACE_US // MINUTE_US
            self._minutes = {m: n for m, n in self._minutes.items() if abs(present - m) <= keep}
        self._minutes[minute] = minute_with_success(self._minutes.get(minute), at_us, longest_us)

    def _add_attempts(self, rules: Rules, now: int, report: Report, first_us: int) -> None:
        after = now - rules.window_us
        self._reports = {name: at for name, at in self._reports.items() if at > after}
        if report.report_id in self._reports:
            return
        self._reports[report.report_id] = now
        if len(self._reports) > SUCCESS_REPORTS:
            del self._reports[next(iter(self._reports))]
        self._attempts = with_failed(self._attempts, report, first_us, now)

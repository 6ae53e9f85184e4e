"""The check of the circuit by its history, its alerts and the times of downstream calls.

Definitions, with all times by the Redis server's clock:

- An event *starts* with its first downstream call, which is a ledger entry or a refused call.
- An event *started while open* if its start lies between `opened_at + GRACE_US` and the transition
  that ends the opening (`half_opened` or `closed`). The grace of 1 s comes from clause C5, because
  an instance that misses the push detects the opening by polling within 1 s.
- `calls_while_open` counts every downstream call after `CALL_GRACE_US`, including retries. By then
  the attempts of events in flight at the opening have ended. If Redis, which is the downstream, was
  away in that time, these attempts reach Redis after its return, and the grace begins again.
- `last_start_after_open_ms` is the time from the opening to the latest start within the grace. The
  value shows how long the instances really took to detect the opening.
- `seconds_to_open` is the time from the first refused call to the first opening.
- `stop_seconds` is the time from the first opening to the first event handled after it ended.
- `resumed` is true if the circuit is closed at the end and events were handled after the last
  opening had ended. If the last events of the run open the circuit, no event is left to resume
  with. If no event is missing, `resumed` therefore only requires events handled after the first
  opening, and the circuit may be half-open. `resumed` is None if the circuit never opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtest.verify.evidence import Alert, Transition
from loadtest.verify.expectation import Expectation
from loadtest.verify.verdict import CircuitVerdict, Diff

GRACE_US = 1_000_000
CALL_GRACE_US = 3_000_000
OPENED_ALERT = "breakwater.circuit.opened"


@dataclass(slots=True)
class Opening:
    """One opening of the circuit; `ended_us` is None until the opening ends."""

    generation: int
    opened_us: int
    ended_us: int | None = None
    dependency: str = ""

    def forbids(self, at_us: int) -> bool:
        """Return whether no event may start at a time."""
        return at_us >= self.opened_us + GRACE_US and (
            self.ended_us is None or at_us < self.ended_us
        )

    def within_grace(self, at_us: int) -> bool:
        """Return whether a time lies between the opening and the end of the grace."""
        end = self.opened_us + GRACE_US
        return self.opened_us < at_us < (end if self.ended_us is None else min(end, self.ended_us))

    def age_text(self, at_us: int) -> str:
        """Return the time since the opening as text."""
        after_ms = (at_us - self.opened_us) / 1000
        of = f" of {self.dependency}" if self.dependency else ""
        return f"{after_ms:,.0f} ms after generation {self.generation}{of} opened"


def openings_of(history: Iterable[Transition], dependency: str = "") -> list[Opening]:
    """Return the openings in a history, oldest first."""
    openings: list[Opening] = []
    for transition in history:
        if transition.event == "opened":
            openings.append(Opening(transition.generation, transition.at_us, dependency=dependency))
        elif transition.event in {"half_opened", "closed"} and openings:
            latest = openings[-1]
            if latest.ended_us is None:
                latest.ended_us = transition.at_us
    return openings


def _attempts_end_us(opening: Opening, redis_away: Sequence[tuple[int, int]]) -> int:
    """Return the time by which the attempts of events in flight at an opening have ended."""
    end_us = opening.opened_us + CALL_GRACE_US
    for began_us, ended_us in sorted(redis_away):
        if began_us < end_us and ended_us > opening.opened_us:
            end_us = max(end_us, ended_us + CALL_GRACE_US)
    return end_us


class CircuitCheck:
    """A check that receives each start, call and handled event once and then returns a verdict.

    Args:
        dependency: the dependency whose circuit is checked, "" for the app's circuit.
    """

    def __init__(
        self,
        history: Sequence[Transition],
        diff: Diff,
        redis_away: Sequence[tuple[int, int]] = (),
        dependency: str = "",
    ) -> None:
        self._openings = openings_of(history, dependency)
        self._attempts_end_us = [_attempts_end_us(each, redis_away) for each in self._openings]
        self._diff = diff
        self._first_refused_us: int | None = None
        self._started_while_open = 0
        self._calls_while_open = 0
        self._last_start_us: int | None = None
        self._first_handled_us: list[int | None] = [None] * len(self._openings)

    def refused(self, at_us: int) -> None:
        """Record the time at which the downstream refused a call."""
        if self._first_refused_us is None or at_us < self._first_refused_us:
            self._first_refused_us = at_us

    def called(self, key: str, counter: int, at_us: int) -> None:
        """Record a downstream call."""
        for opening, attempts_end_us in zip(self._openings, self._attempts_end_us, strict=True):
            if at_us >= attempts_end_us and opening.forbids(at_us):
                self._calls_while_open += 1
                subject = f"{key} #{counter} reached the downstream"
                self._diff.add("called while open", f"{subject} {opening.age_text(at_us)}")

    def started(self, key: str, counter: int, at_us: int) -> None:
        """Record an event's first downstream call."""
        for opening in self._openings:
            if opening.forbids(at_us):
                self._started_while_open += 1
                subject = f"{key} #{counter} started"
                self._diff.add("started while open", f"{subject} {opening.age_text(at_us)}")
            elif opening.within_grace(at_us):
                late_us = at_us - opening.opened_us
                if self._last_start_us is None or late_us > self._last_start_us:
                    self._last_start_us = late_us

    def handled(self, at_us: int) -> None:
        """Record the time at which an event was handled."""
        for index, opening in enumerate(self._openings):
            if opening.ended_us is not None and at_us > opening.ended_us:
                first = self._first_handled_us[index]
                if first is None or at_us < first:
                    self._first_handled_us[index] = at_us

    def verdict(self, alerts: Sequence[Alert], state: str, *, missing: bool) -> CircuitVerdict:
        """Return the circuit's figures; `missing` is whether events were lost."""
        openings = self._openings
        stop_seconds = None
        seconds_to_open = None
        resumed = None
        if openings:
            if self._first_refused_us is not None:
                seconds_to_open = (openings[0].opened_us - self._first_refused_us) / 1e6
            if (first := self._first_handled_us[0]) is not None:
                stop_seconds = (first - openings[0].opened_us) / 1e6
            if missing:
                resumed = state == "closed" and self._first_handled_us[-1] is not None
            else:
                resumed = state in {"closed", "half_open"} and stop_seconds is not None
        return CircuitVerdict(
            opened=len(openings),
            alerts=len({alert.id for alert in alerts if alert.type == OPENED_ALERT}),
            started_while_open=self._started_while_open,
            calls_while_open=self._calls_while_open,
            last_start_after_open_ms=(
                None if self._last_start_us is None else self._last_start_us / 1000
            ),
            stop_seconds=stop_seconds,
            seconds_to_open=seconds_to_open,
            resumed=resumed,
            state=state,
        )


def broken_by_circuit(circuit: CircuitVerdict, expectation: Expectation) -> list[str]:
    """Return one line for each promise or expectation that the app's circuit broke."""
    broken: list[str] = []
    least, most = expectation.least_openings, expectation.most_openings
    if circuit.opened < least or (most is not None and circuit.opened > most):
        wanted = str(least) if least == most else f"at least {least}"
        broken.append(f"the circuit opened {circuit.opened} times, expected {wanted}")
    took, longest = circuit.seconds_to_open, expectation.most_seconds_to_open
    if took is not None and longest is not None and took > longest:
        broken.append(
            f"the circuit opened {took:.1f} s after the first refused call, "
            f"expected within {longest:g} s"
        )
    return broken + broken_rules(circuit)


def broken_rules(circuit: CircuitVerdict) -> list[str]:
    """Return one line for each promise about any circuit that the circuit broke."""
    broken: list[str] = []
    if circuit.alerts != circuit.opened:
        broken.append(
            f"alerts with distinct ids: {circuit.alerts}, expected one for each of "
            f"{circuit.opened} openings"
        )
    if circuit.started_while_open:
        broken.append(f"{circuit.started_while_open} events started while the circuit was open")
    if circuit.calls_while_open:
        broken.append(
            f"{circuit.calls_while_open} calls reached the downstream while the circuit was open"
        )
    if circuit.resumed is False:
        broken.append("processing did not resume after the last opening")
    if circuit.state != "closed" and not (circuit.state == "half_open" and circuit.resumed):
        broken.append(f"the circuit is {circuit.state} at the end, expected closed")
    return broken

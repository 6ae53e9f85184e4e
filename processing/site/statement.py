"""The statement about the app's stop and start: sentences that claim only what was seen.

All times in the sentences are UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from breaker import Circuit, CircuitState
from breaker.chain import ChainStatus, Step, Waiting, WaitsFor, run_name

GONE_SECONDS = 12.0
"""An instance whose last report is older does not report any more; idle ones report each 5 s."""
LATE_SECONDS = 600.0
"""After this time a stop or start without an effect needs an operator."""
PAST_SECONDS = 3600.0
"""An accepted start is not mentioned any more after this time."""
ASKING_SECONDS = 120.0
"""Time that the workflow has for its next call, before an operator is warned."""
NAMES = 5
REFUSED = "HTTP "
"""Beginning of the detail of a step that was answered."""
RUNNING, STOPPED = "running", "stopped"

PRESS_START = "Press Start."
RUN_START = "Run `breakwater start`."
ALL_EVENTS, OF_PIPELINE = "all events", "this pipeline's events"
"""The events that the circuit of an app, or of a declared pipeline, holds."""

_HOLDING = frozenset({CircuitState.OPEN, CircuitState.ISOLATED})
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Level(StrEnum):
    """The weight of a line."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"


class Topic(StrEnum):
    """The subject of a line."""

    APP = "app"
    STOP = "stop"
    APPROVAL = "approval"
    START = "start"


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence about what was seen."""

    level: Level
    topic: Topic
    text: str


@dataclass(frozen=True, slots=True)
class SiteView:
    """The answers of the management about the app's state.

    Attributes:
        state: the last state that was read, as reported; "" if none was.
        read_at: time of that read, seconds since the epoch.
        error: the error of a later read; "" if the last read succeeded.
        source: the name of the management, which begins a sentence.
    """

    state: str = ""
    read_at: float | None = None
    error: str = ""
    source: str = "Azure"

    def is_in(self, state: str, *, since: float = 0.0) -> bool:
        """Return whether the last read succeeded, at or after `since`, and named this state."""
        return (
            not self.error
            and self.state.lower() == state
            and self.read_at is not None
            and self.read_at >= since
        )


@dataclass(frozen=True, slots=True)
class Reports:
    """The reports of the app's instances.

    Attributes:
        last: time of each instance's last report, seconds since the epoch.
        known_since: no earlier report is on record; None if none is.
        first_handled_at: time of the first report with a handled event after the start on record.
    """

    last: tuple[tuple[str, float], ...] = ()
    known_since: float | None = None
    first_handled_at: float | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that the statement is made from.

    Attributes:
        circuit: the circuit.
        chain: the steps on record and the waiting runs; None if the store did not answer.
        site: the app's state; None without FUNCTION_APP_URL.
        reports: the reports of the instances; None if they could not be read.
        now: the time, seconds since the epoch.
        how_to_start: the sentence that says how to start the app.
        stops_app: whether an opening stops the app; else the pipeline only holds its events.
        held: the events that the circuit holds, `ALL_EVENTS` or `OF_PIPELINE`.
    """

    circuit: Circuit
    chain: ChainStatus | None
    site: SiteView | None
    reports: Reports | None
    now: float
    how_to_start: str = PRESS_START
    stops_app: bool = True
    held: str = ALL_EVENTS

    @property
    def stop(self) -> Step | None:
        """The stop that matters: no later start was accepted, or it is this opening's."""
        if self.chain is None or self.chain.stop is None:
            return None
        stop, start = self.chain.stop, self.chain.start
        undone = start is not None and start.accepted and start.at >= stop.at
        return None if undone and not self._is_of_opening(stop) else stop

    @property
    def start(self) -> Step | None:
        """The start that matters: no later stop is on record, and it is not long ago."""
        if self.chain is None or self.chain.start is None:
            return None
        start, stop = self.chain.start, self.chain.stop
        past = start.accepted and self.now - start.at >= PAST_SECONDS
        return None if past or (stop is not None and stop.at > start.at) else start

    def _is_of_opening(self, step: Step) -> bool:
        return self.circuit.state in _HOLDING and step.generation == self.circuit.generation

    @property
    def is_stopping(self) -> bool:
        """Return whether an accepted stop is the last step on record."""
        stop = self.stop
        if stop is None or not stop.accepted:
            return False
        if self.start is not None and self.start.accepted:
            return False
        # A start without an answer may have been carried out.
        return self.start is None or self.start.detail.startswith(REFUSED)

    @property
    def reporting(self) -> list[str]:
        """The names of the instances that report, since the last accepted stop or start."""
        if self.reports is None:
            return []
        steps = [step.at for step in (self.stop, self.start) if step is not None and step.accepted]
        since = max([self.now - GONE_SECONDS, *steps])
        return sorted(name for name, at in self.reports.last if at > since)

    @property
    def changed_since(self) -> float:
        """Time of the last change of the circuit, or of the last step on record."""
        steps = [step.at for step in (self.stop, self.start) if step is not None]
        return max([self.circuit.changed_at or 0.0, *steps])

    @property
    def is_stopped(self) -> bool:
        """Return whether the management said "stopped" after the last accepted start."""
        since = self.start.at if self.start is not None and self.start.accepted else 0.0
        return self.site is not None and self.site.is_in(STOPPED, since=since)


def statement(seen: Seen) -> list[Line]:
    """Return the lines for an operator: the app, its stop, the approval, its start."""
    lines = [*_app(seen)]
    if seen.chain is None:
        text = "Redis does not answer, so stops, starts and waiting runs are not known."
        return [*lines, Line(Level.WARNING, Topic.APPROVAL, text)]
    lines += _stop(seen)
    lines += _instances(seen)
    lines += _approval(seen, seen.chain)
    lines += _start(seen)
    lines += _left_stopped(seen, seen.chain)
    return lines


def refusal_of_start(seen: Seen) -> str:
    """Return why a start would be refused or without use; "" if it may be asked for."""
    if (why := _unreachable(seen.site)) or seen.site is None:
        return why
    if seen.site.is_in(RUNNING, since=seen.changed_since) and not seen.is_stopping:
        return f"{_capital(seen.site.source)} says: running"
    return ""


def refusal_of_stop(seen: Seen) -> str:
    """Return why a stop would be refused or without use; "" if it may be asked for."""
    if (why := _unreachable(seen.site)) or seen.site is None:
        return why
    if seen.is_stopped:
        return f"{_capital(seen.site.source)} says: stopped"
    return ""


def when(at: float, now: float) -> str:
    """Format a time as "03:12:05 UTC", after the date if it is of another day."""
    time, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    form = "%H:%M:%S UTC" if time.date() == today.date() else "%Y-%m-%d %H:%M:%S UTC"
    return time.strftime(form)


def _unreachable(site: SiteView | None) -> str:
    if site is None:
        return "FUNCTION_APP_URL is not set"
    if site.error.startswith(("HTTP 401", "HTTP 403", "HTTP 404", "no token")):
        return site.error
    return ""


def _app(seen: Seen) -> Iterable[Line]:
    site = seen.site
    if site is None:
        text = "The app's state is not read, because FUNCTION_APP_URL is not set."
        yield Line(Level.NOTE, Topic.APP, text)
        return
    source = _capital(site.source)
    last = ""
    if site.state and site.read_at is not None:
        last = f"{site.state.lower()} (seen {when(site.read_at, seen.now)})"
    if site.error:
        before = f" The last answer was: {last}." if last else ""
        text = f"The app's state is not known: {_sentence(site.error)}{before}"
        yield Line(Level.WARNING, Topic.APP, text)
    elif last:
        level = Level.OK if site.is_in(RUNNING) else Level.NOTE
        yield Line(level, Topic.APP, f"{source} says: {last}.")
    else:
        yield Line(Level.NOTE, Topic.APP, f"{source} has not said yet whether the app runs.")


def _stop(seen: Seen) -> Iterable[Line]:
    stop = seen.stop
    if stop is None:
        opened = seen.circuit.opened_at or seen.now
        is_open = seen.circuit.state is CircuitState.OPEN
        if not seen.stops_app:
            if seen.circuit.state in _HOLDING:
                text = "The circuit holds this pipeline's events, and does not stop the app."
                yield Line(Level.NOTE, Topic.STOP, text)
        elif is_open and not seen.is_stopped and seen.now - opened >= ASKING_SECONDS:
            yield Line(Level.WARNING, Topic.STOP, "No stop of this opening is on record.")
        return
    at, by = when(stop.at, seen.now), _by(stop)
    if stop.accepted:
        yield Line(Level.OK, Topic.STOP, f"Stop asked at {at}{by}, accepted.")
        passed = seen.now - stop.at
        site = seen.site
        runs = site is not None and site.is_in(RUNNING, since=stop.at)
        if site is not None and runs and seen.is_stopping and passed >= LATE_SECONDS:
            source = _capital(site.source)
            text = f"{source} still says running {_duration(passed)} after the stop."
            yield Line(Level.WARNING, Topic.STOP, text)
        return
    if seen.is_stopped:
        yield Line(Level.NOTE, Topic.STOP, _failure(stop, seen.now))
        return
    runs = seen.site is not None and seen.site.is_in(RUNNING, since=stop.at)
    app = "The app still runs" if runs or seen.reporting else "The app may still run"
    holds = (
        f"its circuit holds {seen.held}"
        if seen.circuit.state in _HOLDING
        else "its circuit lets events through"
    )
    text = f"{_failure(stop, seen.now)} {app}; {holds}."
    yield Line(Level.WARNING, Topic.STOP, text)


def _instances(seen: Seen) -> Iterable[Line]:
    if seen.reports is None:
        text = "The reports of the instances cannot be read."
        yield Line(Level.WARNING, Topic.APP, text)
        return
    stopping, reporting = seen.is_stopping, seen.reporting
    topic = Topic.STOP if stopping else Topic.APP
    if reporting and stopping:
        assert seen.stop is not None  # noqa: S101 - is_stopping says so
        passed = seen.now - seen.stop.at
        late = passed >= LATE_SECONDS
        still = f"{_count(reporting)} still {_verb(reporting, 'report')}"
        text = f"{still} {_duration(passed)} after the stop: {_names(reporting)}."
        yield Line(Level.WARNING if late else Level.NOTE, topic, text)
    elif reporting:
        stopped = Level.WARNING if seen.is_stopped else Level.OK
        text = f"{_count(reporting)} {_verb(reporting, 'report')}: {_names(reporting)}."
        yield Line(stopped, topic, text)
    elif seen.reports.last:
        name, at = max(seen.reports.last, key=lambda report: report[1])
        none, ended = "No instance reports", False
        if stopping and seen.stop is not None:
            ended = seen.now - seen.stop.at >= GONE_SECONDS
            if at <= seen.stop.at:
                none = "No instance has reported since the stop"
        text = f"{none}; the last report came at {when(at, seen.now)} from {name}."
        yield Line(Level.OK if ended else Level.NOTE, topic, text)
    else:
        text = "No instance reports; no report of the last hour is on record."
        yield Line(Level.NOTE, topic, text)


def _approval(seen: Seen, chain: ChainStatus) -> Iterable[Line]:
    circuit = seen.circuit
    mine = [run for run in chain.waiting if run.generation == circuit.generation]
    if circuit.state is CircuitState.OPEN:
        if mine:
            last = mine[-1]
            at = f" at {when(last.registered_at, seen.now)}" if last.registered_at else ""
            text = f"Approval asked for{at} by {_run(last)}."
            yield Line(Level.OK, Topic.APPROVAL, text)
        elif circuit.resume_at is None:
            yield _nobody_asked(seen)
    if chain.repeats and chain.repeated_at is not None and circuit.state is CircuitState.OPEN:
        times = "once" if chain.repeats == 1 else f"{chain.repeats} times"
        word = "" if chain.repeats == 1 else "last "
        text = (
            f"The opening was announced again {times}, {word}at "
            f"{when(chain.repeated_at, seen.now)}."
        )
        yield Line(Level.NOTE if mine else Level.WARNING, Topic.APPROVAL, text)
    for run in chain.waiting:
        if circuit.state is not CircuitState.OPEN:
            yield from _late_callback(seen, run)
        if run.waits_for is WaitsFor.START and not _is_started(seen, run):
            since = f" since {when(run.registered_at, seen.now)}" if run.registered_at else ""
            text = f"{_capital(_run(run))} waits for a start{since} and will try again itself."
            refused = seen.start is not None and not seen.start.accepted
            if refused:  # the line about the refusal says what to do
                yield Line(Level.NOTE, Topic.START, text)
            else:
                yield Line(Level.WARNING, Topic.START, f"{text} {seen.how_to_start}")


def _late_callback(seen: Seen, run: Waiting) -> Iterable[Line]:
    """Say that a run was not called back, although its generation needs no approval any more."""
    if run.waits_for is not WaitsFor.APPROVAL:
        return
    calls = f" ({run.attempts} calls failed)" if run.attempts > 1 else ""
    then = "; then it starts the app" if seen.stops_app else ""
    text = f"{_capital(_run(run))} is not called back yet{calls}{then}."
    late = seen.now - seen.changed_since >= ASKING_SECONDS
    if late and seen.is_stopped and seen.stops_app:
        yield Line(Level.WARNING, Topic.START, f"{text} {seen.how_to_start}")
    else:
        yield Line(Level.NOTE, Topic.START, text)


def _nobody_asked(seen: Seen) -> Line:
    opened = seen.circuit.opened_at or seen.circuit.changed_at or seen.now
    at = when(opened, seen.now)
    if seen.now - opened < ASKING_SECONDS:
        text = f"The circuit opened at {at}; nobody has asked for approval yet."
        return Line(Level.NOTE, Topic.APPROVAL, text)
    text = f"The circuit opened at {at} and nobody has asked for approval."
    if seen.is_stopped:
        text = f"{text} An approval alone does not start the app."
    return Line(Level.WARNING, Topic.APPROVAL, text)


def _start(seen: Seen) -> Iterable[Line]:
    start = seen.start
    if start is None:
        return
    at, by = when(start.at, seen.now), _by(start)
    if not start.accepted:
        running = seen.site is not None and seen.site.is_in(RUNNING, since=start.at)
        text = _failure(start, seen.now)
        if running:
            yield Line(Level.NOTE, Topic.START, text)
        else:
            yield Line(Level.WARNING, Topic.START, f"{text} {seen.how_to_start}")
        return
    text = f"Start asked at {at}{by}, accepted;"
    reports = seen.reports
    if reports is not None and reports.first_handled_at is not None:
        first = when(reports.first_handled_at, seen.now)
        text = f"{text} the instances report the first event handled at {first}."
        yield Line(Level.OK, Topic.START, text)
        return
    if seen.circuit.state in _HOLDING:
        text = f"{text} the circuit holds {seen.held}."
        yield Line(Level.NOTE, Topic.START, text)
        return
    late = seen.now - start.at >= LATE_SECONDS
    stuck = late and not seen.reporting
    if reports is None or reports.known_since is None or reports.known_since > start.at:
        text = f"{text} the reports on record do not say when the first event was handled."
        stuck = False if seen.reporting else stuck
    else:
        text = f"{text} no instance has reported a handled event since."
    yield Line(Level.WARNING if stuck else Level.NOTE, Topic.START, text)


def _left_stopped(seen: Seen, chain: ChainStatus) -> Iterable[Line]:
    start, state = seen.start, seen.circuit.state
    if not seen.is_stopped or seen.site is None or (start is not None and not start.accepted):
        return
    if start is not None:
        passed = seen.now - start.at
        if passed >= ASKING_SECONDS:
            source = _capital(seen.site.source)
            text = f"{source} still says stopped {_duration(passed)} after the start."
            yield Line(Level.WARNING, Topic.START, f"{text} {seen.how_to_start}")
        return
    if not seen.stops_app:
        text = (
            "The app is stopped, so this pipeline handles nothing. Its circuit has not stopped the "
            "app: look at the other pipelines before you start it."
        )
        yield Line(Level.WARNING, Topic.START, text)
        return
    if state is CircuitState.OPEN or chain.waiting:
        return
    circuit = state.replace("_", "-")
    if seen.now - seen.changed_since < ASKING_SECONDS:
        text = f"The app is stopped and the circuit is {circuit}; no start is on record yet."
        yield Line(Level.NOTE, Topic.START, text)
        return
    text = f"The app is stopped, the circuit is {circuit}, and no run waits: nobody will start it."
    yield Line(Level.WARNING, Topic.START, f"{text} {seen.how_to_start}")


def _is_started(seen: Seen, run: Waiting) -> bool:
    start = seen.start
    return start is not None and start.accepted and start.at >= run.registered_at


def _failure(step: Step, now: float) -> str:
    """Say that a step was refused, or that no answer says whether it was carried out."""
    what = "was refused" if step.detail.startswith(REFUSED) else "was not confirmed"
    detail = f": {step.detail}" if step.detail else ""
    return f"The {step.kind} asked at {when(step.at, now)}{_by(step)} {what}{detail}."


def _by(step: Step) -> str:
    return f" by {step.by}" if step.by else ""


def _run(run: Waiting) -> str:
    return run_name(run.run)


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} instance{'' if len(names) == 1 else 's'}"


def _verb(names: Sequence[str], verb: str) -> str:
    return f"{verb}s" if len(names) == 1 else verb


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES])
    return shown if len(names) <= NAMES else f"{shown} and {len(names) - NAMES} more"


def _duration(seconds: float) -> str:
    """Format a time span: minutes, and hours from two hours on."""
    if seconds < 60:
        return "less than a minute"
    count, unit = (int(seconds // 60), "minute")
    if count >= 120:
        count, unit = count // 60, "hour"
    number = _NUMBERS[count] if count < len(_NUMBERS) else str(count)
    return f"{number} {unit}{'' if count == 1 else 's'}"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

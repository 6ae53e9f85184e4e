"""Timer schedules, and the timer listener with a fake clock."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.functions_host.triggers.timer.listener import TimerListener
from local.functions_host.triggers.timer.ncrontab import Cron, parse_schedule
from local.functions_host.triggers.timer.schedule_monitor import ScheduleStatus, is_worth_monitoring
from local.functions_host.worker.execution import Executor
from local.functions_host.worker.functions import Function
from local.functions_host.worker.worker import Datum, Result


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("* * * * * *", "2026-01-31T12:00:00", "2026-01-31T12:00:01"),
        ("0 */5 * * * *", "2026-01-31T12:04:59", "2026-01-31T12:05:00"),
        ("0 */5 * * * *", "2026-01-31T12:05:00", "2026-01-31T12:10:00"),
        ("*/5 * * * *", "2026-01-31T12:04:59", "2026-01-31T12:05:00"),  # five fields: second 0
        ("0 0 * * * *", "2026-12-31T23:30:00", "2027-01-01T00:00:00"),
        ("0 30 9 * * 1-5", "2026-01-30T09:30:00", "2026-02-02T09:30:00"),  # Friday to Monday
        ("0 30 9 * Jan Mon", "2026-01-27T00:00:00", "2027-01-04T09:30:00"),
        ("0 0 0 29 2 *", "2026-03-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 0 31 * *", "2026-04-01T00:00:00", "2026-05-31T00:00:00"),
        ("0 0 0 13 * Fri", "2026-01-01T00:00:00", "2026-02-13T00:00:00"),  # both must match
        ("0 0 0 * * 7", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),  # 7 is Sunday too
        ("10,40 5/20 * * * *", "2026-01-31T12:05:10", "2026-01-31T12:05:40"),
        ("0 0 8-18/5 * * *", "2026-01-31T13:00:00", "2026-01-31T18:00:00"),
        ("00:00:30", "2026-01-31T12:00:00", "2026-01-31T12:00:30"),
        ("1.00:00:00", "2026-01-31T12:00:00", "2026-02-01T12:00:00"),
    ],
)
def test_schedule_gives_the_next_occurrence(schedule: str, after: str, expected: str) -> None:
    assert parse_schedule(schedule).after(_at(after)) == _at(expected)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("", "six fields"),
        ("* * *", "six fields"),
        ("* * * * * * *", "six fields"),
        ("60 * * * * *", "'60' is not a second; it takes 0 to 59"),
        ("0 0 0 0 * *", "'0' is not a day; it takes 1 to 31"),
        ("0 0 0 * Foo *", "'Foo' is not a month"),
        ("0 5-3 * * * *", "runs backwards"),
        ("0 */0 * * * *", "the step takes a number from 1"),
        ("0 */x * * * *", "the step takes a number from 1"),
        ("0 , * * * *", "is not a minute"),
        ("0 0 0 30 2 *", "does not exist"),
        ("00:00:00", "above zero"),
    ],
)
def test_an_invalid_schedule_is_rejected(schedule: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_schedule(schedule)


_moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1))


@given(
    minutes=st.sets(st.integers(0, 59), min_size=1, max_size=3),
    hours=st.sets(st.integers(0, 23), min_size=1, max_size=3),
    weekdays=st.sets(st.integers(0, 6), min_size=1, max_size=3),
    moment=_moments,
)
def test_the_next_occurrence_matches_and_nothing_lies_between(
    minutes: set[int], hours: set[int], weekdays: set[int], moment: datetime
) -> None:
    """The expected result comes from a search minute by minute."""
    fields = [",".join(map(str, sorted(values))) for values in (minutes, hours)]
    days = ",".join(map(str, sorted(weekdays)))
    found = parse_schedule(f"0 {fields[0]} {fields[1]} * * {days}").after(moment)
    step = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while not (step.minute in minutes and step.hour in hours and step.isoweekday() % 7 in weekdays):
        step += timedelta(minutes=1)
    assert found == step


def test_a_time_with_microseconds_is_before_the_full_second() -> None:
    schedule = parse_schedule("* * * * * *")
    assert isinstance(schedule, Cron)
    assert schedule.after(_at("2026-01-31T12:00:00.999999")) == _at("2026-01-31T12:00:01")


class _Recorder:
    """A worker that records its inputs and takes the given times."""

    def __init__(self, takes: Iterator[timedelta], clock: _Clock) -> None:
        self.requests: list[dict[str, Any]] = []
        self.times: list[datetime] = []
        self._takes = takes
        self._clock = clock

    async def invoke(
        self,
        function: Function,
        invocation_id: str,
        inputs: list[tuple[str, Datum]],
        metadata: dict[str, Datum],
        **retry: Any,
    ) -> Result:
        self.times.append(self._clock.now())
        self.requests.append(json.loads(inputs[0][1].value))
        self._clock.moment += next(self._takes, timedelta())
        return Result(ok=True, value=None, outputs={})


class _Clock:
    """A clock that a sleep advances, and that cancels the run at its end."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self.moment, self._end = start, end

    def now(self) -> datetime:
        return self.moment

    async def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        if self.moment > self._end:
            raise asyncio.CancelledError


class _MemoryMonitor:
    """A monitor that outlives its timer, like the blob."""

    def __init__(self, status: ScheduleStatus | None = None) -> None:
        self.status = status

    async def read(self) -> ScheduleStatus | None:
        return self.status

    async def write(self, status: ScheduleStatus) -> None:
        # Convert to the stored form and back, so that only stored values are kept.
        self.status = ScheduleStatus.from_json(status.to_json())


class _SlowMonitor(_MemoryMonitor):
    """A monitor that takes time, like storage on a busy machine."""

    clock: _Clock

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._takes = timedelta(seconds=seconds)

    async def read(self) -> ScheduleStatus | None:
        self.clock.moment += self._takes
        return await super().read()

    async def write(self, status: ScheduleStatus) -> None:
        self.clock.moment += self._takes
        await super().write(status)


class _Lock:
    """A lock that another instance holds for a while without firing."""

    def __init__(self, clock: _Clock, lost: datetime, regained: datetime) -> None:
        self._clock, self._lost, self._regained = clock, lost, regained

    @property
    def held(self) -> bool:
        return not self._lost <= self._clock.now() < self._regained

    def start(self) -> None:
        """Do nothing."""

    async def wait(self) -> None:
        if not self.held:
            self._clock.moment = self._regained

    async def stop(self) -> None:
        """Do nothing."""


async def _fired(
    schedule: str,
    *,
    takes: list[timedelta],
    run_on_startup: bool,
    monitor: _MemoryMonitor | None = None,
    start: str = "2026-01-31T12:00:00.5",
    lost: tuple[str, str] | None = None,
) -> _Recorder:
    clock = _Clock(_at(start), _at("2026-01-31T12:03:30"))
    if isinstance(monitor, _SlowMonitor):
        monitor.clock = clock
    recorder = _Recorder(iter(takes), clock)
    trigger = {"type": "timerTrigger", "name": "timer", "runOnStartup": run_on_startup}
    function = Function("tick", "id", trigger, (), None)
    listener = TimerListener(
        function,
        parse_schedule(schedule),
        Executor(recorder),
        None if lost is None else _Lock(clock, _at(lost[0]), _at(lost[1])),
        monitor,
        now=clock.now,
        sleep=clock.sleep,
    )
    with pytest.raises(asyncio.CancelledError):
        await listener.run()
    return recorder


async def test_a_timer_fires_at_each_occurrence() -> None:
    recorder = await _fired("0 * * * * *", takes=[], run_on_startup=False)
    assert recorder.times == [_at(f"2026-01-31T12:0{minute}:00") for minute in (1, 2, 3)]
    assert [request["IsPastDue"] for request in recorder.requests] == [False] * 3
    assert recorder.requests[0]["ScheduleStatus"]["Next"].startswith("2026-01-31T12:02:00")


async def test_run_on_startup_also_fires_at_once() -> None:
    recorder = await _fired("0 * * * * *", takes=[], run_on_startup=True)
    assert recorder.times[0] == _at("2026-01-31T12:00:00.5")
    assert len(recorder.times) == 4


async def test_occurrences_during_a_long_run_are_skipped() -> None:
    recorder = await _fired("0 * * * * *", takes=[timedelta(seconds=90)], run_on_startup=False)
    assert recorder.times == [_at("2026-01-31T12:01:00"), _at("2026-01-31T12:03:00")]


async def test_a_timer_stores_its_last_run_and_its_next_due_time() -> None:
    memory = _MemoryMonitor()
    await _fired("0 * * * * *", takes=[], run_on_startup=False, monitor=memory)
    assert memory.status is not None
    assert memory.status.last == _at("2026-01-31T12:03:00")
    assert memory.status.next == _at("2026-01-31T12:04:00")


async def test_an_occurrence_missed_while_no_host_ran_is_made_up_for_once() -> None:
    last = _at("2026-01-31T11:40:00")
    memory = _MemoryMonitor(ScheduleStatus(last, _at("2026-01-31T11:41:00"), last))
    recorder = await _fired("0 * * * * *", takes=[], run_on_startup=False, monitor=memory)
    assert recorder.times[:2] == [_at("2026-01-31T12:00:00.5"), _at("2026-01-31T12:01:00")]
    assert [request["IsPastDue"] for request in recorder.requests[:2]] == [True, False]
    assert recorder.requests[0]["ScheduleStatus"]["Last"] == last.isoformat()


async def test_an_occurrence_missed_without_a_lock_holder_is_made_up_for() -> None:
    """This instance lost the lock, and the next holder died before the timer fired."""
    lost = ("2026-01-31T12:01:30", "2026-01-31T12:02:20")
    recorder = await _fired(
        "0 * * * * *", takes=[], run_on_startup=True, monitor=_MemoryMonitor(), lost=lost
    )
    times = [f"{moment:%H:%M:%S}" for moment in recorder.times]
    assert times == ["12:00:00", "12:01:00", "12:02:20", "12:03:00"]
    assert [request["IsPastDue"] for request in recorder.requests] == [False, False, True, False]


async def test_a_timer_without_a_missed_occurrence_waits_for_the_next() -> None:
    last = _at("2026-01-31T12:00:00")
    memory = _MemoryMonitor(ScheduleStatus(last, _at("2026-01-31T12:01:00"), last))
    recorder = await _fired("0 * * * * *", takes=[], run_on_startup=False, monitor=memory)
    assert recorder.times[0] == _at("2026-01-31T12:01:00")
    assert recorder.requests[0]["IsPastDue"] is False


@pytest.mark.parametrize("seconds", [0.4, 4])
@pytest.mark.parametrize("run_on_startup", [False, True])
async def test_an_occurrence_during_a_storage_call_is_neither_missed_nor_overdue(
    *, run_on_startup: bool, seconds: float
) -> None:
    recorder = await _fired(
        *("0 * * * * *",),
        takes=[],
        run_on_startup=run_on_startup,
        monitor=_SlowMonitor(seconds),
        start="2026-01-31T11:59:59.5",
    )
    times = [f"{moment:%H:%M}" for moment in recorder.times]
    assert times == ["12:00", "12:01", "12:02", "12:03"]
    assert [request["IsPastDue"] for request in recorder.requests] == [False] * 4


async def test_a_new_timer_that_never_ran_is_due_from_its_first_start() -> None:
    memory = _MemoryMonitor()
    await _fired("0 0 13 * * *", takes=[], run_on_startup=False, monitor=memory)
    assert memory.status is not None
    assert memory.status.next == _at("2026-01-31T13:00:00")
    recorder = await _fired(
        *("0 0 13 * * *",),
        takes=[],
        run_on_startup=False,
        monitor=memory,
        start="2026-02-01T12:00:00",
    )
    assert [request["IsPastDue"] for request in recorder.requests] == [True]


async def test_a_changed_schedule_makes_nothing_overdue() -> None:
    last = _at("2026-01-31T11:00:00")
    memory = _MemoryMonitor(ScheduleStatus(last, _at("2026-01-31T11:30:00"), last))
    recorder = await _fired("0 2 * * * *", takes=[], run_on_startup=False, monitor=memory)
    assert recorder.times == [_at("2026-01-31T12:02:00")]
    assert recorder.requests[0]["IsPastDue"] is False


@pytest.mark.parametrize(
    ("schedule", "worth"),
    [("0 * * * * *", True), ("*/30 * * * * *", False), ("0 0 9 * * 1", True), ("00:00:30", False)],
)
def test_only_timers_of_a_minute_and_more_are_monitored(schedule: str, *, worth: bool) -> None:
    now = _at("2026-01-31T12:00:00.5")
    assert is_worth_monitoring(parse_schedule(schedule), now) is worth


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Last": 1, "Next": 2, "LastUpdated": 3}'])
def test_an_invalid_status_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="not a timer status"):
        ScheduleStatus.from_json(text)

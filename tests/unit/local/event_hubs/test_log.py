"""A partition's log, start positions, and the retention of a hub."""

from __future__ import annotations

from typing import Any

import pytest
from azure.eventhub._pyamqp._decode import decode_payload
from hypothesis import given
from hypothesis import strategies as st

from local.event_hubs.config import HubConfig
from local.event_hubs.errors import AmqpError
from local.event_hubs.hub import partition_log as module_of_log
from local.event_hubs.hub.hub import EventHub
from local.event_hubs.hub.messages import BATCH_FORMAT, Published
from local.event_hubs.hub.partition_log import PartitionLog
from local.event_hubs.hub.positions import (
    LATEST,
    START,
    Field,
    Position,
    first_sequence,
    parse_selector,
)
from local.event_hubs.hub.retention import Retention


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


def event(body: bytes = b"x") -> Published:
    return Published(b"", b"", 0, b"\x00\x53\x75\xa0" + bytes((len(body),)) + body)


def annotations_of(delivery: bytes) -> dict[str | bytes, Any]:
    return decode_payload(memoryview(delivery)).message_annotations or {}


def filled(count: int, *, first_ms: int = 100) -> PartitionLog:
    """Return a log with one event per ms."""
    log = PartitionLog(0)
    for number in range(count):
        log.append([event()], first_ms + number)
    return log


def test_an_empty_log_has_no_positions() -> None:
    log = PartitionLog(0)
    assert (len(log), log.begin_sequence, log.last_sequence, log.last_offset) == (0, 0, -1, -1)
    assert log.oldest_enqueued_ms is None
    assert first_sequence(START, log) == first_sequence(LATEST, log) == 0


def test_appended_events_are_read() -> None:
    """Each event is read with its own sequence number, offset and time."""
    log = PartitionLog(0)
    assert log.append([event(b"a"), event(b"b")], 5) == range(2)
    assert log.append([event(b"c")], 7) == range(2, 3)
    deliveries = log.read(0, 10)
    bodies = [decode_payload(memoryview(data)).data for data in deliveries]
    assert bodies == [[b"a"], [b"b"], [b"c"]]
    found = [annotations_of(data) for data in deliveries]
    offsets = [0, len(deliveries[0]), len(deliveries[0]) + len(deliveries[1])]
    assert [int(each[b"x-opt-offset"]) for each in found] == offsets
    assert [(each[b"x-opt-sequence-number"], each[b"x-opt-enqueued-time"]) for each in found] == [
        (0, 5),
        (1, 5),
        (2, 7),
    ]


def test_clock_that_is_set_back_decreases_enqueued_times() -> None:
    """Sequence numbers still increase, and a start by time misses no event of that time."""
    log = PartitionLog(0)
    for ms in (10, 4, 6, 12):
        log.append([event()], ms)
    assert [annotations_of(each)[b"x-opt-enqueued-time"] for each in log.read(0, 4)] == [
        *(10, 4, 6, 12)
    ]
    assert log.last_enqueued_ms == 12
    assert [log.sequence_at_time(ms) for ms in (4, 10, 11, 13)] == [0, 0, 3, 4]
    log.trim(1)
    assert log.oldest_enqueued_ms == 10, "the event expires with those before it"


def test_listeners_are_woken() -> None:
    log = PartitionLog(0)
    woken: list[str] = []
    log.listeners["a"] = lambda: woken.append("a")
    log.append([event(), event()], 1)
    assert woken == ["a"]


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 50)), max_size=30))
def test_trimming_keeps_the_positions_of_events(steps: list[tuple[int, int]]) -> None:
    """Any sequence of appends and trims keeps the content and position of each kept event."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module_of_log, "_COMPACT_AT", 16)
        _alternate(PartitionLog(0), steps)


def _alternate(log: PartitionLog, steps: list[tuple[int, int]]) -> None:
    offsets: list[int] = []
    for append, trim in steps:
        for _ in range(append):
            log.append([event()], 1)
            offsets.append(log.last_offset)
        log.trim(trim)
        assert log.last_sequence == len(offsets) - 1
        assert log.begin_sequence + len(log) == len(offsets)
        if len(log):
            begin = log.begin_sequence
            oldest = annotations_of(log.read(begin, 1)[0])
            assert oldest[b"x-opt-sequence-number"] == begin
            assert int(oldest[b"x-opt-offset"]) == offsets[begin]
            assert log.sequence_at_offset(offsets[-1]) == log.last_sequence
        assert log.size_bytes == sum(map(len, log.read(log.begin_sequence, len(log))))


def test_trimmed_events_cannot_be_read() -> None:
    log = filled(3)
    log.trim(2)
    with pytest.raises(LookupError, match="sequence number 1"):
        log.read(1, 1)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("amqp.annotation.x-opt-offset > '-1'", START),
        ("amqp.annotation.x-opt-offset > '@latest'", LATEST),
        ("amqp.annotation.x-opt-offset >= '@latest'", LATEST),
        ("amqp.annotation.x-opt-offset >= 120", Position(Field.OFFSET, 120, True)),
        ("amqp.annotation.x-opt-offset >= '120'", Position(Field.OFFSET, 120, True)),
        (
            "amqp.annotation.x-opt-sequence-number > '7'",
            Position(Field.SEQUENCE_NUMBER, 7),
        ),
        (
            "amqp.annotation.x-opt-enqueued-time > '1700000000000'",
            Position(Field.ENQUEUED_TIME, 1_700_000_000_000),
        ),
    ],
)
def test_selectors_are_parsed(selector: str, expected: Position) -> None:
    """Values are quoted as in the Python SDK, or not quoted as in .NET."""
    assert parse_selector(selector) == expected


@pytest.mark.parametrize(
    "selector",
    ["", "1=1", "amqp.annotation.x-opt-offset < '1'", "amqp.annotation.x-opt-offset > 'abc'"],
)
def test_other_selectors_are_refused(selector: str) -> None:
    with pytest.raises(AmqpError, match="argument-error"):
        parse_selector(selector)


@pytest.mark.parametrize(
    ("field", "value", "inclusive", "expected"),
    [
        (Field.SEQUENCE_NUMBER, 4, False, 5),
        (Field.SEQUENCE_NUMBER, 4, True, 4),
        (Field.SEQUENCE_NUMBER, 9, False, 10),
        (Field.SEQUENCE_NUMBER, -1, False, 2),
        (Field.SEQUENCE_NUMBER, 1, True, 2),
        (Field.ENQUEUED_TIME, 104, False, 5),
        (Field.ENQUEUED_TIME, 104, True, 4),
        (Field.ENQUEUED_TIME, 0, False, 2),
        (Field.ENQUEUED_TIME, 9999, False, 10),
        (Field.OFFSET, -1, False, 2),
        (Field.OFFSET, 0, False, 2),
    ],
)
def test_position_in_a_trimmed_log_is_found(
    field: Field, value: int, inclusive: bool, expected: int
) -> None:
    """The log has ten events at 100 to 109 ms, of which two are trimmed."""
    log = filled(10)
    log.trim(2)
    assert first_sequence(Position(field, value, inclusive), log) == expected


def test_offsets_find_their_event() -> None:
    log = filled(10)
    offset = log.last_offset
    assert first_sequence(Position(Field.OFFSET, offset), log) == 10
    assert first_sequence(Position(Field.OFFSET, offset, True), log) == 9
    assert first_sequence(Position(Field.OFFSET, offset - 1), log) == 9


@pytest.mark.parametrize(
    "position",
    [
        Position(Field.OFFSET, 10_000),
        Position(Field.SEQUENCE_NUMBER, 10),
        Position(Field.SEQUENCE_NUMBER, 11, True),
    ],
)
def test_a_position_beyond_the_end_is_an_error(position: Position) -> None:
    with pytest.raises(AmqpError, match=r"The last .* in the system is"):
        first_sequence(position, filled(10))


def hub(clock: Clock, partitions: int = 2, **limits: float) -> EventHub:
    return EventHub(HubConfig("events", partitions), Retention(**limits), clock)  # type: ignore[arg-type]


BODY = b"\x00\x53\x75\xa0\x01x"


def test_the_count_is_limited_over_all_partitions() -> None:
    """The oldest event of all partitions is removed first, so a quiet partition keeps events."""
    clock = Clock()
    events = hub(clock, max_events=10)
    events.publish(BODY, 0, 1)
    for _ in range(20):
        clock.ms += 1
        events.publish(BODY, 0, 0)
    assert [len(log) for log in events.partitions] == [10, 0]
    assert events.partitions[0].begin_sequence == 10
    assert events.partitions[1].begin_sequence == 1


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), max_size=30))
def test_batches_remove_the_oldest_events_of_all_partitions(
    batches: list[tuple[int, int]],
) -> None:
    """The kept events are exactly the newest events over all partitions."""
    clock = Clock()
    events = hub(clock, partitions=3, max_events=10)
    arrived: list[tuple[int, int]] = []
    one = b"\x00\x53\x75\xa0" + bytes((len(BODY),)) + BODY
    for partition, count in batches:
        clock.ms += 1
        sequences = events.publish(one * count, BATCH_FORMAT, partition)
        arrived.extend((partition, sequence) for sequence in sequences)
    kept = [
        (log.partition, sequence)
        for log in events.partitions
        for sequence in range(log.begin_sequence, log.last_sequence + 1)
    ]
    assert kept == sorted(arrived[-10:])


def test_bytes_are_limited() -> None:
    clock = Clock()
    events = hub(clock, max_bytes=10_000)
    message = b"\x00\x53\x75\xb0\x00\x00\x03\xe8" + b"x" * 1000
    for _ in range(50):
        clock.ms += 1
        events.publish(message, 0, None)
    assert 8_000 < sum(log.size_bytes for log in events.partitions) <= 10_000


def test_age_is_limited() -> None:
    clock = Clock()
    events = hub(clock, max_age_seconds=10)
    events.publish(BODY, 0, 0)
    clock.ms += 10_001
    events.publish(BODY, 0, 1)
    assert [len(log) for log in events.partitions] == [0, 1]


def test_an_event_larger_than_retention_is_removed_at_once() -> None:
    """The event is acknowledged and removed, as after the retention time."""
    events = hub(Clock(), max_bytes=10)
    events.publish(BODY, 0, 0)
    assert len(events.partitions[0]) == 0
    assert events.partitions[0].last_sequence == 0


def test_removed_events_leave_no_memory_behind() -> None:
    """The columns and bytes of the log are those of the kept events."""
    clock = Clock()
    events = hub(clock, max_events=2_000)
    largest = 0
    for number in range(20_000):
        clock.ms += 1
        events.publish(BODY, 0, number % 2)
        for log in events.partitions:
            largest = max(largest, len(log._deliveries), len(log._offsets), len(log._latest))
    assert largest <= 2 * 4096
    assert sum(len(log) for log in events.partitions) == 2_000
    kept = [data for log in events.partitions for data in log.read(log.begin_sequence, 2_000)]
    assert sum(log.size_bytes for log in events.partitions) == sum(map(len, kept))
    assert [log.begin_sequence for log in events.partitions] == [9_000, 9_000]


@pytest.mark.parametrize("name", ["max_events", "max_bytes", "max_age_seconds"])
def test_limits_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be greater than 0, got 0"):
        Retention(**{name: 0})

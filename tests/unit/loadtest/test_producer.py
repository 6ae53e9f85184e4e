"""The producer sends the whole workload in order, and the same events in each run."""

from __future__ import annotations

import json

import pytest
from azure.eventhub import EventData, EventDataBatch
from azure.eventhub.exceptions import ConnectError

from loadtest.plan.settings import Scenario
from loadtest.plan.workload import Workload
from loadtest.send.producer import Order, filled_batches, send_all

Sent = tuple[str, int, str | None]


class RecordingClient:
    """A hub that records events and fails for the batches from number `fails_at` on."""

    def __init__(self, max_bytes: int = 1_000_000, fails_at: int = 0, fails: int = 1) -> None:
        self.sent: list[Sent] = []
        self.batches = 0
        self._max_bytes = max_bytes
        self._failing = range(fails_at, fails_at + fails) if fails_at else range(0)

    def create_batch(self, *, partition_key: str) -> EventDataBatch:
        return EventDataBatch(max_size_in_bytes=self._max_bytes, partition_key=partition_key)

    def send_batch(self, event_data_batch: EventDataBatch) -> None:
        self.batches += 1
        if self.batches in self._failing:
            raise ConnectError("no hub")
        for data in event_data_batch._internal_events:
            assert isinstance(data, EventData)
            body, properties = json.loads(data.body_as_str()), data.properties
            assert properties is not None
            assert body["key"] == properties["key"] == event_data_batch._partition_key
            assert body["counter"] == properties["counter"]
            assert body["run"] == properties["run"] == "run-1"
            self.sent.append((body["key"], body["counter"], properties.get("simulate")))


def order(
    *, rate_per_second: float = 0.0, patience_seconds: float = 0.0, holds: tuple[int, ...] = ()
) -> Order:
    return Order(
        connection="Endpoint=sb://127.0.0.1;…",
        event_hub="events",
        run="run-1",
        events_per_batch=4,
        rate_per_second=rate_per_second,
        patience_seconds=patience_seconds,
        workload=Workload(Scenario.OUTAGE, events=60, keys=5, poison_every=20, seed=3),
        holds=holds,
    )


def test_order_is_unchanged_by_json() -> None:
    it = order(holds=(10, 20))
    assert Order.from_json(it.to_json()) == it


def test_all_events_are_sent_in_order_with_their_faults() -> None:
    client, reports = RecordingClient(), list[int]()
    send_all(order(), client, reports.append)
    workload = order().workload
    assert client.sent == [
        (workload.key_names[batch.key_index], counter, workload.fault(batch.key_index, counter))
        for batch in workload.batches(4)
        for counter in range(batch.first, batch.last + 1)
    ]
    assert sum(fault == "poison" for _, _, fault in client.sent) == 3
    assert reports == list(range(4, 61, 4))


def test_two_runs_send_the_same_events() -> None:
    one, two = RecordingClient(), RecordingClient()
    for client in (one, two):
        send_all(order(), client, lambda _: None)
    assert one.sent == two.sent


def test_full_batch_is_split_in_order() -> None:
    whole, small = RecordingClient(), RecordingClient(max_bytes=700)
    send_all(order(), whole, lambda _: None)
    send_all(order(), small, lambda _: None)
    assert small.batches > whole.batches
    assert small.sent == whole.sent


def test_event_too_large_for_an_empty_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="size limit"):
        list(filled_batches(order(), RecordingClient(max_bytes=120)))


def test_nothing_is_sent_after_a_failed_batch() -> None:
    client, reports = RecordingClient(fails_at=3), list[int]()
    with pytest.raises(ConnectError):
        send_all(order(), client, reports.append)
    assert reports == [4, 8]
    assert len(client.sent) == 8


class Clock:
    """A clock that advances only in `sleep`."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def send_with_clock(order: Order, client: RecordingClient) -> Clock:
    clock = Clock()
    send_all(order, client, lambda _: None, clock=lambda: clock.now, sleep=clock.sleep)
    return clock


def test_producer_keeps_the_rate() -> None:
    assert send_with_clock(order(rate_per_second=30.0), RecordingClient()).now == pytest.approx(2.0)


def test_patient_producer_retries_a_failed_batch_before_the_next() -> None:
    client = RecordingClient(fails_at=3, fails=4)
    clock = send_with_clock(order(patience_seconds=10.0), client)
    assert clock.now == pytest.approx(2.0), "four pauses"
    healthy = RecordingClient()
    send_with_clock(order(), healthy)
    assert client.sent == healthy.sent


def test_producer_gives_up_after_its_patience() -> None:
    client = RecordingClient(fails_at=3, fails=100)
    with pytest.raises(ConnectError):
        send_with_clock(order(patience_seconds=10.0), client)
    assert client.batches == 2 + 21
    assert len(client.sent) == 8


def test_producer_waits_at_each_hold_for_a_release() -> None:
    """The time of a hold does not count for the rate."""
    client, clock, held = RecordingClient(), Clock(), list[int]()

    def released() -> None:
        held.append(len(client.sent))
        clock.now += 5.0

    send_all(
        order(rate_per_second=30.0, holds=(10, 12, 40)),
        client,
        lambda _: None,
        clock=lambda: clock.now,
        sleep=clock.sleep,
        released=released,
    )
    assert held == [12, 12, 40]
    assert clock.now == pytest.approx(2.0 + 3 * 5.0)
    assert len(client.sent) == 60

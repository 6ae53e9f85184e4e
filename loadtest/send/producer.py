"""The producer process `python -m loadtest.send.producer`, which reads an order from its input.

The producer is a separate process, because building 100,000 AMQP messages holds the interpreter's
lock for seconds, during which the observer could not poll. One client with one link sends batch
after batch, so that a key's events arrive in the order of their counters. The SDK retries a failed
batch before it sends the next batch. Order therefore holds, but a batch may arrive twice. The
verifier recognizes such a duplicate by its sequence number.

Standard input is one line of JSON (`Order`), and then a line for each end of one of the order's
holds. When standard input ends, the parent has ended and the producer exits. Standard output is one
line of JSON per report, `{"acknowledged": n, "started_at": s, "at": s}`. The last line also has
`"done": true` or `"error": text`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from azure.core.exceptions import AzureError
from azure.eventhub import EventData, EventDataBatch
from azure.eventhub.exceptions import EventHubError

from loadtest.plan.marks import Fault
from loadtest.plan.settings import Scenario
from loadtest.plan.workload import Workload
from loadtest.send.producer_client import event_hub_producer

_REPORT_SECONDS = 0.1
_PAUSE_SECONDS = 0.5
_SAME_SIZE = 160
"""The characters of each body of a workload of one size; JSON may end with blanks."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """The events to send and their destination.

    Attributes:
        rate_per_second: events per second, 0 for as fast as possible.
        namespace: the host to connect to by identity, used without a connection string.
        retry_total: the number of times that the SDK retries a batch.
        patience_seconds: how long a batch is retried after the SDK has given up. The SDK ignores
            its retry options and gives up at once when the hub is busy.
        holds: the numbers of acknowledged events at which sending waits for a release.
    """

    connection: str
    event_hub: str
    run: str
    events_per_batch: int
    rate_per_second: float
    workload: Workload
    patience_seconds: float = 0.0
    namespace: str = ""
    retry_total: int = 4
    holds: tuple[int, ...] = ()

    def to_json(self) -> str:
        """Return the order as one line for `from_json`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Return the order that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        workload = values.pop("workload")
        workload["scenario"] = Scenario(workload["scenario"])
        for name in ("down", "dependencies"):
            workload[name] = tuple(workload[name])
        if workload["deadly"] is not None:
            workload["deadly"] = Fault(workload["deadly"])
        return cls(workload=Workload(**workload), **values | {"holds": tuple(values["holds"])})


class Client(Protocol):
    """The part of `EventHubProducerClient` that sends."""

    def create_batch(self, *, partition_key: str) -> EventDataBatch:
        """Return an empty batch for one key."""

    def send_batch(self, event_data_batch: EventDataBatch) -> None:
        """Send the batch and return once the hub has acknowledged it."""


def event(order: Order, key_index: int, counter: int) -> EventData:
    """Return one event, with key and counter in its body and its properties."""
    workload = order.workload
    key = workload.key_names[key_index]
    sent_at = time.time()
    body = {"run": order.run, "key": key, "counter": counter, "sent_at": sent_at}
    text = json.dumps(body)
    data = EventData(text.ljust(_SAME_SIZE) if workload.same_size else text)
    properties: dict[str | bytes, Any] = {"run": order.run, "key": key, "counter": counter}
    if needs := workload.needs(key_index, counter):
        properties["needs"] = needs
    if fault := workload.fault(key_index, counter):
        properties["simulate"] = fault.value
    elif delay := workload.delay(key_index, counter):
        kind, milliseconds = delay
        properties |= {"simulate": kind.value, "milliseconds": milliseconds}
    data.properties = properties
    return data


def filled_batches(order: Order, client: Client) -> Iterator[EventDataBatch]:
    """Yield all batches in sending order; a batch that exceeds the size limit is split."""
    for planned in order.workload.batches(order.events_per_batch):
        key = order.workload.key_names[planned.key_index]
        batch = client.create_batch(partition_key=key)
        for counter in range(planned.first, planned.last + 1):
            data = event(order, planned.key_index, counter)
            try:
                batch.add(data)
            except ValueError:
                if len(batch) == 0:
                    raise
                yield batch
                batch = client.create_batch(partition_key=key)
                batch.add(data)
        yield batch


def _sent(client: Client, batch: EventDataBatch, *, patient: bool) -> bool:
    """Send a batch; return False if sending failed and may be retried."""
    try:
        client.send_batch(batch)
    except EventHubError:
        if not patient:
            raise
        return False
    return True


def send_all(
    order: Order,
    client: Client,
    report: Callable[[int], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    released: Callable[[], object] = lambda: None,
) -> None:
    """Send everything in order; `report` gets the number of acknowledged events after each batch.

    At each hold of the order, sending waits until `released` returns.

    Raises:
        EventHubError: a batch failed after the SDK's retries (about 10 s) and the order's patience.
    """
    acknowledged = 0
    started = clock()
    holds = list(order.holds)
    for batch in filled_batches(order, client):
        give_up_at = clock() + order.patience_seconds
        while not _sent(client, batch, patient=clock() < give_up_at):
            sleep(_PAUSE_SECONDS)
        acknowledged += len(batch)
        report(acknowledged)
        while holds and acknowledged >= holds[0]:
            del holds[0]
            held = clock()
            released()
            started += clock() - held
        if order.rate_per_second:
            ahead = acknowledged / order.rate_per_second - (clock() - started)
            if ahead > 0:
                sleep(ahead)


def _read_releases(releases: threading.Semaphore) -> None:
    """Count the releases, and exit with the parent."""
    for _ in sys.stdin:
        releases.release()
    os._exit(1)


def main() -> int:
    """Send the order from standard input; return 0 if every event was acknowledged."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The SDK logs each failed attempt with a traceback; the report has the last error.
    logging.getLogger("azure").setLevel(logging.CRITICAL)
    order = Order.from_json(sys.stdin.readline())
    releases = threading.Semaphore(0)
    threading.Thread(target=_read_releases, args=(releases,), daemon=True).start()
    started_at = time.time()
    acknowledged = 0
    reported = 0.0

    def print_report(**more: Any) -> None:
        line = {"acknowledged": acknowledged, "started_at": started_at, "at": time.time(), **more}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    def report(count: int) -> None:
        nonlocal acknowledged, reported
        acknowledged = count
        if (now := time.monotonic()) - reported >= _REPORT_SECONDS:
            reported = now
            print_report()

    client = event_hub_producer(
        order.connection,
        order.namespace,
        order.event_hub,
        retry_total=order.retry_total,
        retry_backoff_max=2,
    )

    def released() -> None:
        print_report()  # a fault waits for the exact number
        releases.acquire()

    try:
        with client:
            send_all(order, client, report, released=released)
    except (EventHubError, AzureError, ValueError) as error:
        print_report(error=f"{type(error).__name__}: {error}")
        return 1
    print_report(done=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

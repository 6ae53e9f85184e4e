"""The producer's process: `python -m loadtest.send.producer` reads its order from standard input.

A process of its own, because building 100,000 AMQP messages in Python takes the interpreter's lock
for seconds, in which the watcher would see nothing. One client with one link sends batch after
batch, so that a key's events arrive in the order of their counters; a batch that fails is sent
again by the SDK before the next one, so order holds at the price of a possible
repetition, which the verifier recognises by its sequence number.

Standard input: one line of JSON (`Order`); its end means that the parent is gone, and ends this
process. Standard output: one line of JSON per report, `{"acknowledged": n, "started_at": s,
"at": s}`, the last one with `"done": true`, or with `"error": text`.
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

from loadtest.plan.settings import Scenario
from loadtest.plan.workload import Workload
from loadtest.send.producer_client import event_hub_producer

_REPORT_SECONDS = 0.1
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to send where.

    Attributes:
        rate_per_second: 0 is as fast as possible.
        namespace: the host to send to by identity, without a connection string.
        retry_total: how often the SDK tries a batch again before it gives it up.
        patience_seconds: how long a batch is sent again after the SDK gave it up; it gives up at
            once when the hub is busy, whatever its retry options say.
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

    def to_json(self) -> str:
        """One line, read by `from_json`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Read what `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        workload = values.pop("workload")
        workload["scenario"] = Scenario(workload["scenario"])
        return cls(workload=Workload(**workload), **values)


class Client(Protocol):
    """The part of `EventHubProducerClient` that sends."""

    def create_batch(self, *, partition_key: str) -> EventDataBatch:
        """An empty batch for one key."""

    def send_batch(self, event_data_batch: EventDataBatch) -> None:
        """Return when the hub has acknowledged the batch."""


def event(order: Order, key_index: int, counter: int) -> EventData:
    """One event: key and counter in the body and in the properties."""
    workload = order.workload
    key = workload.key_names[key_index]
    sent_at = time.time()
    body = {"run": order.run, "key": key, "counter": counter, "sent_at": sent_at}
    data = EventData(json.dumps(body))
    properties: dict[str | bytes, Any] = {"run": order.run, "key": key, "counter": counter}
    if fault := workload.fault(key_index, counter):
        properties["simulate"] = fault.value
    elif delay := workload.delay(key_index, counter):
        kind, milliseconds = delay
        properties |= {"simulate": kind.value, "milliseconds": milliseconds}
    data.properties = properties
    return data


def filled_batches(order: Order, client: Client) -> Iterator[EventDataBatch]:
    """All batches in sending order; one that is full goes out early and a new one follows."""
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
    """Send a batch; False if that failed and may be tried again."""
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
) -> None:
    """Send everything in order; `report` gets the number of acknowledged events after each batch.

    Raises:
        EventHubError: a batch failed, after the SDK's retries (about ten seconds) and the order's
            patience.
    """
    acknowledged = 0
    started = clock()
    for batch in filled_batches(order, client):
        give_up_at = clock() + order.patience_seconds
        while not _sent(client, batch, patient=clock() < give_up_at):
            sleep(_PAUSE_SECONDS)
        acknowledged += len(batch)
        report(acknowledged)
        if order.rate_per_second:
            ahead = acknowledged / order.rate_per_second - (clock() - started)
            if ahead > 0:
                sleep(ahead)


def _exit_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> int:
    """Send what standard input orders; 0 if everything was acknowledged."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The SDK logs every failed attempt with its traceback; the last one is reported below.
    logging.getLogger("azure").setLevel(logging.CRITICAL)
    order = Order.from_json(sys.stdin.readline())
    threading.Thread(target=_exit_with_parent, daemon=True).start()
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
    try:
        with client:
            send_all(order, client, report)
    except (EventHubError, AzureError, ValueError) as error:
        print_report(error=f"{type(error).__name__}: {error}")
        return 1
    print_report(done=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

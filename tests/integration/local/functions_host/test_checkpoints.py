"""The checkpoints of the Event Hubs trigger, with real host processes, endpoint and blobs."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from azure.eventhub import EventData, EventHubProducerClient

from tests.conftest import EventHubsEndpoint
from tests.support.local.event_hubs_trigger import Trigger, event_hubs_trigger
from tests.support.local.functions_host import APPS, HostProcess, stays, wait_for_status
from tests.support.processes import wait_for

PARTITIONS = 2


@pytest.fixture
def trigger(azurite: str, event_hubs: EventHubsEndpoint, tmp_path: Path) -> Iterator[Trigger]:
    with event_hubs_trigger(event_hubs, azurite, tmp_path, partitions=PARTITIONS) as trigger:
        yield trigger


def _started(trigger: Trigger, count: int = 1) -> None:
    wait_for(lambda: len(trigger.records.starts()) >= count, f"{count} invocations")


def _sequences(trigger: Trigger, partition: str = "0") -> list[int]:
    return [
        number
        for line in trigger.records.starts()
        if line["partition"] == partition
        for number in line["sequences"]
    ]


def test_successful_batch_is_checkpointed_at_its_last_event(
    trigger: Trigger,
) -> None:
    """The received bodies, keys and properties have Azure's shape."""
    with EventHubProducerClient.from_connection_string(
        trigger.endpoint.connection_string, eventhub_name=trigger.hub
    ) as producer:
        batch = producer.create_batch(partition_key="k")
        for number in range(3):
            event = EventData(json.dumps({"n": number}) if number else b"")
            event.properties = {"counter": number, "run": "r"}
            event.message_id = f"m{number}"
            batch.add(event)
        producer.send_batch(batch)
    trigger.hosts.start("events")
    _started(trigger)
    (line,) = trigger.records.starts()
    partition = line["partition"]
    wait_for(lambda: trigger.checkpoint(partition) == 2, "the checkpoint")
    assert line["sequences"] == [0, 1, 2]
    assert line["keys"] == ["k", "k", "k"]
    assert line["bodies"] == ["", '{"n": 1}', '{"n": 2}']
    assert line["properties"] == [{"counter": n, "run": "r"} for n in range(3)]
    assert [system["SequenceNumber"] for system in line["systems"]] == [0, 1, 2]
    assert [system["message-id"] for system in line["systems"]] == ["m0", "m1", "m2"]
    assert not any(text.endswith("+00:00") for text in line["enqueued"])
    assert line["retry"] == 0


@pytest.mark.long
def test_host_reads_padded_values_like_the_app(trigger: Trigger) -> None:
    """Line ends and quotes around a value are no parts of a hub's name or a connection."""
    trigger.send("a")
    padded = {
        "HUB": f" {trigger.hub}\n",
        "EventHubConnection": f'"{trigger.endpoint.connection_string}"',
        "AzureWebJobsStorage": f"'{trigger.storage}'\r\n",
    }
    trigger.hosts.start("events", **padded)
    wait_for(lambda: trigger.checkpoint() == 0, "the checkpoint")


def test_events_have_the_form_of_the_chosen_extension(trigger: Trigger) -> None:
    """From version 6.5.2 on an offset is a number, and the worker library takes it."""
    trigger.send("a")
    trigger.hosts.start("events", "--event-hubs-extension", "6.5.2")
    _started(trigger)
    (line,) = trigger.records.starts()
    (system,) = line["systems"]
    assert (system["Offset"], system["OffsetString"]) == (0, "0")


def test_failed_batch_without_retries_is_checkpointed(trigger: Trigger) -> None:
    """Without a retry policy a failed batch is skipped, and its events are lost."""
    trigger.set_behaviour("raise")
    trigger.send("a", "b")
    host = trigger.hosts.start("events")
    wait_for(lambda: trigger.checkpoint() == 1, "the checkpoint")
    assert "RuntimeError: failed on request" in host.output()
    assert _sequences(trigger) == [0, 1]


def test_unlimited_retries_hold_the_checkpoint_of_their_partition_only(
    trigger: Trigger,
) -> None:
    """Each attempt is an invocation, counted from 0; other partitions continue."""
    trigger.set_behaviour("raise")
    trigger.send("a", "b")
    trigger.hosts.start("events", RETRY="forever")
    _started(trigger, 4)
    trigger.send("later")
    attempts = trigger.records.starts()[:4]
    assert [line["retry"] for line in attempts] == [0, 1, 2, 3]
    assert len({line["id"] for line in attempts}) == 4
    assert all(line["sequences"] == [0, 1] for line in attempts)
    assert trigger.checkpoint() is None
    trigger.send("elsewhere", partition="1")
    wait_for(lambda: _sequences(trigger, "1"), "the other partition's event")
    trigger.set_behaviour("return")
    wait_for(lambda: trigger.checkpoint() == 2, "the checkpoint after all")
    wait_for(lambda: trigger.checkpoint("1") == 0, "the other partition's checkpoint")


def test_stop_during_retries_writes_no_checkpoint(
    trigger: Trigger,
) -> None:
    trigger.set_behaviour("raise")
    trigger.send("a", "b")
    host = trigger.hosts.start("events", RETRY="forever")
    _started(trigger, 2)
    assert host.terminate() == 0
    assert trigger.checkpoint() is None
    before = len(trigger.records.starts())
    trigger.set_behaviour("return")
    trigger.hosts.start("events", RETRY="forever")
    wait_for(lambda: trigger.checkpoint() == 1, "the checkpoint")
    again = trigger.records.starts()[before:]
    assert [(line["retry"], line["sequences"]) for line in again] == [(0, [0, 1])]


def test_stop_during_a_batch_writes_no_checkpoint(
    trigger: Trigger,
) -> None:
    """The invocation gets the grace period, and its partition is released after its end."""
    trigger.set_behaviour("hang")
    trigger.send("a")
    host = trigger.hosts.start("events", "--grace", "100")
    _started(trigger)
    owner = trigger.owners()["0"]
    assert owner
    host.process.send_signal(signal.SIGTERM)
    wait_for(lambda: trigger.owners()["1"] == "", "the release of the idle partition")
    assert stays(lambda: trigger.owners()["0"] == owner, 0.5)
    trigger.set_behaviour("return")
    assert host.process.wait(60) == 0
    assert len(trigger.records.ends()) == 1
    assert trigger.owners() == {"0": "", "1": ""}
    assert trigger.checkpoint() is None


@pytest.mark.long
def test_hanging_function_is_ended_after_the_grace_period(trigger: Trigger) -> None:
    trigger.set_behaviour("hang")
    trigger.send("a")
    host = trigger.hosts.start("events", "--grace", "0.5")
    _started(trigger)
    assert host.terminate() == 0
    assert "1 invocations still run after 0.5 seconds" in host.output()
    assert trigger.checkpoint() is None
    assert trigger.records.ends() == []


def test_restarted_host_continues_at_once_after_the_checkpoint(
    trigger: Trigger,
) -> None:
    trigger.send("a")
    host = trigger.hosts.start("events", "--lease", "60")
    wait_for(lambda: trigger.checkpoint() == 0, "the checkpoint")
    assert host.terminate() == 0
    trigger.send("b")
    # The lease lasts a minute, so the next host can only start in time after a release.
    trigger.hosts.start("events", "--lease", "60")
    wait_for(lambda: trigger.checkpoint() == 1, "the checkpoint of the second host")
    assert _sequences(trigger) == [0, 1]


def test_drain_lets_the_batch_end_and_checkpoints_it(trigger: Trigger) -> None:
    trigger.set_behaviour("hang")
    trigger.send("a")
    host = trigger.hosts.start("events").wait_started()
    _started(trigger)
    assert httpx.post(f"{host.url}/admin/host/drain").status_code == 202
    status = f"{host.url}/admin/host/drain/status"
    found = httpx.get(status).json()
    assert found == {"state": "InProgress", "outstandingInvocations": 1, "outstandingRetries": 0}
    trigger.send("b")
    trigger.set_behaviour("return")
    wait_for_status(status, lambda answer: answer["state"] == "Completed", "the drain")
    wait_for(lambda: trigger.checkpoint() == 0, "the checkpoint")
    wait_for(lambda: trigger.owners() == {"0": "", "1": ""}, "the release of the partitions")
    assert _sequences(trigger) == [0]
    assert httpx.post(f"{host.url}/admin/host/resume").status_code == 200
    wait_for(lambda: trigger.checkpoint() == 1, "the checkpoint after resuming")


@pytest.mark.long
def test_drain_never_completes_while_a_retry_is_outstanding(trigger: Trigger) -> None:
    trigger.set_behaviour("raise")
    trigger.send("a")
    host = trigger.hosts.start("events", RETRY="forever").wait_started()
    _started(trigger, 2)
    assert httpx.post(f"{host.url}/admin/host/drain").status_code == 202
    status = f"{host.url}/admin/host/drain/status"
    assert stays(lambda: httpx.get(status).json()["outstandingRetries"] == 1, 1)
    assert httpx.get(status).json()["state"] == "InProgress"
    assert trigger.checkpoint() is None
    trigger.set_behaviour("return")
    wait_for_status(status, lambda answer: answer["state"] == "Completed", "the drain")
    wait_for(lambda: trigger.checkpoint() == 0, "the checkpoint")


def test_partitions_of_a_killed_host_are_taken_over_at_their_checkpoints(
    trigger: Trigger,
) -> None:
    hosts: list[HostProcess] = [trigger.hosts.start("events") for _ in range(2)]
    owners = wait_for(
        lambda: (found := trigger.owners()) and len(set(found.values()) - {""}) == 2 and found,
        "two owners",
    )
    assert len(owners) == PARTITIONS
    sent = 0

    def handled_by_both() -> bool:
        """Return whether each host handles a partition; a slow host may lose its first claim."""
        nonlocal sent
        for partition in ("0", "1"):
            trigger.send("before", partition=partition)
        sent += 1
        wait_for(
            lambda: {trigger.checkpoint("0"), trigger.checkpoint("1")} == {sent - 1},
            "both checkpoints",
        )
        pids = {line["partition"]: line["pid"] for line in trigger.records.starts()}
        return set(pids.values()) == {host.pid for host in hosts}

    wait_for(handled_by_both, "events handled by both hosts")
    trigger.set_behaviour("hang")
    trigger.send("in flight")
    wait_for(lambda: _sequences(trigger)[-1:] == [sent], "the event in flight")
    victim = next(host for host in hosts if host.pid == trigger.records.starts()[-1]["pid"])
    victim.kill()
    trigger.set_behaviour("return")
    wait_for(lambda: trigger.checkpoint("0") == sent, "the takeover")
    # The other host gets only the event after the checkpoint.
    assert _sequences(trigger)[-2:] == [sent, sent]
    assert trigger.records.starts()[-1]["pid"] != victim.pid


@pytest.mark.long
def test_a_paused_host_that_resumes_after_its_lease_changes_nothing(
    trigger: Trigger,
) -> None:
    """The host neither resets the checkpoint nor processes events that it had fetched.

    A suspended or swapping machine pauses a host in this way.
    """
    hosts = [trigger.hosts.start("events") for _ in range(2)]
    wait_for(lambda: len(set(trigger.owners().values()) - {""}) == 2, "two owners")
    trigger.set_behaviour("hang")
    trigger.send(*(str(number) for number in range(15)))  # a batch has ten, five wait in the host
    _started(trigger)
    pid = trigger.records.starts()[0]["pid"]
    paused = next(host for host in hosts if host.pid == pid)
    paused.process.send_signal(signal.SIGSTOP)
    try:
        trigger.set_behaviour("return")
        wait_for(lambda: trigger.checkpoint() == 14, "the takeover")
        trigger.send("more")
        wait_for(lambda: trigger.checkpoint() == 15, "the event after the takeover")
    finally:
        paused.process.send_signal(signal.SIGCONT)
    wait_for(lambda: "released partition 0" in paused.output(), "the detection of the loss")
    wait_for(
        lambda: [line for line in trigger.records.ends() if line["pid"] == pid],
        "the end of the paused invocation",
    )
    assert trigger.checkpoint() == 15
    assert len([line for line in trigger.records.starts() if line["pid"] == pid]) == 1


def test_events_of_a_dropped_connection_are_received_again(trigger: Trigger) -> None:
    trigger.send("a")
    trigger.hosts.start("events")
    wait_for(lambda: trigger.checkpoint() == 0, "the checkpoint")
    dropped = httpx.post(
        f"{trigger.endpoint.control_url}/faults/drop", json={"hub": trigger.hub, "politely": False}
    )
    assert dropped.is_success, dropped.text
    trigger.send("b")
    wait_for(lambda: trigger.checkpoint() == 1, "the checkpoint after the drop")


@pytest.mark.parametrize("fault", ["detach", "drop"])
def test_fetched_events_of_a_lost_link_are_delivered_once_and_in_order(
    trigger: Trigger, fault: str
) -> None:
    trigger.set_behaviour("hang")
    trigger.send(*(str(number) for number in range(15)))  # a batch has ten, five wait in the host
    trigger.hosts.start("events")
    _started(trigger)
    lost = httpx.post(
        f"{trigger.endpoint.control_url}/faults/{fault}",
        json={"hub": trigger.hub, "partition": 0, "consumerGroup": "$Default"},
    )
    assert lost.is_success, lost.text
    wait_for(lambda: _links(trigger) == PARTITIONS, "the new link")
    trigger.send(*(str(number) for number in range(15, 20)))
    trigger.set_behaviour("return")
    wait_for(lambda: trigger.checkpoint() == 19, "the last checkpoint")
    assert _sequences(trigger) == list(range(20))


def _links(trigger: Trigger) -> int:
    return int(httpx.get(f"{trigger.endpoint.control_url}/hubs/{trigger.hub}").json()["links"])


def _with_host_json(directory: Path, **event_hubs: object) -> Path:
    """Return a copy of the events app with its own Event Hubs options."""
    app = directory / f"app{len(list(directory.glob('app*')))}"
    shutil.copytree(APPS / "events", app)
    document = {"version": "2.0", "extensions": {"eventHubs": event_hubs}}
    (app / "host.json").write_text(json.dumps(document))
    return app


def test_initial_offset_from_the_end_applies_only_without_a_checkpoint(
    trigger: Trigger, tmp_path: Path
) -> None:
    app = _with_host_json(tmp_path, initialOffsetOptions={"type": "fromEnd"})
    trigger.send("before")
    host = trigger.hosts.start(app)
    wait_for(lambda: _links(trigger) == PARTITIONS, "its links")
    trigger.send("while it runs")
    wait_for(lambda: trigger.checkpoint() == 1, "the checkpoint")
    assert host.terminate() == 0
    trigger.send("while it is stopped")
    trigger.hosts.start(app)
    wait_for(lambda: trigger.checkpoint() == 2, "the checkpoint of the second host")
    assert _sequences(trigger) == [1, 2]


@pytest.mark.long
def test_initial_offset_from_a_time_includes_it_and_a_checkpoint_is_not_repeated(
    trigger: Trigger, tmp_path: Path
) -> None:
    trigger.send("first")
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    wait_for(lambda: datetime.now(UTC) > moment, "the next second")
    trigger.send("second")
    app = _with_host_json(
        tmp_path,
        initialOffsetOptions={"type": "fromEnqueuedTime", "enqueuedTimeUtc": moment.isoformat()},
    )
    host = trigger.hosts.start(app)
    wait_for(lambda: trigger.checkpoint() == 1, "the checkpoint")
    assert host.terminate() == 0
    trigger.send("third")
    trigger.hosts.start(app)
    wait_for(lambda: trigger.checkpoint() == 2, "the checkpoint of the second host")
    assert _sequences(trigger) == [1, 2]


def test_batches_below_the_minimum_are_gathered(trigger: Trigger, tmp_path: Path) -> None:
    app = _with_host_json(
        tmp_path, maxEventBatchSize=4, minEventBatchSize=3, maxWaitTime="01:00:00"
    )
    trigger.hosts.start(app)
    wait_for(lambda: _links(trigger) == PARTITIONS, "its links")
    with trigger.producer() as producer:
        for number in range(3):
            producer.send_batch([EventData(str(number))], partition_id="0")
    wait_for(lambda: trigger.checkpoint() == 2, "the checkpoint of the full batch")
    batches = [line["sequences"] for line in trigger.records.starts()]
    assert batches == [[0, 1, 2]]  # one at a time would have been three


def test_a_batch_below_the_minimum_is_passed_on_after_the_maximum_wait(
    trigger: Trigger, tmp_path: Path
) -> None:
    app = _with_host_json(
        tmp_path, maxEventBatchSize=4, minEventBatchSize=3, maxWaitTime="00:00:01"
    )
    trigger.send("alone")
    trigger.hosts.start(app)
    wait_for(lambda: trigger.checkpoint() == 0, "the checkpoint of the batch that waited")


def test_a_host_waits_for_services_that_are_not_up_yet(trigger: Trigger) -> None:
    """The host logs the storage error, retries, and stays up."""
    storage = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YQ==;" + (
        "BlobEndpoint=http://127.0.0.1:1/a;QueueEndpoint=http://127.0.0.1:1/a;"
    )
    host = trigger.hosts.start("events", AzureWebJobsStorage=storage).wait_started()
    wait_for(lambda: "was unable to start; the host retries" in host.output(), "the message", 40)
    assert host.terminate() == 0


async def test_host_serves_http_while_a_batch_is_processed(trigger: Trigger) -> None:
    trigger.set_behaviour("hang")
    trigger.send("a")
    host = trigger.hosts.start("events").wait_started()
    await asyncio.to_thread(_started, trigger)
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{host.url}/admin/host/status")).status_code == 200

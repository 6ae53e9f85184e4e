"""An app with two pipelines in a real host process: each has its own circuit, start and end."""

from __future__ import annotations

import signal
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.eventhub import EventData, EventHubProducerClient

from breaker import CircuitState
from breaker.configuration.pipelines import pipeline_of
from processing.wiring import Wiring
from tests.conftest import EventHubsEndpoint
from tests.support.local.functions_host import HostProcess, Hosts, Records, host_processes
from tests.support.processes import wait_for

NAMES = ("orders", "audit")


@dataclass
class TwoPipelines:
    """Two new hubs, the files that the handlers read, and a starter of hosts."""

    connection_string: str
    settings: Mapping[str, str]
    hosts: Hosts
    control: Path
    sent: int = 0

    @property
    def records(self) -> Records:
        return Records(self.control / "records.jsonl")

    def start(self, **settings: str) -> HostProcess:
        return self.hosts.start("two_pipelines", **settings).wait_started()

    def set(self, pipeline: str, name: str, *, on: bool = True) -> None:
        path = self.control / f"{pipeline}.{name}"
        if on:
            path.touch()
        else:
            path.unlink()

    def send(self, pipeline: str, count: int = 1, keys: int = 5) -> list[str]:
        """Send events of several keys to a pipeline's hub; return their bodies."""
        bodies = [f"{pipeline}-{self.sent + n}" for n in range(count)]
        self.sent += count
        hub = pipeline_of(self.settings, pipeline).settings["EVENT_HUB_NAME"]
        with EventHubProducerClient.from_connection_string(
            self.connection_string, eventhub_name=hub
        ) as producer:
            for number, body in enumerate(bodies):
                producer.send_batch([EventData(body)], partition_key=f"k{number % keys}")
        return bodies

    def bodies(self, event: str = "end") -> list[str]:
        return [line["body"] for line in self.records.read() if line["event"] == event]

    def wait_handled(self, bodies: list[str], host: HostProcess) -> None:
        wait_for(
            lambda: set(bodies) <= set(self.bodies()),
            lambda: f"{set(bodies) - set(self.bodies())}\n{host.output()}",
        )

    async def circuit(self, pipeline: str, *, approve: bool = False) -> Any:
        async with AsyncExitStack() as opened:
            wiring = Wiring(pipeline_of(self.settings, pipeline).settings, opened)
            breaker = wiring.new_breaker()
            found = await breaker.refresh()
            if approve:
                await breaker.approve(found.generation, by="test")
            return found

    def health(self, host: HostProcess) -> Any:
        return httpx.get(f"{host.url}/api/breakwater/health", timeout=60)


@pytest.fixture
def two(
    azurite: str, redis_url: str, event_hubs: EventHubsEndpoint, tmp_path: Path
) -> Iterator[TwoPipelines]:
    hubs = {name: f"{name}{uuid.uuid4().hex[:12]}" for name in NAMES}
    for hub in hubs.values():
        assert httpx.put(f"{event_hubs.control_url}/hubs/{hub}", json={"partitionCount": 2})
    circuit = f"c{uuid.uuid4().hex[:12]}"
    settings = {
        "AzureWebJobsStorage": azurite,
        "AzureFunctionsWebHost__hostid": uuid.uuid4().hex,
        "BREAKER_NAME": circuit,
        "BREAKER_FAILURE_THRESHOLD": "3",
        "CONTROL": str(tmp_path),
        "EVENT_HANDLER": "handlers:Recorder",
        "EVENT_HUB_CONSUMER_GROUP": "$Default",
        "EVENT_HUB_NAME": hubs["orders"],
        "EventHubConnection": event_hubs.connection_string,
        "PIPELINES": ",".join(NAMES),
        "PIPELINE_AUDIT_EVENT_HUB_NAME": hubs["audit"],
        "POISON_QUEUE": f"p{uuid.uuid4().hex[:12]}",
        "PROCESSING_DEPENDENCY_PAUSE_SECONDS": "0.1",
        "PROCESSING_MAX_ATTEMPTS": "1",
        "REDIS_URL": redis_url,
    }
    with host_processes(tmp_path, settings) as hosts:
        yield TwoPipelines(event_hubs.connection_string, settings, hosts, tmp_path)
    for hub in hubs.values():
        httpx.delete(f"{event_hubs.control_url}/hubs/{hub}")


async def test_open_circuit_of_one_pipeline_holds_only_its_events(two: TwoPipelines) -> None:
    """The circuit opens, is approved and closes; the other pipeline handles its events."""
    host = two.start()
    two.wait_handled(two.send("orders", 5) + two.send("audit", 5), host)
    two.set("orders", "down")
    held = two.send("orders", 5)
    wait_for(lambda: "-orders is open" in host.output(), host.output)
    assert (await two.circuit("orders")).state is CircuitState.OPEN
    two.set("orders", "down", on=False)
    two.wait_handled(two.send("audit", 20), host)
    assert not set(held) & set(two.bodies())
    health = two.health(host)
    assert health.status_code == 200
    assert health.json()["healthy"] is True
    found = {name: report["status"] for name, report in health.json()["pipelines"].items()}
    assert found == {"orders": "holding", "audit": "ok"}
    await two.circuit("orders", approve=True)
    two.wait_handled(held, host)
    assert (await two.circuit("audit")).generation == 0
    assert len(two.bodies()) == len(set(two.bodies())) == two.sent


@pytest.mark.long
async def test_handler_that_does_not_start_holds_only_its_pipeline(two: TwoPipelines) -> None:
    """The start is tried again, and the events of the pipeline wait until then."""
    two.set("orders", "unstarted")
    host = two.start()
    waiting = two.send("orders", 3)
    two.wait_handled(two.send("audit", 10), host)
    wait_for(lambda: "orders has no pool" in host.output(), host.output)
    assert not set(waiting) & set(two.bodies())
    two.set("orders", "unstarted", on=False)
    two.wait_handled(waiting, host)


@pytest.mark.long
async def test_sigterm_ends_the_events_in_flight_of_all_pipelines(two: TwoPipelines) -> None:
    """No event is started after the signal, and the next host handles each of the rest once."""
    for name in NAMES:
        two.set(name, "held")
    host = two.start()
    sent = [body for name in NAMES for body in two.send(name, 10, keys=2)]
    wait_for(lambda: {line["pipeline"] for line in two.records.starts()} == set(NAMES), host.output)
    host.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "received SIGTERM" in host.output(), host.output)
    for name in NAMES:
        two.set(name, "held", on=False)
    assert host.process.wait(60) == 0
    ended = two.bodies()
    assert set(two.bodies("start")) == set(ended) < set(sent)
    two.wait_handled(sent, two.start())
    assert sorted(two.bodies()) == sorted(sent), "each event was handled once"


@pytest.mark.long
async def test_kill_doubles_only_the_events_in_flight(two: TwoPipelines) -> None:
    """The circuit of one pipeline is open at the kill; it is open in the next host, too."""
    host = two.start()
    two.set("orders", "down")
    held = two.send("orders", 6)
    wait_for(lambda: "-orders is open" in host.output(), host.output)
    two.wait_handled(two.send("audit", 10), host)
    two.set("audit", "held")
    two.send("audit", 10)
    wait_for(lambda: set(two.bodies("start")) - set(two.bodies()) - set(held), host.output)
    host.kill()
    two.set("orders", "down", on=False)
    two.set("audit", "held", on=False)

    host = two.start()
    audit = [f"audit-{number}" for number in range(6, 26)]
    two.wait_handled(audit, host)
    assert not set(held) & set(two.bodies())
    assert (await two.circuit("orders")).state is CircuitState.OPEN
    await two.circuit("orders", approve=True)
    two.wait_handled(held, host)
    counted = Counter(two.bodies())
    assert counted.total() - len(counted) <= 5, (
        "at most the event of each lane whose end was not written"
    )

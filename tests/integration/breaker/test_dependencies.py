"""The circuits of dependencies on a real Redis: requests, connections, keys, alerts, approvals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from breaker import (
    AlertDeliveryError,
    AlertPublisher,
    BreakerSettings,
    CircuitBreaker,
    CircuitState,
    DependencyCircuits,
    DependencySettings,
    Key,
    ManualClock,
    MemoryPublisher,
    Permit,
    RedisCircuitStore,
    RedisDependencyStore,
)
from breaker.stores.redis import connect
from tests.support.breaker.unreliable_store import until
from tests.support.patience import STORE_SECONDS

NAMES = [f"dependency-{number}" for number in range(20)]
SETTINGS = {
    "BREAKER_NAME": "app",
    "BREAKER_FAILURE_THRESHOLD": "2",
    "BREAKER_STORE_TIMEOUT_SECONDS": f"{STORE_SECONDS}",
}


@asynccontextmanager
async def circuits_at(
    redis_url: str,
    *,
    publisher: AlertPublisher | None = None,
    instance: str = "one",
    settings: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[DependencyCircuits]:
    """Start circuits whose clock stands still, so that they poll only when a test calls them."""
    rules = DependencySettings.from_mapping({**SETTINGS, **settings})
    client = connect(redis_url, rules.app)
    store = RedisDependencyStore(client, "app", timeout_seconds=STORE_SECONDS)
    circuits = DependencyCircuits(
        store, rules, publisher=publisher, clock=ManualClock(), instance=instance
    )
    try:
        async with circuits:
            yield circuits
    finally:
        await client.aclose()


async def used(circuits: DependencyCircuits, name: str) -> CircuitBreaker:
    found = await circuits.use(name)
    assert found is not None
    return found


async def opened(circuit: CircuitBreaker) -> None:
    permit = Permit(circuit.circuit.generation)
    for number in range(2):
        await circuit.record_failure(f"f{number}", "down", permit)
    assert circuit.circuit.state is CircuitState.OPEN


def subscribers(client: redis.Redis) -> int:
    """Return the number of connections that subscribe to anything."""
    return len(client.client_list(_type="pubsub"))


async def subscribed(client: redis.Redis, number: int = 1) -> None:
    async with asyncio.timeout(STORE_SECONDS):
        while subscribers(client) < number:
            await asyncio.sleep(0)


def requests(client: redis.Redis) -> dict[str, int]:
    """Return the number of calls of each command since the last reset, without those of scripts."""
    known: dict[str, Any] = client.info("commandstats")
    names = ("evalsha", "eval", "ping", "get", "subscribe", "hello")
    return {name: known[f"cmdstat_{name}"]["calls"] for name in names if f"cmdstat_{name}" in known}


async def requests_of_a_poll(client: redis.Redis, redis_url: str) -> tuple[dict[str, int], int]:
    """Return the requests of one poll with reports of all circuits, and how often Redis read."""
    async with circuits_at(redis_url) as circuits:
        found = [await used(circuits, name) for name in NAMES]
        await subscribed(client)
        assert subscribers(client) == 1
        await circuits.refresh()  # loads the script
        for number, circuit in enumerate(found):
            circuit.enter(Key("k"))
            circuit.note_success(0.1 * number)
            circuit.note_failed_attempt(Key("k"), "down")
        client.config_resetstat()
        before = client.info("stats")["total_reads_processed"]
        await circuits.refresh()
        reads = client.info("stats")["total_reads_processed"] - before - 1  # this command
        return requests(client), reads


async def test_twenty_dependencies_cost_one_request_for_each_poll(redis_url: str) -> None:
    """The reports of all circuits and the registry are in the same request."""
    with redis.Redis.from_url(redis_url) as client:
        for _ in range(5):
            client.flushall()
            made, reads = await requests_of_a_poll(client, redis_url)
            if made == {"evalsha": 1}:  # else the poll after the subscription came between
                break
        assert made == {"evalsha": 1}
        # Redis reads up to 16 KiB at once.
        assert reads <= 2
        for name in NAMES:
            attempts = client.hget(f"breaker:{{app}}/{name}:circuit", "attempts")
            assert attempts == b"1"


async def test_healthy_events_of_known_dependencies_cost_no_command(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        async with circuits_at(redis_url) as circuits:
            for name in NAMES:
                await used(circuits, name)
            await subscribed(client)
            client.config_resetstat()
            for number in range(1_000):
                circuit = circuits.find(NAMES[number % len(NAMES)])
                assert circuit is not None
                permit = await circuit.try_acquire(Key("k"))
                assert await circuits.use(NAMES[0]) is not None
                circuit.note_success(0.001)
                await circuit.record_successes(1, permit)
            assert requests(client) == {}


async def test_push_has_the_new_state(redis_url: str) -> None:
    """The other instances need no request to learn of an opening."""
    with redis.Redis.from_url(redis_url) as client:
        async with circuits_at(redis_url) as one, circuits_at(redis_url, instance="two") as two:
            bank, mail = await used(one, "bank"), await used(one, "mail")
            await subscribed(client, 2)
            await until(lambda: two.circuits.keys() == {"bank", "mail"})
            await mail.record_failure("f0", "down", Permit(0))  # loads the script
            await one.refresh()
            await two.refresh()
            client.config_resetstat()
            await opened(bank)
            await until(lambda: two.circuits["bank"].circuit.state is CircuitState.OPEN)
            assert requests(client) == {"evalsha": 2}  # the two failures


async def test_keys_of_all_dependencies_are_in_the_slot_of_the_app(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        async with circuits_at(redis_url) as circuits:
            await opened(await used(circuits, "bank"))
        keys = sorted(client.scan_iter())
        assert {"breaker:{app}/names", "breaker:{app}/bank:circuit"} <= set(keys)
        slots = {key_slot(key.encode()) for key in keys}
        assert slots == {key_slot(b"breaker:{app}:circuit")}


async def test_app_and_its_dependency_open_alone(redis_url: str) -> None:
    """Window, generation and history are separate, also with similar names."""
    app = CircuitBreaker(
        RedisCircuitStore(redis_url, "app", timeout_seconds=STORE_SECONDS),
        BreakerSettings(name="app", failure_threshold=2),
    )
    async with circuits_at(redis_url) as circuits, app:
        bank, banks = await used(circuits, "bank"), await used(circuits, "banks")
        await opened(bank)
        await app.record_failure("f0", "down", Permit(0))
        await banks.record_failure("f0", "down", Permit(0))
        assert (await app.refresh()).failures == 1
        assert (await banks.refresh()).failures == 1
        assert [(entry.event, entry.generation) for entry in await bank.history()] == [
            ("opened", 1)
        ]
        assert await app.history() == []
        await app.record_failure("f1", "down", Permit(0))
        assert app.circuit.state is CircuitState.OPEN
        await app.approve(1, "ann")
        assert (await bank.refresh()).state is CircuitState.OPEN


async def test_dropped_name_keeps_its_circuit_for_a_time(redis_url: str) -> None:
    """The next registration keeps the data until further notice."""
    with redis.Redis.from_url(redis_url) as client:
        key = "breaker:{app}/bank:circuit"
        async with circuits_at(redis_url) as circuits:
            await opened(await used(circuits, "bank"))
            assert client.pttl(key) == -1
        async with circuits_at(redis_url) as other:  # which has never used the name
            client.zrem("breaker:{app}/names", "bank")
            await other.refresh()
            assert not other.circuits
            days = client.pttl(key) / 86_400_000
            assert 89 < days <= 90
            bank = await used(other, "bank")
            assert bank.circuit.generation == 1
            assert client.pttl(key) == -1


class PickyPublisher(MemoryPublisher):
    """A publisher that accepts no alert of one circuit."""

    refused = ""
    closed = False

    async def publish(self, alert: Any) -> None:
        if alert.name == self.refused:
            raise OSError("refused")
        await super().publish(alert)

    async def aclose(self) -> None:
        self.closed = True


async def test_alerts_of_dead_instances_are_delivered_for_each_dependency(redis_url: str) -> None:
    """An alert that the topic refuses does not hold back another dependency's."""
    publisher = PickyPublisher()
    publisher.refused = "app/bank"
    async with circuits_at(redis_url, publisher=publisher, instance="two") as circuits:
        async with circuits_at(redis_url) as dead:  # without a publisher, as if it had died
            bank, mail = await used(dead, "bank"), await used(dead, "mail")
            await used(dead, "healthy")
            known = circuits.circuits
            await until(lambda: known.keys() == {"bank", "mail", "healthy"})
            await circuits.refresh()  # ends a poll that would deliver in the background
            await opened(bank)
            await opened(mail)
        await until(lambda: all(known[name].circuit.generation for name in ("bank", "mail")))
        with pytest.raises(AlertDeliveryError, match="app/bank:1:opened"):
            await circuits.deliver_alerts()
        assert [alert.id for alert in publisher.published] == ["app/mail:1:opened"]
        publisher.refused = ""
        assert await circuits.deliver_alerts() == 1
    assert [(alert.data["kind"], alert.data["dependency"]) for alert in publisher.published] == [
        ("dependency", "mail"),
        ("dependency", "bank"),
    ]
    assert not publisher.closed  # the app's circuit still publishes


async def test_circuits_that_never_opened_cost_the_delivery_nothing(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        async with circuits_at(redis_url, publisher=MemoryPublisher()) as circuits:
            for name in NAMES:
                await used(circuits, name)
            await subscribed(client)
            client.config_resetstat()
            assert await circuits.deliver_alerts() == 0
            assert requests(client) == {}


@pytest.mark.parametrize("recovery", ["manual", "automatic"])
async def test_approval_of_a_dependency_makes_only_that_circuit_half_open(
    redis_url: str, recovery: str
) -> None:
    """An automatic circuit can be approved before its break is over; two probes close it."""
    recoveries = {"DEPENDENCY_BANK_RECOVERY": recovery, "DEPENDENCY_BANK_HALF_OPEN_PERMITS": "2"}
    async with (
        circuits_at(redis_url, settings=recoveries) as circuits,
        circuits_at(redis_url, instance="two", settings=recoveries) as others,
    ):
        bank, mail = await used(circuits, "bank"), await used(circuits, "mail")
        await opened(bank)
        await opened(mail)
        assert (bank.circuit.resume_at is None) == (recovery == "manual")
        await until(lambda: "bank" in others.circuits)
        await others.circuits["bank"].approve(1, "ann")
        await until(lambda: bank.circuit.state is CircuitState.HALF_OPEN)
        assert mail.circuit.state is CircuitState.OPEN
        for number in range(2):
            permit = await bank.try_acquire(Key(f"k{number}"))
            assert permit.probe_id is not None
            await bank.record_successes(1, permit)
        assert bank.circuit.state is CircuitState.CLOSED
        assert [entry.event for entry in await bank.history()][:2] == ["closed", "half_opened"]


async def test_mode_observe_of_one_dependency_opens_only_the_others(redis_url: str) -> None:
    async with circuits_at(redis_url, settings={"DEPENDENCY_BANK_MODE": "observe"}) as circuits:
        bank = await used(circuits, "bank")
        for number in range(3):
            await bank.record_failure(f"f{number}", "down", Permit(0))
        assert bank.circuit.state is CircuitState.CLOSED
        assert [entry.event for entry in await bank.history()] == ["would_open"]
        await opened(await used(circuits, "mail"))


async def test_cluster_polls_and_pushes(redis_cluster: str) -> None:
    """With the OSS clustering policy the circuits of an app share one slot."""
    cluster = {"BREAKER_REDIS_CLUSTER": "true"}
    async with (
        circuits_at(redis_cluster, settings=cluster) as one,
        circuits_at(redis_cluster, instance="two", settings=cluster) as two,
    ):
        bank = await used(one, "bank")
        await used(one, "mail")
        await until(lambda: two.circuits.keys() == {"bank", "mail"})
        await opened(bank)
        await until(lambda: two.circuits["bank"].circuit.state is CircuitState.OPEN)
        bank.enter(Key("k"))
        await one.refresh()

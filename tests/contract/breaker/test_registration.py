"""Both stores know which instances poll a circuit, and with which settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pytest

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitState,
    CircuitStore,
    DependencyCircuits,
    DependencySettings,
    DependencyStore,
    Key,
    ManualClock,
    MemoryCircuitStore,
    MemoryDependencyStore,
    Mode,
    Permit,
    Recovery,
    RedisCircuitStore,
    RedisDependencyStore,
    UnknownCircuitError,
)
from breaker.configuration.version import VERSION
from breaker.registration import (
    ALIVE_SECONDS,
    INSTANCE_SECONDS,
    INSTANCES_MOST,
    KEPT_SECONDS,
    REGISTER_SECONDS,
    settings_text,
)
from breaker.stores.redis import connect
from tests.support.patience import STORE_SECONDS

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass
class App:
    """The stores of one app, and breakers on them as instances and tools have them."""

    store: CircuitStore
    depending: DependencyStore
    clock: ManualClock

    def breaker(
        self, instance: str = "one", registers: bool = True, **settings: str
    ) -> CircuitBreaker:
        values = {"BREAKER_NAME": "app"} | settings
        return CircuitBreaker(
            self.store,
            BreakerSettings.from_mapping(values),
            clock=self.clock,
            instance=instance,
            registers=registers,
        )

    def tool(self) -> CircuitBreaker:
        return self.breaker("tool", registers=False, BREAKER_FAILURE_THRESHOLD="77")

    def dependencies(
        self, instance: str = "one", *, judges: bool = True, settings: Mapping[str, str] = _NONE
    ) -> DependencyCircuits:
        values = {"BREAKER_NAME": "app", **settings}
        found = DependencySettings.from_mapping(values, judges=judges)
        return DependencyCircuits(self.depending, found, clock=self.clock, instance=instance)


@pytest.fixture(params=["memory", "redis"])
async def app(
    request: pytest.FixtureRequest, clock: ManualClock, redis_url: str
) -> AsyncIterator[App]:
    now = clock.now_us
    if request.param == "memory":
        yield App(
            MemoryCircuitStore("app", now_us=now), MemoryDependencyStore("app", now_us=now), clock
        )
        return
    client = connect(redis_url, BreakerSettings(store_timeout_seconds=STORE_SECONDS))
    yield App(
        RedisCircuitStore(client, "app", timeout_seconds=STORE_SECONDS, now_us=now),
        RedisDependencyStore(client, "app", timeout_seconds=STORE_SECONDS, now_us=now),
        clock,
    )
    await client.aclose()


async def test_tool_reads_the_settings_of_the_app(app: App) -> None:
    """The tool's own threshold is another one; its poll registers nothing."""
    one = app.breaker(BREAKER_FAILURE_THRESHOLD="3", BREAKER_MODE="observe")
    await one.refresh()
    tool = app.tool()
    await tool.refresh()
    found = await tool.registration()
    assert found is not None
    assert (found.settings.failure_threshold, found.settings.mode) == (3, Mode.OBSERVE)
    assert found.settings == one.settings
    assert found.version == VERSION
    assert [each.name for each in found.instances] == ["one"]
    assert found.last_seen == app.clock.monotonic()


async def test_poll_with_a_report_registers_the_instance(app: App) -> None:
    one = app.breaker()
    one.enter(Key("k"))
    await one.refresh()
    found = await app.tool().registration()
    assert found is not None
    assert [each.name for each in found.alive] == ["one"]


async def test_isolation_by_a_tool_with_other_settings_has_the_kind_of_the_app(app: App) -> None:
    """A console without the settings of the pipelines must not let the isolation stop the app."""
    one = app.breaker(BREAKER_STOPS_APP="false", BREAKER_FAILURE_THRESHOLD="1")
    await one.refresh()
    await one.record_failure("a", "boom", Permit(0))
    tool = app.tool()
    isolated = await tool.isolate("eve", "maintenance", 5)
    assert (isolated.state, isolated.kind) == (CircuitState.ISOLATED, "pipeline")
    app.clock.advance(5)
    opened = await tool.refresh()
    assert (opened.state, opened.generation, opened.kind) == (CircuitState.OPEN, 3, "pipeline")


async def test_tool_says_of_a_closed_circuit_whether_the_app_would_stop(app: App) -> None:
    """The tool uses its own settings until it has read those of the app."""
    await app.breaker(BREAKER_STOPS_APP="false").refresh()
    tool = app.tool()
    own = tool.stops_app
    await tool.registration()
    assert (own, tool.stops_app) == (True, False)
    two = app.breaker("two")
    await two.registration()
    assert two.stops_app  # an instance uses its own settings


async def test_tool_believes_the_opener_about_the_current_opening(app: App) -> None:
    """Settings that were changed after the opening count for the next one."""
    opener = app.breaker(BREAKER_FAILURE_THRESHOLD="1")
    await opener.record_failure("a", "boom", Permit(0))
    await app.breaker(BREAKER_STOPS_APP="false").refresh()
    tool = app.tool()
    await tool.registration()
    await tool.refresh()
    current = tool.stops_app
    await tool.close_circuit(1, "eve")
    assert (current, tool.stops_app) == (True, False)


async def test_circuit_of_a_dependency_never_stops_the_app(app: App) -> None:
    bank = await app.dependencies().use("bank")
    assert bank is not None
    assert not bank.stops_app
    assert (await bank.isolate("eve", "maintenance")).kind == "dependency"
    assert not bank.stops_app


async def test_circuit_that_nobody_registered_is_refused_with_the_known_names(app: App) -> None:
    tool = app.tool()
    await tool.refresh()
    assert await tool.registration() is None
    assert await tool.circuits() == frozenset()
    with pytest.raises(UnknownCircuitError, match=r"circuit 'app' .* known circuits: none"):
        await tool.check_exists()
    await app.breaker().refresh()
    assert await tool.circuits() == {"app"}
    assert await tool.check_exists() == await tool.registration() is not None


async def test_circuit_with_a_state_exists_without_a_registration(app: App) -> None:
    """Instances of an earlier version register nothing."""
    tool = app.tool()
    await tool.isolate("ann", "maintenance")
    assert await tool.check_exists() is None


async def test_instance_that_stopped_is_known_and_not_alive(app: App) -> None:
    await app.breaker("one").refresh()
    app.clock.advance(ALIVE_SECONDS)
    await app.breaker("two").refresh()
    found = await app.tool().registration()
    assert found is not None
    assert [each.name for each in found.alive] == ["two", "one"]
    app.clock.advance(0.000001)
    found = await app.tool().registration()
    assert found is not None
    assert [each.name for each in found.alive] == ["two"]
    assert [each.name for each in found.instances] == ["two", "one"]
    app.clock.advance(KEPT_SECONDS / 2)
    found = await app.tool().registration()
    assert found is not None
    assert (found.alive, found.last_seen) == (
        (),
        app.clock.monotonic() - KEPT_SECONDS / 2 - 0.000001,
    )


async def test_instance_that_polls_seldom_is_alive_until_its_second_poll(app: App) -> None:
    await app.breaker(BREAKER_POLL_SECONDS="60").refresh()
    app.clock.advance(REGISTER_SECONDS + 120)
    found = await app.tool().registration()
    assert found is not None
    assert [each.name for each in found.alive] == ["one"]
    app.clock.advance(0.000001)
    found = await app.tool().registration()
    assert found is not None
    assert found.alive == ()


async def test_settings_that_differ_between_instances_are_named(app: App) -> None:
    await app.breaker("old", BREAKER_FAILURE_THRESHOLD="9").refresh()
    app.clock.advance(ALIVE_SECONDS + 1)
    for name in ("a", "b"):
        await app.breaker(name, BREAKER_FAILURE_THRESHOLD="5").refresh()
    await app.breaker("c", BREAKER_FAILURE_THRESHOLD="3").refresh()
    found = await app.tool().registration()
    assert found is not None
    differing = {
        name: {text: set(names) for text, names in texts.items()}
        for name, texts in found.differences.items()
    }
    assert differing == {"failure_threshold": {"5": {"a", "b"}, "3": {"c"}}}


async def test_poll_notes_an_instance_again_when_due_or_changed(app: App) -> None:
    """A poll in between writes nothing, so that polls do not fill a log of writes."""
    first = app.clock.monotonic()
    await app.breaker().refresh()
    app.clock.advance(REGISTER_SECONDS - 0.000001)
    await app.breaker().refresh()
    found = await app.tool().registration()
    assert found is not None
    assert found.last_seen == first
    await app.breaker(BREAKER_FAILURE_THRESHOLD="5").refresh()
    found = await app.tool().registration()
    assert found is not None
    assert (found.last_seen, found.settings.failure_threshold) == (app.clock.monotonic(), 5)
    app.clock.advance(REGISTER_SECONDS)
    await app.breaker(BREAKER_FAILURE_THRESHOLD="5").refresh()
    found = await app.tool().registration()
    assert found is not None
    assert found.last_seen == app.clock.monotonic()


async def test_poll_after_the_clock_was_set_back_is_noted(app: App) -> None:
    await app.breaker().refresh()
    app.clock.advance(-3600)
    await app.breaker().refresh()
    found = await app.tool().registration()
    assert found is not None
    assert found.last_seen == app.clock.monotonic()


async def test_old_instances_are_removed(app: App) -> None:
    await app.breaker("one").refresh()
    app.clock.advance(INSTANCE_SECONDS)
    await app.breaker("two").refresh()
    found = await app.tool().registration()
    assert found is not None
    assert [each.name for each in found.instances] == ["two", "one"]
    app.clock.advance(REGISTER_SECONDS)
    await app.breaker("two").refresh()
    found = await app.tool().registration()
    assert found is not None
    assert [each.name for each in found.instances] == ["two"]


async def test_number_of_instances_has_a_limit(app: App) -> None:
    settings = BreakerSettings(name="app")
    text = settings_text(settings)
    for number in range(INSTANCES_MOST + 2):
        await app.store.snapshot(settings.rules(f"{number:04}", registration=text))
        app.clock.advance(0.000001)
    found = await app.tool().registration()
    assert found is not None
    assert len(found.instances) == INSTANCES_MOST
    assert found.instances[-1].name == "0002"


async def test_settings_of_a_dependency_are_those_of_the_app(app: App) -> None:
    """The dependency's own settings and those that it inherits; the tool has neither."""
    values = {"BREAKER_FAILURE_THRESHOLD": "9", "DEPENDENCY_MY_BANK_WINDOW_SECONDS": "7"}
    ours, theirs = app.dependencies(settings=values), app.dependencies("tool", judges=False)
    bank = await ours.use("my-bank")
    await ours.refresh()
    await theirs.refresh()
    assert bank is not None
    found = await theirs.circuits["my-bank"].registration()
    assert found is not None
    assert found.circuit == "app/my-bank"
    assert found.settings == bank.settings
    assert (found.settings.failure_threshold, found.settings.window_seconds) == (9, 7)
    assert found.settings.recovery is Recovery.AUTOMATIC
    assert [each.name for each in found.instances] == ["one"]
    assert await app.tool().registration() is None  # no instance polls the app's own circuit


async def test_settings_of_another_version_are_read_as_far_as_they_are_known(app: App) -> None:
    """A newer version may have further settings, and other bounds."""
    text = (
        '{"version":"9.0","settings":{"failure_threshold":4,"window_seconds":-1,"colour":"red"},'
        '"overrides":{"BANK":{"failure_threshold":2,"mode":"shadow"},"X":3},"later":[]}'
    )
    rules = BreakerSettings(name="app").rules("new", registration=text)
    await app.store.snapshot(rules)
    found = await app.tool().registration()
    assert found is not None
    assert (found.version, found.settings) == (
        "9.0",
        BreakerSettings(name="app", failure_threshold=4),
    )
    for odd in ("", "[", "[1]", '{"settings":3}'):
        rules = BreakerSettings(name="app").rules("odd", registration=odd or " ")
        await app.store.snapshot(rules)
        assert await app.tool().registration() is not None

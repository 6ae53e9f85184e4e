"""The settings of a run with faults, with a plan drawn from the seed."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any

from loadtest.errors import UsageError
from loadtest.plan.chaos import ChaosPlan, draw
from loadtest.plan.crashes import draw_blocked_loop, draw_crash_loop, handler_of
from loadtest.plan.few_keys import draw_dead_key, draw_trickle
from loadtest.plan.hub_ends import draw_clock_back, draw_expired, draw_recreated_hub
from loadtest.plan.lists import draw_lists, list_settings
from loadtest.plan.partial_outage import draw_partial
from loadtest.plan.redis_failover import (
    draw_muted,
    draw_no_replicas,
    draw_readonly_failover,
    has_short_grace,
)
from loadtest.plan.settings import WITH_REPLICA, Scenario, Settings
from loadtest.plan.two_dependencies import (
    BREAK_SECONDS,
    SHORT_BREAK_SECONDS,
    draw_two_dependencies,
)
from loadtest.plan.two_pipelines import draw_two_pipelines, pipeline_settings
from loadtest.plan.workload import SEED_FAULT_EVERY

EVENTS = 20_000
_FIGURES: dict[str, Any] = {
    "rate_per_second": 1000.0,  # slow enough that the faults happen during sending
    "approve_after_seconds": 1.0,
    "lease_seconds": 5.0,  # the partition leases of a killed host expire quickly
    "timeout_seconds": 240.0,
}
_SHORT_LEASE = {
    # A key whose replay was killed comes back before the run stops waiting. A lease also outlasts
    # the watchdog's time and one and a half handler timeouts.
    "PROCESSING_REPLAY_LEASE_SECONDS": "10",
    "PROCESSING_HANDLER_TIMEOUT_SECONDS": "3",  # hanging handlers time out, too
    "PROCESSING_WATCHDOG_SECONDS": "5",
}
_APP_SETTINGS = _SHORT_LEASE | {
    # So that a short outage opens the circuit. An event counts once, and if too few lanes are
    # active, the standstill rule opens the circuit, after ten windows at most.
    "BREAKER_FAILURE_THRESHOLD": "10",
    "BREAKER_WINDOW_SECONDS": "2",
    "PROCESSING_RETRY_INITIAL_SECONDS": "0.02",
    "PROCESSING_DEPENDENCY_PAUSE_SECONDS": "0.3",
}


_TRICKLE_APP_SETTINGS = _SHORT_LEASE | {
    "BREAKER_WINDOW_SECONDS": "10",  # so that the standstill rule opens soon
}
_DEAD_KEY_APP_SETTINGS = _APP_SETTINGS | {
    # All keys open the circuit, also on few partitions; the dead key alone does not.
    "BREAKER_FAILURE_THRESHOLD": "2",
    "BREAKER_WINDOW_SECONDS": "10",
}
_PARTIAL_APP_SETTINGS = _SHORT_LEASE | {
    # So that keys are deferred and come back within the run, but fail in fewer than ten replays,
    # after which an event is poisoned.
    "PROCESSING_DEFER_AFTER_SECONDS": "2",
    "PROCESSING_DEFER_MAX_SECONDS": "8",
}
_TWO_DEPENDENCIES_APP_SETTINGS = _SHORT_LEASE | {
    # The circuits of app and bank open at the same number of failures; only the bank's may.
    "BREAKER_FAILURE_THRESHOLD": "10",
    "BREAKER_WINDOW_SECONDS": "10",
    "BREAKER_RAMP_SECONDS": "2",
    "PROCESSING_DEFER_AFTER_SECONDS": "2",
    "PROCESSING_RETRY_INITIAL_SECONDS": "0.1",
}
_TWO_PIPELINES_APP_SETTINGS = _SHORT_LEASE | {
    # Only the standstill rule opens, after seconds without a success, so that a Redis that restarts
    # opens no circuit. Until then, no key is deferred. Attempts in flight end within seconds.
    "BREAKER_FAILURE_THRESHOLD": "1000",
    "BREAKER_WINDOW_SECONDS": "5",
    "BREAKER_COUNT_POISON": "false",
    "PROCESSING_DEFER_AFTER_SECONDS": "30",
    "PROCESSING_RETRY_INITIAL_SECONDS": "0.2",
}
_CRASHES_APP_SETTINGS = _SHORT_LEASE | {
    "BREAKER_STORE_TIMEOUT_SECONDS": "1",  # a blocked loop reads each answer later than this
}
_HUB_ENDS_FIGURES: dict[str, Any] = {
    "events": 3_000,
    "rate_per_second": 300.0,
    "events_per_batch": 10,
    # Nothing is handled until health has named what happened, and the operator has acted.
    "stall_seconds": 180.0,
    "timeout_seconds": 420.0,
}
_EXPIRED_APP_SETTINGS = _SHORT_LEASE | {
    # An app that holds has received few events, so that most of them expire unread.
    "AzureFunctionsJobHost__extensions__eventHubs__prefetchCount": "10",
    "AzureFunctionsJobHost__extensions__eventHubs__maxEventBatchSize": "10",
}
_REPLICA_FIGURES: dict[str, Any] = {
    "events": 3_000,
    "rate_per_second": 150.0,
    "events_per_batch": 5,
}
_REPLICA_APP_SETTINGS = _SHORT_LEASE | {"PROCESSING_PARKING_REPLICAS": "1"}
_OTHER_SEED = 1_000_000
_SHORT_GRACE_SECONDS = "3"
_SLOW_STREAMS: dict[Scenario, dict[str, Any]] = {
    Scenario.TRICKLE_OUTAGE: {"events": 400, "rate_per_second": 10.0, "events_per_batch": 1},
    Scenario.DEAD_KEY: {"events": 1_200, "rate_per_second": 40.0, "events_per_batch": 1},
    Scenario.PARTIAL_OUTAGE: {"events": 4_000, "rate_per_second": 80.0, "events_per_batch": 1},
    Scenario.TWO_DEPENDENCIES: {"events": 3_600, "rate_per_second": 80.0, "events_per_batch": 1},
    Scenario.TWO_PIPELINES: {
        **{"events": 3_000, "rate_per_second": 120.0, "events_per_batch": 2},
        # The operator waits until the other pipeline has shown that it runs.
        **{"stall_seconds": 120.0, "timeout_seconds": 360.0},
    },
    Scenario.LISTS: {"events": 6_000, "rate_per_second": 400.0, "events_per_batch": 5},
    Scenario.CRASH_LOOP: {"events": 1_500, "rate_per_second": 60.0, "events_per_batch": 1},
    Scenario.BLOCKED_LOOP: {"events": 1_500, "rate_per_second": 60.0, "events_per_batch": 1},
    Scenario.RECREATED_HUB: _HUB_ENDS_FIGURES,
    Scenario.EXPIRED: _HUB_ENDS_FIGURES,
    Scenario.CLOCK_BACK: _HUB_ENDS_FIGURES,
    **dict.fromkeys(WITH_REPLICA, _REPLICA_FIGURES),
}
"""The streams that are slower than their faults, in which batches are small.

The outage of few keys begins after 12 s or more, because an instance notes a success once a second,
and the standstill rule waits longer while it knows fewer than ten gaps between successes.
"""
_DRAWS = {
    Scenario.TRICKLE_OUTAGE: draw_trickle,
    Scenario.DEAD_KEY: draw_dead_key,
    Scenario.PARTIAL_OUTAGE: draw_partial,
    Scenario.TWO_DEPENDENCIES: draw_two_dependencies,
    Scenario.CRASH_LOOP: draw_crash_loop,
    Scenario.BLOCKED_LOOP: draw_blocked_loop,
    Scenario.RECREATED_HUB: draw_recreated_hub,
    Scenario.EXPIRED: draw_expired,
    Scenario.CLOCK_BACK: draw_clock_back,
    Scenario.READONLY_FAILOVER: draw_readonly_failover,
    Scenario.NO_REPLICAS: draw_no_replicas,
    Scenario.MUTED: draw_muted,
    Scenario.TWO_PIPELINES: draw_two_pipelines,
    Scenario.LISTS: draw_lists,
}

_SEED_APP_SETTINGS = {"BREAKER_FAILURE_THRESHOLD": "12", "BREAKER_WINDOW_SECONDS": "30"}
"""The `seed` scenario has one failing event in a hundred, and few events here."""
_OUTAGE_AFTER = 0.4
"""Share of the events that are handled before a scenario's own outage begins."""
_EARLY_OUTAGE_AFTER = {Scenario.PARTIAL_OUTAGE: 0.2, Scenario.TWO_DEPENDENCIES: 0.15}
"""The same share in scenarios whose outage ends before the last events are sent."""


def chaos_settings(chosen: dict[str, Any]) -> Settings:
    """Return the settings of a run with faults, with `chosen` before drawn and default values.

    Without a chosen scenario the plan draws the workload as well (`--scenario chaos`). Any other
    scenario keeps its own workload, and the plan adds its faults, partitions, hosts and keys.

    Raises:
        UsageError: see `Settings`.
    """
    chosen = dict(chosen)
    down_seconds = chosen.pop("down_seconds", None)
    scenario = chosen.get("scenario", Scenario.CHAOS)
    figures = _FIGURES | {"events": EVENTS} | _SLOW_STREAMS.get(scenario, {})
    events = chosen.get("events", figures["events"])
    plan = _DRAWS.get(scenario, draw)(chosen.get("seed", 0), events)
    if down_seconds is not None:
        if not plan.down_seconds or not down_seconds > 0:
            raise UsageError(
                f"--down {down_seconds:g} is not accepted; it takes seconds above 0, with a "
                "scenario whose outage ends by itself"
            )
        plan = dataclasses.replace(plan, down_seconds=down_seconds)
    shape = {name: chosen.get(name, getattr(plan, name)) for name in ("partitions", "instances")}
    shape["keys"] = chosen.get("keys", min(plan.keys, _most_keys(scenario, events)))
    return Settings(
        **{
            **figures,
            "outage_after": int(events * _outage_share(scenario)),
            **chosen,
            **shape,
            "events": events,
            "scenario": scenario,
            "chaos": dataclasses.replace(plan, **shape, down=_within(plan.down, shape["keys"])),
            "app_settings": MappingProxyType(
                {**default_app_settings(scenario, plan), **chosen.get("app_settings", {})}
            ),
        }
    )


def default_app_settings(scenario: Scenario, plan: ChaosPlan) -> dict[str, str]:
    """Return the app settings of a run with faults, for which no others were chosen."""
    match scenario:
        case Scenario.SEED:
            return _APP_SETTINGS | _SEED_APP_SETTINGS
        case Scenario.TRICKLE_OUTAGE:
            return _TRICKLE_APP_SETTINGS
        case Scenario.DEAD_KEY:
            return _DEAD_KEY_APP_SETTINGS
        case Scenario.PARTIAL_OUTAGE:
            return _PARTIAL_APP_SETTINGS | _ordering(plan)
        case Scenario.TWO_DEPENDENCIES:
            seconds = SHORT_BREAK_SECONDS if plan.probes_fail else BREAK_SECONDS
            breaks = dict.fromkeys(("BREAKER_BREAK_SECONDS", "BREAKER_BREAK_SECONDS_MAX"), seconds)
            return _TWO_DEPENDENCIES_APP_SETTINGS | {
                name: f"{value:g}" for name, value in breaks.items()
            }
        case Scenario.TWO_PIPELINES:
            return _TWO_PIPELINES_APP_SETTINGS | pipeline_settings(plan)
        case Scenario.LISTS:
            return _APP_SETTINGS | list_settings(plan) | _ordering(plan)
        case Scenario.CRASH_LOOP | Scenario.BLOCKED_LOOP:
            return _CRASHES_APP_SETTINGS | {"EVENT_HANDLER": handler_of(plan)}
        case Scenario.RECREATED_HUB | Scenario.CLOCK_BACK:
            return _SHORT_LEASE
        case Scenario.EXPIRED:
            return _EXPIRED_APP_SETTINGS
        case Scenario.READONLY_FAILOVER | Scenario.NO_REPLICAS | Scenario.MUTED:
            found = _REPLICA_APP_SETTINGS | _ordering(plan)
            if scenario is Scenario.NO_REPLICAS and has_short_grace(plan.seed):
                found["BREAKER_STORE_GRACE_SECONDS"] = _SHORT_GRACE_SECONDS
            return found
        case _:
            return _APP_SETTINGS


def settings_of(settings: Settings, pipeline: str) -> Settings:
    """Return the settings of a run with several pipelines as one of them has them.

    The pipelines have the same keys and counters, but other poison events.
    """
    plan = settings.chaos
    assert plan is not None  # noqa: S101 - a run with several pipelines has a plan
    if pipeline == plan.hit:
        return dataclasses.replace(settings, pipeline=pipeline)
    return dataclasses.replace(
        settings,
        pipeline=pipeline,
        seed=settings.seed + _OTHER_SEED,
        chaos=dataclasses.replace(plan, parks=plan.other_parks),
    )


def _ordering(plan: ChaosPlan) -> dict[str, str]:
    return {"PROCESSING_POISON_ORDERING": "park"} if plan.parks else {}


def most_events(scenario: Scenario, events: int) -> int:
    """Return how many of the events of a sweep's run go to a scenario, whose stream may be slow."""
    slow = _SLOW_STREAMS.get(scenario)
    return events if slow is None else min(events, int(slow["events"]))


def _within(indices: tuple[int, ...], keys: int) -> tuple[int, ...]:
    """Return the indices of existing keys, at least one if the plan has one."""
    return tuple(index for index in indices if index < keys) or (indices and (0,))


def _outage_share(scenario: Scenario) -> float:
    return _EARLY_OUTAGE_AFTER.get(scenario, _OUTAGE_AFTER)


def _most_keys(scenario: Scenario, events: int) -> int:
    """Return how many keys still give each key of the `seed` scenario two failing events."""
    if scenario is Scenario.SEED:
        return max(1, events // (2 * SEED_FAULT_EVERY))
    return events

"""Settings of a chaos run: the plan drawn from its seed, and figures small enough for many runs."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any

from loadtest.plan.chaos import draw
from loadtest.plan.settings import Scenario, Settings

EVENTS = 20_000
_FIGURES: dict[str, Any] = {
    "rate_per_second": 1000.0,  # sending lasts as long as the faults are to fall into it
    "approve_after_seconds": 1.0,
    "lease_seconds": 5.0,  # a killed host's partitions are taken over after it
    "timeout_seconds": 240.0,
}
_APP_SETTINGS = {
    "BREAKER_FAILURE_THRESHOLD": "25",  # so that an outage of some seconds opens the circuit
    # Quick enough that one lane alone opens it, should an outage find no more at work.
    "PROCESSING_RETRY_INITIAL_SECONDS": "0.02",
    "PROCESSING_DEPENDENCY_PAUSE_SECONDS": "0.3",
    "PROCESSING_HANDLER_TIMEOUT_SECONDS": "3",  # cuts off what hangs
}


def chaos_settings(chosen: dict[str, Any]) -> Settings:
    """Settings for `--scenario chaos`: `chosen` where it says something, else drawn.

    Raises:
        UsageError: as `Settings`.
    """
    events = chosen.get("events", EVENTS)
    plan = draw(chosen.get("seed", 0), events)
    shape = {name: chosen.get(name, getattr(plan, name)) for name in ("partitions", "instances")}
    shape["keys"] = chosen.get("keys", min(plan.keys, events))
    return Settings(
        **{
            **_FIGURES,
            **chosen,
            **shape,
            "events": events,
            "scenario": Scenario.CHAOS,
            "chaos": dataclasses.replace(plan, **shape),
            "app_settings": MappingProxyType({**_APP_SETTINGS, **chosen.get("app_settings", {})}),
        }
    )

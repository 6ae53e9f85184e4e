"""The console over the Redis and the services that the settings describe."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

from starlette.applications import Starlette

from console.app import create_app
from console.backplane.keys import QUEUE
from console.backplane.redis_coordination import RedisCoordination
from console.backplane.redis_stream import RedisBackplane
from console.reader.vitals import RedisVitals
from console.settings import ConsoleSettings
from processing.circuit_wiring import CircuitWiring
from processing.settings import ProcessingSettings
from processing.site.watch import SiteWatch


def compose(values: Mapping[str, str], settings: ConsoleSettings) -> Starlette:
    """Return the console over Redis that the settings describe; the console connects on first use.

    Raises:
        SettingsError: a setting of the circuit is missing or invalid, or one of the function app's
            settings is invalid. Without the settings of hub and storage the console shows the
            circuit alone.
    """
    ProcessingSettings.from_mapping(values)  # for redrives
    opened = AsyncExitStack()
    wiring = CircuitWiring(values, opened)
    publisher = wiring.publisher()
    breaker, dependencies = wiring.new_breaker(publisher), wiring.new_dependencies(publisher)
    client, seconds, app = wiring.redis, wiring.breaking.store_timeout_seconds, wiring.app
    queue_coordination = None
    if wiring.queue_digest:
        queue_coordination = RedisCoordination(
            client, QUEUE, app=wiring.queue_digest, timeout_seconds=seconds
        )
    return create_app(
        breaker,
        settings,
        dependencies=dependencies,
        coordination=RedisCoordination(client, breaker.name, app=app, timeout_seconds=seconds),
        backplane=RedisBackplane(client, breaker.name, app=app, timeout_seconds=seconds),
        queue_coordination=queue_coordination,
        vitals=RedisVitals(client, breaker.name, app),
        watch=SiteWatch(breaker, wiring.site(), wiring.vitals()),
        app_settings=values,
        close=opened.aclose,
    )

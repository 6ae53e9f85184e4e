"""The console over the Redis and the services that the settings describe."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

from starlette.applications import Starlette

from breaker.configuration.pipelines import DECLARES, Pipeline, pipelines_of
from console.app import create_console
from console.backplane.keys import QUEUE
from console.backplane.redis_coordination import RedisCoordination
from console.backplane.redis_stream import RedisBackplane
from console.pipelines.parts import PipelineParts
from console.reader.vitals import RedisVitals
from console.settings import ConsoleSettings
from processing.circuit_wiring import CircuitWiring
from processing.settings import ProcessingSettings
from processing.site.client import Site
from processing.site.watch import SiteWatch, held_by


def compose(values: Mapping[str, str], settings: ConsoleSettings) -> Starlette:
    """Return the console over Redis that the settings describe; the console connects on first use.

    Raises:
        PipelineError: the settings of the pipelines do not fit.
        SettingsError: a setting of the circuit is missing or invalid, or one of the function app's
            settings is invalid. Without the settings of hub and storage the console shows the
            circuit alone.
    """
    pipelines = pipelines_of(values)
    opened = AsyncExitStack()
    wirings: list[CircuitWiring] = []
    for each in pipelines:
        with each.explaining():
            ProcessingSettings.from_mapping(each.settings)  # for redrives
        redis = wirings[0].redis if wirings else None
        wirings.append(CircuitWiring(each.settings, opened, redis=redis))
    site = wirings[0].site()  # there is one function app
    parts = []
    for pipeline, wiring in zip(pipelines, wirings, strict=True):
        with pipeline.explaining():
            parts.append(_parts(pipeline, wiring, site))
    shared = shared_coordination(values, opened, wirings[0]) if pipelines[0].declared else None
    return create_console(parts, settings, coordination=shared, close=opened.aclose)


def _parts(pipeline: Pipeline, wiring: CircuitWiring, site: Site | None) -> PipelineParts:
    publisher = wiring.publisher()
    breaker, dependencies = wiring.new_breaker(publisher), wiring.new_dependencies(publisher)
    client, seconds, app = wiring.redis, wiring.breaking.store_timeout_seconds, wiring.app
    queue_coordination = None
    if wiring.queue_digest:
        queue_coordination = RedisCoordination(
            client, QUEUE, app=wiring.queue_digest, timeout_seconds=seconds
        )
    return PipelineParts(
        breaker=breaker,
        name=pipeline.name,
        declared=pipeline.declared,
        dependencies=dependencies,
        coordination=RedisCoordination(client, breaker.name, app=app, timeout_seconds=seconds),
        queue_coordination=queue_coordination,
        backplane=RedisBackplane(client, breaker.name, app=app, timeout_seconds=seconds),
        vitals=RedisVitals(client, breaker.name, app),
        watch=SiteWatch(breaker, site, wiring.vitals(), held=held_by(pipeline.settings)),
        app_settings=pipeline.settings,
    )


def shared_coordination(
    values: Mapping[str, str], opened: AsyncExitStack, wiring: CircuitWiring
) -> RedisCoordination:
    """Return the coordination that all pipelines share, under the keys of an app without any.

    So a session that ended before the app had pipelines stays ended. If only pipelines name a hub,
    the keys have the identity of the first pipeline, because other apps may have the same Redis
    and the same BREAKER_NAME.

    Args:
        values: the app settings.
        opened: closes what the coordination opens.
        wiring: the wiring of the first pipeline.
    """
    plain = CircuitWiring(
        {name: value for name, value in values.items() if name.upper() != DECLARES}, opened
    )
    return RedisCoordination(
        wiring.redis,
        plain.breaking.name,
        app=plain.app or wiring.app,
        timeout_seconds=wiring.breaking.store_timeout_seconds,
    )

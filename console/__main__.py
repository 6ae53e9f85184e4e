"""Command that serves the console.

`python -m console [--host 127.0.0.1] [--port 7090] [--settings FILE]` reads CONSOLE_*, REDIS_URL,
BREAKER_* and EVENT_GRID_TOPIC_* from the environment, or from the "Values" of a
`local.settings.json`.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.local_settings import read_settings
from console.app import create_app
from console.backplane.keys import QUEUE
from console.backplane.redis_coordination import RedisCoordination
from console.backplane.redis_stream import RedisBackplane
from console.reader.vitals import RedisVitals
from console.server import configure
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


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m console",
        description="Serve the operator console: the page and its HTTP API.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument("--port", type=int, default=7090, help="port to listen on (default: 7090)")
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="read the settings from this local.settings.json instead of the environment",
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for library in ("azure", "httpx"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        values = read_settings(arguments.settings)
        settings = ConsoleSettings.from_mapping(values)
        app = compose(values, settings)
    except ConfigurationError as error:
        print(f"console: {error}", file=sys.stderr)
        return 2
    server = uvicorn.Server(configure(app, settings, host=arguments.host, port=arguments.port))
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())

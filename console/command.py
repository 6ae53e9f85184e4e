"""The command `console`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from breaker.configuration import npm
from breaker.configuration.command_line import DONE, EXIT_CODES, FAILED, settings_option
from breaker.configuration.local_settings import read_settings
from console.settings import ConsoleSettings


@click.command("console", epilog=EXIT_CODES)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=7090,
    show_default=True,
    metavar="PORT",
    help="Port to listen on.",
)
@click.option(
    "--app",
    type=click.Path(exists=True, file_okay=False, resolve_path=True),
    metavar="DIR",
    help="Folder of the app whose handler a redrive calls.  [default: the current folder]",
)
@settings_option
def console(*, host: str, port: int, app: str | None, settings: Path | None) -> int:
    """Serve the operator console: the page and its HTTP API.

    The settings are CONSOLE_*, REDIS_URL, BREAKER_* and EVENT_GRID_TOPIC_*.
    """
    # Loaded here, because the SDKs are slow to load and the help needs none of them.
    import uvicorn  # noqa: PLC0415

    from console.composition import compose  # noqa: PLC0415
    from console.server import configure  # noqa: PLC0415

    if app is not None and app not in sys.path:
        sys.path.append(app)  # last, so that it hides no installed package
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for library in ("azure", "httpx"):
        logging.getLogger(library).setLevel(logging.WARNING)
    values = read_settings(settings)
    own = ConsoleSettings.from_mapping(values)
    composed = compose(values, own)
    try:
        npm.install(npm.UPLOT)
    except npm.NpmError as error:
        logging.getLogger("console").warning("The page shows no plots: %s", error)
    server = uvicorn.Server(configure(composed, own, host=host, port=port))
    server.run()
    return DONE if server.started else FAILED

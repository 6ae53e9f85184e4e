"""Run one host instance: `python -m local.functions_host --app DIR`."""

from __future__ import annotations

import breaker.configuration.interrupts  # noqa: F401 - first, so that Ctrl-C is quiet

# isort: split
import asyncio
import logging
import os
import sys
from pathlib import Path

import click

from breaker.configuration.command_line import run
from breaker.configuration.errors import ConfigurationError
from local.functions_host.errors import AppLoadError, HostError
from local.functions_host.logs import configure_logging
from local.functions_host.options import port_number, shared_options
from local.functions_host.site.instance import Instance, InstanceOptions
from local.functions_host.triggers.event_hubs.balancing import Balancing
from local.functions_host.triggers.event_hubs.extension import Extension
from local.lifeline import LifelineError


@click.command(help=__doc__)
@click.option("--app", type=Path, default=Path(), help="Folder with function_app.py.")
@click.option(
    "--settings",
    type=Path,
    help="A local.settings.json; environment variables replace its values.",
)
@click.option(
    "--hosts", type=Path, help="Folder for the file <pid>.json that announces this instance."
)
@click.option("--port", type=port_number, default="7071", help="HTTP port (0: any free port).")
@click.option("--index", type=int, default=0, help="Number of this instance (from 0).")
@click.option("--label", default="", help="Text at the start of each log line.")
@shared_options
def main(
    *,
    app: Path,
    settings: Path | None,
    hosts: Path | None,
    port: int,
    index: int,
    label: str,
    lifeline: bool,
    verbose: bool,
    grace: float,
    balance_interval: float,
    lease: float,
    event_hubs_extension: Extension,
) -> int:
    """Run one instance until it is stopped; return the exit code."""
    configure_logging(label, verbose=verbose)
    options = InstanceOptions(
        app=app,
        settings=settings,
        hosts=hosts,
        port=port,
        index=index,
        grace=grace,
        balancing=Balancing(balance_interval, lease),
        event_hubs_extension=event_hubs_extension,
        lifeline=lifeline,
    )
    try:
        return asyncio.run(Instance(options).run())
    except AppLoadError as error:
        logging.getLogger("Host.Startup").error("%s\n%s", error, error.details.rstrip())  # noqa: TRY400
    except (HostError, ConfigurationError, LifelineError) as error:
        logging.getLogger("Host.Startup").error("%s", error)  # noqa: TRY400 - the message says it
    return 1


if __name__ == "__main__":
    code = run(main, prog="python -m local.functions_host")
    sys.stdout.flush()
    # sys.exit() would wait for functions that still run in threads; a stopped host does not wait.
    os._exit(code)

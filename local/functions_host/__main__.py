"""Run one host instance: `python -m local.functions_host --app DIR`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from breaker.configuration.errors import ConfigurationError
from local.functions_host.errors import AppLoadError, HostError
from local.functions_host.logs import configure_logging
from local.functions_host.options import (
    add_balancing,
    add_extension,
    add_grace,
    balancing_from,
)
from local.functions_host.site.instance import Instance, InstanceOptions
from local.lifeline import LifelineError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one instance until it is stopped; return the exit code."""
    args = _parser().parse_args(arguments)
    configure_logging(args.label, verbose=args.verbose)
    options = InstanceOptions(
        app=args.app,
        settings=args.settings,
        hosts=args.hosts,
        port=args.port,
        index=args.index,
        grace=args.grace,
        balancing=balancing_from(args),
        event_hubs_extension=args.event_hubs_extension,
        lifeline=args.lifeline,
    )
    try:
        return asyncio.run(Instance(options).run())
    except AppLoadError as error:
        logging.getLogger("Host.Startup").error("%s\n%s", error, error.details.rstrip())  # noqa: TRY400
    except (HostError, ConfigurationError, LifelineError) as error:
        logging.getLogger("Host.Startup").error("%s", error)  # noqa: TRY400 - the message says it
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.functions_host", description=__doc__)
    parser.add_argument("--app", type=Path, default=Path(), help="folder with function_app.py")
    parser.add_argument(
        "--settings",
        type=Path,
        help="a local.settings.json; environment variables replace its values",
    )
    parser.add_argument(
        "--hosts", type=Path, help="folder for the file <pid>.json that announces this instance"
    )
    parser.add_argument("--port", type=int, default=7071, help="HTTP port (0: any free port)")
    parser.add_argument("--index", type=int, default=0, help="number of this instance (from 0)")
    parser.add_argument("--label", default="", help="text at the start of each log line")
    parser.add_argument(
        "--lifeline", action="store_true", help="stop when standard input is closed"
    )
    parser.add_argument("--verbose", action="store_true", help="log every batch")
    add_grace(parser)
    add_balancing(parser)
    add_extension(parser)
    return parser


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # sys.exit() would wait for functions that still run in threads; a stopped host does not wait.
    os._exit(code)

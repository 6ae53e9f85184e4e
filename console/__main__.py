"""Serve the console: `python -m console [--host 127.0.0.1] [--port 7090] [--settings FILE]`.

Reads CONSOLE_*, REDIS_URL, BREAKER_* and EVENT_GRID_TOPIC_* from the environment, or from the
"Values" of a `local.settings.json`.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from breaker import SettingsError
from breaker.__main__ import build
from breaker.settings_file import read_settings
from console.app import create_app
from console.settings import ConsoleSettings, ConsoleSettingsError


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m console", description="Serve the operator console."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (loopback)")
    parser.add_argument("--port", type=int, default=7090, help="port to bind (7090)")
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="a local.settings.json to read instead of the environment",
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for chatty in ("azure", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        values = read_settings(arguments.settings)
        app = create_app(build(values), ConsoleSettings.from_mapping(values))
    except (SettingsError, ConsoleSettingsError) as error:
        print(f"console: {error}", file=sys.stderr)
        return 2
    uvicorn.run(
        app, host=arguments.host, port=arguments.port, log_config=None, timeout_graceful_shutdown=5
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The command line of the Event Hubs endpoint (`python -m local.event_hubs`)."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import resource
import signal
import ssl
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from local.event_hubs.config import ConfigError, NamespaceConfig
from local.event_hubs.hub.retention import Retention
from local.event_hubs.server import EventHubsServer

KEY_VARIABLE = "EVENT_HUBS_KEY"
MAX_FILES = 8192


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m local.event_hubs",
        description="Run an Event Hubs endpoint (AMQP 1.0) on loopback.",
    )
    defaults = Retention()
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=5672,
        help="AMQP port; 0 picks a free port (default: %(default)s)",
    )
    parser.add_argument(
        "--control-port",
        type=int,
        help="HTTP port for health, hubs and faults (default: no control port)",
    )
    parser.add_argument(
        "--config",
        type=Path,
        help="file that lists the event hubs, in the format of the official emulator's config.json",
    )
    parser.add_argument("--hub", help="serve one event hub of this name (instead of --config)")
    parser.add_argument(
        "--partitions", type=int, default=4, help="partitions of --hub (default: %(default)s)"
    )
    parser.add_argument(
        "--create",
        type=int,
        default=0,
        metavar="PARTITIONS",
        help="create a missing event hub with this number of partitions when a client first uses "
        "the hub, and create missing consumer groups (default: a client that uses a missing hub "
        "or group gets a not-found error)",
    )
    parser.add_argument(
        "--retention-count",
        type=int,
        default=defaults.max_events,
        metavar="N",
        help="number of events kept per event hub (default: %(default)s)",
    )
    parser.add_argument(
        "--retention-bytes",
        type=int,
        default=defaults.max_bytes,
        metavar="N",
        help="number of bytes kept per event hub (default: %(default)s)",
    )
    parser.add_argument(
        "--retention-seconds",
        type=float,
        default=defaults.max_age_seconds,
        metavar="S",
        help="maximum age of events in seconds (default: %(default)s)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="directory that keeps hubs and events for the next start (default: kept in memory "
        "only)",
    )
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="accept only tokens that are signed with this shared access key; may be repeated; the "
        f"{KEY_VARIABLE} environment variable adds one key that other users of the machine cannot "
        "read in the process list (default: accept every token)",
    )
    parser.add_argument(
        "--tls",
        type=Path,
        metavar="PEM",
        help="serve TLS with the certificate and private key in this file (default: no TLS)",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="log refused links and closed connections"
    )
    return parser.parse_args(arguments)


def build_server(arguments: argparse.Namespace, environment: Mapping[str, str]) -> EventHubsServer:
    """Build the endpoint that the command line asks for.

    Raises:
        ValueError: the configuration or an argument is invalid.
    """
    given = [name for name in ("config", "hub") if getattr(arguments, name) is not None]
    if len(given) > 1 or not (given or arguments.create):
        raise ConfigError("give either --config or --hub; only --create makes both optional")
    keys: dict[str, str] = {}
    for item in (*arguments.key, *filter(None, [environment.get(KEY_VARIABLE)])):
        name, found, value = item.partition("=")
        if not (name and found and value):
            raise ValueError(f"--key and {KEY_VARIABLE} must have the form NAME=VALUE")
        keys[name] = value
    return EventHubsServer(
        replace(_hubs(arguments), create_partitions=arguments.create),
        host=arguments.host,
        port=arguments.port,
        control_port=arguments.control_port,
        retention=Retention(
            arguments.retention_count, arguments.retention_bytes, arguments.retention_seconds
        ),
        keys=keys,
        tls=None if arguments.tls is None else _tls_context(arguments.tls),
        data=arguments.data,
    )


def _tls_context(file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(file)
    except OSError as error:
        raise ValueError(
            f"--tls cannot read a certificate and private key from {file}: "
            f"{error.strerror or error}"
        ) from error
    return context


def _allow_many_files() -> None:
    """Raise the limit of open files: each partition with events has one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _hubs(arguments: argparse.Namespace) -> NamespaceConfig:
    if arguments.config is not None:
        return NamespaceConfig.from_file(arguments.config)
    if arguments.hub is not None:
        return NamespaceConfig.single(arguments.hub, arguments.partitions)
    return NamespaceConfig(())


async def serve(server: EventHubsServer) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with server:
        hubs = ", ".join(f"{hub.name} ({len(hub.partitions)})" for hub in server.namespace)
        print(f"ready: AMQP on port {server.port}, event hubs: {hubs}", flush=True)
        await stopped.wait()


def main(command_line: list[str] | None = None) -> int:
    """Run the endpoint and return the process's exit code."""
    arguments = parse_arguments(command_line)
    logging.basicConfig(
        level=logging.INFO if arguments.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if arguments.data is not None:
        _allow_many_files()
    try:
        server = build_server(arguments, os.environ)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        asyncio.run(serve(server))
    except OSError as error:
        print(f"error: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

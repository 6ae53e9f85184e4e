"""Command-line options that the supervisor and the instance share."""

from __future__ import annotations

import argparse

from local.functions_host.triggers.event_hubs.balancing import Balancing
from local.functions_host.triggers.event_hubs.extension import DEFAULT_EXTENSION, EXTENSIONS


def add_grace(parser: argparse.ArgumentParser) -> None:
    """Add `--grace`."""
    parser.add_argument(
        "--grace",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="time that running functions get to end when a host stops (default: 10)",
    )


def add_balancing(parser: argparse.ArgumentParser) -> None:
    """Add `--balance-interval` and `--lease`."""
    default = Balancing()
    parser.add_argument(
        "--balance-interval",
        type=positive_seconds,
        default=default.interval_seconds,
        metavar="SECONDS",
        help="interval between balancing rounds of the partitions (default: 1; on Azure 30)",
    )
    parser.add_argument(
        "--lease",
        type=positive_seconds,
        default=default.lease_seconds,
        metavar="SECONDS",
        help="time after which a dead instance loses its partitions (default: 10; on Azure 120)",
    )


def balancing_from(args: argparse.Namespace) -> Balancing:
    """Return the values of the options that `add_balancing` added."""
    return Balancing(args.balance_interval, args.lease)


def add_extension(parser: argparse.ArgumentParser) -> None:
    """Add `--event-hubs-extension`."""
    parser.add_argument(
        "--event-hubs-extension",
        choices=EXTENSIONS,
        default=DEFAULT_EXTENSION,
        help="version of Microsoft's Event Hubs extension whose form events have; from 6.5.2 on, "
        f"offsets are numbers and OffsetString has the text (default: {DEFAULT_EXTENSION})",
    )


def seconds(text: str) -> float:
    """Parse a number of seconds from 0 to below 86400, such as `10` or `10s`."""
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not 0 <= value < 86_400:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from 0 to below 86400"
        )
    return value


def positive_seconds(text: str) -> float:
    """Parse a number of seconds above 0."""
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value

"""Command-line options that the supervisor and the instance share."""

from __future__ import annotations

import argparse

from local.functions_host.triggers.event_hubs.balancing import Balancing


def add_grace(parser: argparse.ArgumentParser) -> None:
    """Add `--grace`."""
    parser.add_argument(
        "--grace",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="what running functions get when a host stops (default: 10)",
    )


def add_balancing(parser: argparse.ArgumentParser) -> None:
    """Add `--balance-interval` and `--lease`."""
    default = Balancing()
    parser.add_argument(
        "--balance-interval",
        type=positive_seconds,
        default=default.interval_seconds,
        metavar="SECONDS",
        help="how often instances balance partitions (default: 1; on Azure 30)",
    )
    parser.add_argument(
        "--lease",
        type=positive_seconds,
        default=default.lease_seconds,
        metavar="SECONDS",
        help="until a silent instance's partitions are taken over (default: 10; on Azure 120)",
    )


def balancing_from(args: argparse.Namespace) -> Balancing:
    """Read what `add_balancing` added."""
    return Balancing(args.balance_interval, args.lease)


def seconds(text: str) -> float:
    """A number of seconds from 0."""
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not 0 <= value < 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0")
    return value


def positive_seconds(text: str) -> float:
    """A number of seconds above 0."""
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError("it takes a number of seconds above 0")
    return value

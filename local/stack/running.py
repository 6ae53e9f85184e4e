"""The options of the stack that is up, and what another `up` would change."""

from __future__ import annotations

from typing import Any

from local.files import read_json, write_json
from local.stack.stack import CLOUD_DEFAULTS, Stack, StackOptions
from local.state_directory import StateDirectory


def write_running(options: StackOptions, stack: Stack) -> None:
    """Record the options with which the stack is up, also those that have their defaults."""
    write_json(
        options.directory.options_file,
        {
            "settings": stack.values,
            "partitions": stack.partitions,
            "ports": dict(stack.ports),
            "console": options.console,
            "redis_replica": options.redis_replica,
            "cloud": {**CLOUD_DEFAULTS, **options.cloud},
        },
    )


def differences(options: StackOptions, directory: StateDirectory) -> list[str]:
    """Return a line for each given option that the running stack does not have.

    Options that were not given fit any stack. Settings may hold secrets, so no line has a value of
    a setting.
    """
    running = read_json(directory.options_file)
    if running is None:
        return []
    lines = []
    settings = running["settings"]
    for name, value in options.settings.items():
        if name not in settings:
            lines.append(f"--set {name}: the stack does not set it")
        elif settings[name] != value:
            lines.append(f"--set {name}: the stack has another value")
    if options.partitions not in (None, running["partitions"]):
        has = running["partitions"]
        lines.append(f"--partitions {options.partitions}: the stack has {has}")
    for name, port in options.ports.asked.items():
        if port and running["ports"].get(name) != port:
            has = running["ports"].get(name)
            lines.append(f"--port-{name} {port}: the stack has {has}")
    if not options.console and running["console"]:
        lines.append("--no-console: the stack has one")
    if options.redis_replica and not running["redis_replica"]:
        lines.append("--redis-replica: the stack has none")
    for option, number in options.cloud.items():
        if running["cloud"].get(option) != number:
            lines.append(f"{option} {number:g}: the stack has {_number(running, option)}")
    if options.wipe:
        lines.append("--wipe: the stack is using its data; `breakwater down --wipe` deletes it")
    return lines


def _number(running: dict[str, Any], option: str) -> str:
    return f"{running['cloud'].get(option, 0):g}"

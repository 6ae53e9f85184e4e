"""The real servers that benchmarks run against: children of this process, on free ports."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from local.files import write_json
from local.services import Service, Supervisor
from local.services.azurite import azurite_service, storage_connection_string
from local.services.child import REPOSITORY
from local.services.event_hubs import event_hub_connection, event_hubs_service
from local.services.ports import PortChoice
from local.services.process import end_with_parent
from local.services.redis import redis_service, redis_url
from local.settings_file import app_settings

HUB = "events"


@asynccontextmanager
async def redis_server(directory: Path) -> AsyncIterator[str]:
    """A Redis server; its URL."""
    port = PortChoice({}, ephemeral=True).resolve()["redis"]
    data = directory / "redis"
    data.mkdir(parents=True)
    async with _running([redis_service(port, data)], directory):
        yield redis_url(port)


@dataclass(frozen=True)
class Stack:
    """What the function app needs, running."""

    redis_url: str
    storage: str = field(repr=False)
    event_hub: str = field(repr=False)

    def app_settings(self, overrides: Mapping[str, str]) -> dict[str, str]:
        """Return the settings of the function app; no alerts are published."""
        return app_settings(
            storage=self.storage,
            event_hub=self.event_hub,
            redis_url=self.redis_url,
            topic_endpoint="",
            topic_key="",
            overrides=overrides,
        )


@asynccontextmanager
async def stack(directory: Path, consumer_groups: Iterable[str]) -> AsyncIterator[Stack]:
    """Redis, Azurite and an Event Hubs endpoint with the hub `HUB` of one partition."""
    ports = PortChoice({}, ephemeral=True).resolve()
    (directory / "redis").mkdir(parents=True)
    config = directory / "event-hubs.json"
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    hubs = event_hubs_service(
        ports["event-hubs"], ports["event-hubs-control"], config, hub=HUB, partitions=1, key=key
    )
    groups = [{"Name": name} for name in consumer_groups]
    entity = {"Name": HUB, "PartitionCount": 1, "ConsumerGroups": groups}
    namespace = {"Type": "EventHub", "Name": "emulatorNs1", "Entities": [entity]}
    write_json(config, {"UserConfig": {"NamespaceConfig": [namespace]}})
    services = [
        redis_service(ports["redis"], directory / "redis"),
        azurite_service(ports, directory / "azurite"),
        hubs,
    ]
    async with _running(services, directory):
        yield Stack(
            redis_url(ports["redis"]),
            storage_connection_string(ports),
            event_hub_connection(ports["event-hubs"], key),
        )


@asynccontextmanager
async def functions_host(
    directory: Path, settings: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m local host`: one host process that runs function_app.py with these settings."""
    directory.mkdir(parents=True)  # noqa: ASYNC240 - nothing else runs yet
    file = directory / "local.settings.json"
    write_json(file, {"IsEncrypted": False, "Values": dict(settings)})
    command = ("-m", "local", "host", "--state-dir", str(directory), "--settings", str(file))
    log = directory / "host.log"
    async with child(*command, "--port", "0", "--lifeline", log=log, answers=False) as process:
        yield process


@asynccontextmanager
async def child(
    *arguments: str, log: Path, answers: bool = True
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python child with a pipe for input; what it logs goes to `log`.

    It must end when its input does, or on SIGTERM; otherwise it is killed.

    Args:
        arguments: of the interpreter.
        log: a file for its standard error, and for its output if it gives no answers.
        answers: whether its standard output is a pipe to be read.
    """
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if answers else errors,
            stderr=errors,
            cwd=REPOSITORY,
            preexec_fn=end_with_parent(),
            limit=64 * 1024 * 1024,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            # Its output is read to the end: a full pipe would keep it from ending.
            await asyncio.wait_for(process.communicate(), 15)
        except TimeoutError:
            process.kill()
            await process.wait()


async def ask(*arguments: str, order: object, log: Path) -> object:
    """Run a Python child that reads one line of JSON and answers with one; its answer.

    Raises:
        ChildError: it ended without an answer.
    """
    async with child(*arguments, log=log) as process:
        await send_line(process, order)
        return await read_answer(process, arguments, log)


async def send_line(process: asyncio.subprocess.Process, order: object) -> None:
    """Send a child a line of JSON."""
    assert process.stdin is not None  # noqa: S101 - `child` opens it
    process.stdin.write(json.dumps(order).encode() + b"\n")
    await process.stdin.drain()


async def read_answer(
    process: asyncio.subprocess.Process, arguments: Sequence[str], log: Path
) -> object:
    """The next line of JSON that a child says.

    Raises:
        ChildError: it ended instead.
    """
    assert process.stdout is not None  # noqa: S101 - `child` opens it
    line = await process.stdout.readline()
    if not line:
        raise ChildError(f"python {' '.join(arguments)} ended without an answer{log_tail(log)}")
    return json.loads(line)


class ChildError(Exception):
    """A child process did not do its part; the message ends with the end of its log."""


def log_tail(log: Path, lines: int = 12) -> str:
    """The end of a child's log, to be put behind an error message."""
    tail = log.read_text(errors="replace").rstrip().splitlines()[-lines:]
    return ":" + "".join(f"\n    {line}" for line in tail) if tail else ", and its log is empty"


@asynccontextmanager
async def _running(services: Sequence[Service], directory: Path) -> AsyncIterator[None]:
    supervisor = Supervisor(services, directory / "logs", lambda record: None)
    try:
        await supervisor.start()
        yield
    finally:
        await supervisor.stop()

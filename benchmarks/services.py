"""The real servers for benchmarks, which are child processes on free ports."""

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

from breaker.configuration.carried import project_folder
from local.files import write_json
from local.services import Service, Supervisor
from local.services.azurite import azurite_service, storage_connection_string
from local.services.child import REPOSITORY
from local.services.event_hubs import Hub, event_hub_connection, event_hubs_service
from local.services.ports import PortChoice
from local.services.process import end_with_parent
from local.services.redis import redis_service, redis_url
from local.settings_file import app_settings

HUB = "events"


@asynccontextmanager
async def redis_server(directory: Path) -> AsyncIterator[str]:
    """Run a Redis server and yield its URL."""
    port = PortChoice({}, ephemeral=True).resolve()["redis"]
    data = directory / "redis"
    data.mkdir(parents=True)
    async with _running([redis_service(port, data)], directory):
        yield redis_url(port)


@dataclass(frozen=True)
class Stack:
    """The connections to the running services that the function app needs."""

    redis_url: str
    storage: str = field(repr=False)
    event_hub: str = field(repr=False)

    def app_settings(self, overrides: Mapping[str, str]) -> dict[str, str]:
        """Return the settings of the function app, without an Event Grid topic."""
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
    """Run Redis, Azurite and an Event Hubs endpoint with the hub `HUB` of one partition."""
    ports = PortChoice({}, ephemeral=True).resolve()
    (directory / "redis").mkdir(parents=True)
    config = directory / "event-hubs.json"
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    hubs = event_hubs_service(
        ports["event-hubs"], ports["event-hubs-control"], config, hubs=(Hub(HUB, 1),), key=key
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
async def services_for_storage(directory: Path, handler: str) -> AsyncIterator[dict[str, str]]:
    """Run Redis and Azurite, and yield the settings of an app with a handler and no hub."""
    ports = PortChoice({}, ephemeral=True).resolve()
    (directory / "redis").mkdir(parents=True)
    services = [
        redis_service(ports["redis"], directory / "redis"),
        azurite_service(ports, directory / "azurite"),
    ]
    async with _running(services, directory):
        yield app_settings(
            storage=storage_connection_string(ports),
            event_hub="Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=a2V5",
            redis_url=redis_url(ports["redis"]),
            topic_endpoint="",
            topic_key="",
            overrides={"EVENT_HANDLER": handler},
        )


@asynccontextmanager
async def functions_host(
    directory: Path, settings: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m local host` with one instance of function_app.py, and yield the process."""
    directory.mkdir(parents=True)  # noqa: ASYNC240 - no other task runs yet
    file = directory / "local.settings.json"
    write_json(file, {"IsEncrypted": False, "Values": dict(settings)})
    command = ("-m", "local", "host", "--state-dir", str(directory), "--settings", str(file))
    log = directory / "host.log"
    options = ("--app", str(project_folder()), "--port", "0", "--lifeline")
    async with child(*command, *options, log=log, answers=False) as process:
        yield process


@asynccontextmanager
async def child(
    *arguments: str, log: Path, answers: bool = True, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a Python child process with a pipe as standard input, and yield the process.

    On leaving, the child gets SIGTERM and the end of its input, and after 15 s it is killed.

    Args:
        arguments: the arguments of the interpreter.
        log: the file for standard error, and for standard output without `answers`.
        answers: whether standard output is a pipe.
        environment: the child's environment; None: that of this process.
    """
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if answers else errors,
            stderr=errors,
            cwd=REPOSITORY,
            env=environment,
            preexec_fn=end_with_parent(),
            limit=64 * 1024 * 1024,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            # Read the output to its end, because a full pipe would block the child.
            await asyncio.wait_for(process.communicate(), 15)
        except TimeoutError:
            process.kill()
            await process.wait()


async def ask(*arguments: str, order: object, log: Path) -> object:
    """Run a Python child process, send it one line of JSON and return its line of JSON.

    Raises:
        ChildError: the child ended without an answer.
    """
    async with child(*arguments, log=log) as process:
        await send_line(process, order)
        return await read_answer(process, arguments, log)


async def send_line(process: asyncio.subprocess.Process, order: object) -> None:
    """Send a line of JSON to a child."""
    assert process.stdin is not None  # noqa: S101 - `child` opens it
    process.stdin.write(json.dumps(order).encode() + b"\n")
    await process.stdin.drain()


async def read_answer(
    process: asyncio.subprocess.Process, arguments: Sequence[str], log: Path
) -> object:
    """Return the next line of JSON from a child.

    Raises:
        ChildError: the child ended without an answer.
    """
    assert process.stdout is not None  # noqa: S101 - `child` opens it
    line = await process.stdout.readline()
    if not line:
        raise ChildError(f"python {' '.join(arguments)} ended without an answer{log_tail(log)}")
    return json.loads(line)


class ChildError(Exception):
    """A failed child process; the message includes the end of its log."""


def log_tail(log: Path, lines: int = 12) -> str:
    """Return the end of a child's log, to be appended to an error message."""
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

"""The Event Hubs endpoint: start, stop, and the periodic housekeeping."""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from local.event_hubs.clock import BrokerClock
from local.event_hubs.config import NamespaceConfig
from local.event_hubs.connection.connection import ClientConnection
from local.event_hubs.control.faults import Faults
from local.event_hubs.control.server import ControlServer
from local.event_hubs.errors import CONNECTION_FORCED, AmqpError
from local.event_hubs.housekeeping import Housekeeper, IdleLimits
from local.event_hubs.hub.namespace import Namespace
from local.event_hubs.hub.retention import Retention
from local.event_hubs.hub.storage import Storage
from local.event_hubs.service import Service
from local.event_hubs.sockets import listen

DEFAULT_KEY_NAME = "RootManageSharedAccessKey"
DEFAULT_KEY = base64.b64encode(b"breakwater-local-development-key").decode()
HOUSEKEEPING_SECONDS = 1.0

logger = logging.getLogger(__name__)


class EventHubsServer:
    """An Event Hubs endpoint on loopback, usable as an asynchronous context manager.

    Args:
        config: the hubs that exist from the start.
        host: the address to listen on.
        port: the AMQP port; 0 picks a free port.
        control_port: the HTTP port for health, hubs and faults; 0 picks a free port, None disables
            the control port.
        retention: limits of the events kept per hub.
        keys: shared access keys by name; without keys every token is accepted.
        idle_timeout_seconds: AMQP idle timeout that is announced to clients.
        tls: TLS context for a server; clients then connect without `UseDevelopmentEmulator`, as
            they connect to the service.
        idle_limits: timeouts of unused connections and links.
        now: clock in seconds since 1970; also used for enqueued times. A fault can shift it.
        data: the directory that keeps hubs and events while no process runs; None keeps them in
            memory only.

    Raises:
        ValueError: the directory is in use, or its content cannot be read or does not fit.
    """

    def __init__(
        self,
        config: NamespaceConfig,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        control_port: int | None = None,
        retention: Retention | None = None,
        keys: Mapping[str, str] | None = None,
        idle_timeout_seconds: float = 240.0,
        tls: ssl.SSLContext | None = None,
        idle_limits: IdleLimits | None = None,
        now: Callable[[], float] = time.time,
        data: Path | None = None,
    ) -> None:
        clock = BrokerClock(now)
        self._service = Service(
            namespace=_open(config, retention or Retention(), clock, data),
            now=clock,
            container=f"{config.name}-{uuid.uuid4().hex[:8]}",
            keys=dict(keys or {}),
            idle_timeout_seconds=idle_timeout_seconds,
        )
        self.housekeeper = Housekeeper(self._service, idle_limits or IdleLimits())
        self._housekeeping: asyncio.TimerHandle | None = None
        self._tls = tls
        self._host = host
        self._port = port
        self._listener: asyncio.Server | None = None
        self._control = (
            None
            if control_port is None
            else ControlServer(self._service, self.faults, host, control_port)
        )

    @property
    def namespace(self) -> Namespace:
        """The hubs, which can be created and deleted while clients are connected."""
        return self._service.namespace

    @property
    def faults(self) -> Faults:
        """The faults that can be injected."""
        return Faults(self._service)

    @property
    def port(self) -> int:
        """The AMQP port, known after `start`."""
        if self._listener is None:
            raise RuntimeError("the Event Hubs endpoint has not been started")
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def control_url(self) -> str:
        """The base URL of the control port, for example `http://127.0.0.1:5300`."""
        if self._control is None:
            raise RuntimeError("the Event Hubs endpoint has no control port")
        return self._control.url

    @property
    def connection_string(self) -> str:
        """The connection string for the stock clients, without the name of an event hub."""
        name, key = next(iter(self._service.keys.items()), (DEFAULT_KEY_NAME, DEFAULT_KEY))
        emulator = "" if self._tls is not None else "UseDevelopmentEmulator=true;"
        return (
            f"Endpoint=sb://{self._host}:{self.port};SharedAccessKeyName={name};"
            f"SharedAccessKey={key};{emulator}"
        )

    async def start(self) -> None:
        """Start to listen for clients.

        Raises:
            OSError: a port is in use.
        """
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: ClientConnection(self._service),
            sock=listen(self._host, self._port),
            ssl=self._tls,
        )
        self._run_housekeeping()
        if self._control is not None:
            try:
                await self._control.start()
            except BaseException:
                await self.stop()
                raise

    async def stop(self) -> None:
        """Close all connections with an error for the clients, and stop listening."""
        try:
            await self._stop()
        finally:
            self._service.namespace.close()

    async def _stop(self) -> None:
        if self._control is not None:
            await self._control.stop()
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        if self._listener is None:
            return
        self._listener.close()
        for connection in list(self._service.connections):
            connection.shut_down(AmqpError(CONNECTION_FORCED, "The endpoint is shutting down."))
        # Closed sockets still flush their data. A client that does not read within 2 s is cut off.
        try:
            async with asyncio.timeout(2):
                await self._listener.wait_closed()
        except TimeoutError:
            for connection in list(self._service.connections):
                connection.abort()
            await self._listener.wait_closed()
        self._listener = None

    def _run_housekeeping(self) -> None:
        loop = asyncio.get_running_loop()
        self._housekeeping = loop.call_later(HOUSEKEEPING_SECONDS, self._run_housekeeping)
        try:
            self.housekeeper.sweep()
        except Exception:
            logger.exception(
                "housekeeping of the Event Hubs endpoint failed and runs again in %s s",
                HOUSEKEEPING_SECONDS,
            )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()


def _open(
    config: NamespaceConfig, retention: Retention, clock: BrokerClock, data: Path | None
) -> Namespace:
    storage = None if data is None else Storage(data)
    try:
        return Namespace(config, retention, lambda: int(clock() * 1000), storage)
    except BaseException:
        if storage is not None:
            storage.close()
        raise

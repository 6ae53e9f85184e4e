"""The proxy: clients connect to one address, and the proxy chooses the server.

A managed Redis has one address in front of two nodes. At a failover the address leads new
connections to the other node. What becomes of the open connections differs: some stay at the old
node, which now refuses writes; some are cut; some are never answered again, although nobody has
closed them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Self, cast

HOST = "127.0.0.1"
_RESET = struct.pack("ii", 1, 0)
"""The option SO_LINGER with which the end of a connection is a reset (RST)."""


class SwitchingProxy:
    """A proxy to one of some servers of this machine; an async context manager.

    Args:
        servers: the ports of the servers; new connections go to the first one.
        port: the port to listen on; 0 picks a free port.

    Attributes:
        target: the index of the server to which new connections go.
        mutes_new: whether new connections are never answered.
    """

    def __init__(self, servers: Sequence[int], port: int = 0) -> None:
        self.target = 0
        self.mutes_new = False
        self._servers = tuple(servers)
        self._port = port
        self._pairs: set[_Client] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            self.cut()
            await self._server.wait_closed()

    @property
    def port(self) -> int:
        """The port on which the proxy listens, once started."""
        return self._port

    @property
    def server_port(self) -> int:
        """The port of the server to which new connections go."""
        return self._servers[self.target]

    @property
    def connections(self) -> int:
        """The number of the clients' open connections."""
        return len(self._pairs)

    def switch(self, target: int) -> None:
        """Let new connections go to another server; open connections stay where they are.

        Raises:
            ValueError: there is no such server.
        """
        if not 0 <= target < len(self._servers):
            raise ValueError(
                f"there is no server {target}; the proxy has {len(self._servers)}, counted from 0"
            )
        self.target = target

    def mute(self) -> int:
        """Never answer the open connections again, without closing them; return their number."""
        found = [pair for pair in self._pairs if not pair.muted]
        for pair in found:
            pair.muted = True
        return len(found)

    def cut(self) -> int:
        """Reset the open connections; return their number."""
        found = tuple(self._pairs)
        for pair in found:
            pair.abort()
        return len(found)

    def opened(self, pair: _Client) -> None:
        """Add a client's connection."""
        pair.muted = self.mutes_new
        self._pairs.add(pair)

    def closed(self, pair: _Client) -> None:
        """Remove a client's connection."""
        self._pairs.discard(pair)


class _Side(asyncio.Protocol):
    """One side of a connection through the proxy, which writes to the other side.

    Attributes:
        transport: the connection; None while it is not open.
        other: the other side; None before it is open.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other side, too."""
        self.transport = None
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def pause_writing(self) -> None:
        """Stop reading from the other side while this side is slow."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read from the other side again."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()


class _Client(_Side):
    """A client's side.

    Attributes:
        muted: whether what either side sends is thrown away.
    """

    def __init__(self, proxy: SwitchingProxy) -> None:
        super().__init__()
        self.muted = False
        self._proxy = proxy
        self._early = bytearray()
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._proxy.opened(self)
        self._connecting = asyncio.create_task(self._connect())

    def data_received(self, data: bytes) -> None:
        if self.muted:
            return
        if self.other is None or self.other.transport is None:
            self._early += data
        else:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._proxy.closed(self)
        if self._connecting is not None:
            self._connecting.cancel()

    def abort(self) -> None:
        """Reset both sides."""
        for side in (self, self.other):
            if side is not None and side.transport is not None:
                connection = side.transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                side.transport.abort()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            await loop.create_connection(lambda: _Upstream(self), HOST, self._proxy.server_port)
        if self.transport is None:
            return
        if self.other is None or self.other.transport is None:
            self.transport.abort()  # the server does not listen
        elif self._early:
            if not self.muted:
                self.other.transport.write(bytes(self._early))
            self._early.clear()


class _Upstream(_Side):
    """The server's side."""

    def __init__(self, client: _Client) -> None:
        super().__init__()
        self._client = client
        self.other = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._client.other = self
        if self._client.transport is None or self._client.transport.is_closing():
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the client's side, unless it is muted and must not learn of the end."""
        self.transport = None
        if not self._client.muted:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._client.muted and self._client.transport is not None:
            self._client.transport.write(data)

"""A server that never answers, like a Redis server whose machine is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class SilentServer:
    """A server that accepts connections and sends nothing.

    Attributes:
        tries: the number of accepted connections.
    """

    def __init__(self) -> None:
        self.tries = 0

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tries += 1
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Run the server and yield its address as a Redis URL."""
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            yield f"redis://{host}:{port}/0"

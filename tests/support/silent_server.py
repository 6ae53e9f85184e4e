"""A Redis whose machine is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class SilentServer:
    """Takes connections and says nothing.

    Attributes:
        tries: how many connections it took.
    """

    def __init__(self) -> None:
        self.tries = 0

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tries += 1
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Its address, as Redis' addresses are written."""
        async with await asyncio.start_server(self._take, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            yield f"redis://{host}:{port}/0"

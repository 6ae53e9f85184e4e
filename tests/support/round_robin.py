"""A small TCP balancer that sends each connection to the next back end that accepts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

CHUNK = 65_536


@asynccontextmanager
async def round_robin(ports: Sequence[int]) -> AsyncIterator[int]:
    """Balance over ports of this machine and yield the balancer's own port."""
    turns = count()
    pipes: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        pipes.add(task)
        try:
            for _ in ports:
                port = ports[next(turns) % len(ports)]
                with contextlib.suppress(OSError):
                    behind = await asyncio.open_connection("127.0.0.1", port)
                    break
            else:
                return
            try:
                await _join((reader, writer), behind)
            finally:
                behind[1].close()
        finally:
            writer.close()
            pipes.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=512)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for pipe in pipes:
            pipe.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)


type _End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(one: _End, two: _End) -> None:
    """Copy in both directions until one side ends, then close both, as when a back end dies."""
    ways = [
        asyncio.create_task(_copy(one[0], two[1])),
        asyncio.create_task(_copy(two[0], one[1])),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()

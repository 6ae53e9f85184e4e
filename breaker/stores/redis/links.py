"""The connections to one address, which are dropped together.

After a failover behind one address, open connections may stay at the old node, and a network may
drop connections without a message. What one connection shows holds for the others as well: without
this, each of them would cost an error or a timeout of its own.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from urllib.parse import urlsplit
from weakref import WeakSet, WeakValueDictionary

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection

DROP_SECONDS = 1.0
"""Least time between two drops of one address, so that a lasting fault costs few reconnects."""


class Use(Enum):
    """The present use of a connection."""

    IDLE = 0
    REPLY = 1
    PUSHES = 2


class Link(AbstractConnection):
    """A connection that knows the other connections to its address.

    Attributes:
        loop: the event loop in which the connection was opened last; None before.
    """

    links: Links
    use = Use.IDLE
    loop: asyncio.AbstractEventLoop | None = None


class Links:
    """The connections of all clients of one address in this process.

    An app has several clients: its own, and those of handlers.
    """

    def __init__(self) -> None:
        self._all: WeakSet[Link] = WeakSet()
        self._dropped_at = float("-inf")

    @classmethod
    def of(cls, url: str) -> Links:
        """Return the connections to an address; clients with other credentials share them."""
        parts = urlsplit(url)
        address = parts.netloc.rpartition("@")[2] or parts.path
        links = _BY_ADDRESS.get(address)
        if links is None:
            links = _BY_ADDRESS[address] = cls()
        return links

    def add(self, link: Link) -> None:
        """Add a new connection."""
        self._all.add(link)

    async def drop(self) -> None:
        """Close the connections; a command that waits for its reply keeps its own until then.

        A closed connection connects again at its next use. A subscription connects and subscribes
        again at once.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._dropped_at < DROP_SECONDS:
            return
        self._dropped_at = now
        for link in tuple(self._all):
            if link.loop is not loop:
                continue
            if link.use is Use.REPLY:
                link.mark_for_reconnect()  # type: ignore[no-untyped-call]
            else:
                await link.disconnect(nowait=True)


_BY_ADDRESS: WeakValueDictionary[str, Links] = WeakValueDictionary()


def links_of(client: Redis | RedisCluster) -> Links | None:
    """Return the connections to a client's address; None if `connect` did not build the client."""
    if isinstance(client, RedisCluster):
        kind = client.nodes_manager.connection_kwargs.get("connection_class")
    else:
        kind = client.connection_pool.connection_class
    return getattr(kind, "links", None)

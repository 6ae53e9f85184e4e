"""A Redis with a replica behind a switching proxy, for tests that fail over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from local.redis_proxy.proxy import SwitchingProxy
from local.services.redis_pair import REPLICATION
from tests.support.own_redis import Server
from tests.support.patience import until_true


@dataclass
class Pair:
    """Two servers, of which one is the primary.

    Attributes:
        servers: both servers.
        primary: the index of the primary.
    """

    servers: tuple[Server, Server]
    primary: int = 0

    @property
    def ports(self) -> tuple[int, int]:
        """The servers' ports."""
        return (self.servers[0].port, self.servers[1].port)

    def client(self, index: int) -> redis.Redis:
        """Return a client of one server, past the proxy."""
        return redis.Redis(port=self.servers[index].port)

    def fail_over(self) -> int:
        """Let the replica take over, without a lost write; return its index."""
        old, new = self.primary, 1 - self.primary
        with self.client(old) as before, self.client(new) as after:
            until_true(lambda: before.wait(1, 1000) == 1, "the replica's confirmation")
            before.execute_command("FAILOVER", "TO", "127.0.0.1", self.servers[new].port)
            until_true(lambda: after.role()[0] == b"master", "the new primary")
            until_true(lambda: before.role()[0] == b"slave", "the old primary's end")
        self.primary = new
        return new


@contextmanager
def running_pair(directory: Path) -> Iterator[Pair]:
    """Run a primary and a replica that has the primary's data."""
    folders = [directory / name for name in ("primary", "replica")]
    for folder in folders:
        folder.mkdir()
    primary = Server(folders[0], arguments=REPLICATION)
    replica = Server(
        folders[1], arguments=(*REPLICATION, "--replicaof", "127.0.0.1", str(primary.port))
    )
    pair = Pair((primary, replica))
    try:
        for server in pair.servers:
            server.start()
        with pair.client(1) as client:
            until_true(
                lambda: client.info("replication")["master_link_status"] == "up", "the replica"
            )
        yield pair
    finally:
        for server in pair.servers:
            server.stop()


@asynccontextmanager
async def proxied(pair: Pair) -> AsyncIterator[tuple[SwitchingProxy, str]]:
    """Run a proxy in front of the pair; yield it with the address as a Redis URL."""
    async with SwitchingProxy(pair.ports) as proxy:
        proxy.switch(pair.primary)
        yield proxy, f"redis://127.0.0.1:{proxy.port}/0"

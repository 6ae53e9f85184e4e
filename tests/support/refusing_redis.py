"""A real Redis that can be made to answer reads and refuse writes, for each reason."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from tests.support.own_redis import Server

_USER = "writer"


class Refusing:
    """A server that can be made to refuse writes.

    Args:
        server: the server, which saves no snapshots.
    """

    def __init__(self, server: Server) -> None:
        self.url = server.url.replace("redis://", f"redis://{_USER}:secret@")
        self.admin = redis.Redis(port=server.port)
        self._server = server

    def reset(self, *, keep: bool = False) -> None:
        """Take all writes again; forget all data, or keep it."""
        self.admin.replicaof("no", "one")
        for setting in ("min-replicas-to-write", "maxmemory"):
            self.admin.config_set(setting, 0)
        self.admin.config_set("save", "")
        self.allow("reset", "on", ">secret", "~*", "&*", "+@all")
        if not keep:
            self.admin.flushall()

    def allow(self, *rights: str) -> None:
        """Change the rights of the user."""
        self.admin.execute_command("ACL SETUSER", _USER, *rights)  # type: ignore[no-untyped-call]

    def refuse(self, code: str) -> None:
        """Refuse writes for the reason of an error code."""
        match code:
            case "READONLY":
                self.admin.replicaof("127.0.0.1", 1)
            case "NOREPLICAS":
                self.admin.config_set("min-replicas-to-write", 1)
            case "OOM":
                self.admin.config_set("maxmemory", 1)
            case "NOPERM":
                self.allow("-@write", "+evalsha", "+eval")
            case "MISCONF":
                self.admin.set("unsaved", "1")
                self.admin.config_set("save", "1 1000000")
                self.admin.config_set("rdbcompression", "no")
                self._save_fails()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the server answer nothing for a while; it keeps its connections."""
        self._server.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self._server.send(signal.SIGCONT)

    def _save_fails(self) -> None:
        """Let a snapshot fail, because a directory has the name of its file."""
        blocked = self._server.directory / str(self.admin.config_get("dbfilename")["dbfilename"])
        with suppress(FileExistsError):
            blocked.mkdir()
        while self.admin.info("persistence")["rdb_last_bgsave_status"] != "err":
            with suppress(redis.exceptions.ResponseError):  # another child runs
                self.admin.bgsave()
            time.sleep(0.01)
        blocked.rmdir()


@contextmanager
def running_refusing(directory: Path) -> Iterator[Refusing]:
    """Run a server of its own."""
    own = Server(directory)
    own.start()
    refusing = Refusing(own)
    try:
        refusing.reset()
        yield refusing
    finally:
        refusing.admin.close()
        own.stop()

"""A Redis server of one test, which the test may stop, kill and restart."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import redis

from local.services.ports import free_port
from local.services.redis import find_redis_server, redis_arguments
from tests.support.patience import HANG_SECONDS


class Server:
    """A Redis server of one test.

    Args:
        directory: the server's files.
        program: path of a server binary; None for the one that all tests use.
        arguments: further arguments of the server.
    """

    def __init__(
        self, directory: Path, program: str | None = None, *, arguments: Sequence[str] = ()
    ) -> None:
        self.port = free_port()
        self.program = program or find_redis_server()
        self.arguments = tuple(arguments)
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self, *, keep: bool = True) -> None:
        if not keep:
            for file in self.directory.rglob("*.aof*"):
                file.unlink()
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, *redis_arguments(self.port, self.directory), *self.arguments],
                stdout=log,
                stderr=log,
            )
        with redis.Redis(port=self.port) as client:
            deadline = time.monotonic() + HANG_SECONDS
            while not _answers(client):
                assert time.monotonic() < deadline, "Redis did not start"
                time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            deadline = time.monotonic() + HANG_SECONDS
            # A server that writes its first append-only file refuses a SIGTERM: "can't exit".
            while self.process.returncode is None:
                assert time.monotonic() < deadline, "Redis did not end"
                self.process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(1)
            self.process = None

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.RedisError:
        return False

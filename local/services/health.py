"""Probes that ask a service in its own protocol."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from local.services.ports import LOOPBACK

ProbeKind = Literal["redis", "redis-linked", "http", "http-any"]


@dataclass(frozen=True)
class Probe:
    """One request to one port; plain data, so that `status` can repeat a recorded probe.

    The kind `redis` expects +PONG (not -LOADING), `redis-linked` a primary or a replica that has
    its primary's data, `http` expects a 200 from `path`, and `http-any`
    expects any HTTP answer: Azurite rejects unsigned requests, and a probe has no key.
    """

    kind: ProbeKind
    port: int
    path: str = "/healthz"

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form, which `from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Build a probe from the result of `as_dict`."""
        return cls(value["kind"], value["port"], value["path"])

    async def answers(self, timeout: float = 2.0) -> bool:
        """Return whether the service gives the expected answer within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                return await _ASK[self.kind](self)
        except (OSError, TimeoutError, ValueError):
            return False


async def all_answer(probes: Iterable[Probe], timeout: float = 2.0) -> bool:
    """Return whether every probe gets its answer; all probes run at the same time."""
    return all(await asyncio.gather(*(probe.answers(timeout) for probe in probes)))


async def _exchange(port: int, request: bytes) -> bytes:
    """Send `request` and return the first line of the answer."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(request)
        await writer.drain()
        return await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _redis(probe: Probe) -> bool:
    return (await _exchange(probe.port, b"PING\r\n")).startswith(b"+PONG")


async def _redis_linked(probe: Probe) -> bool:
    reader, writer = await asyncio.open_connection(LOOPBACK, probe.port)
    try:
        writer.write(b"INFO replication\r\nQUIT\r\n")
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return b"role:master" in answer or b"master_link_status:up" in answer


async def _http_status(probe: Probe) -> int:
    head = f"GET {probe.path} HTTP/1.1\r\nHost: {LOOPBACK}:{probe.port}\r\nConnection: close\r\n"
    line = await _exchange(probe.port, head.encode() + b"\r\n")
    version, _, rest = line.partition(b" ")
    return int(rest[:3]) if version.startswith(b"HTTP/") else 0


async def _http(probe: Probe) -> bool:
    return await _http_status(probe) == 200


async def _http_any(probe: Probe) -> bool:
    return await _http_status(probe) > 0


_ASK: dict[ProbeKind, Callable[[Probe], Coroutine[Any, Any, bool]]] = {
    "redis": _redis,
    "redis-linked": _redis_linked,
    "http": _http,
    "http-any": _http_any,
}

"""Probes: does a service answer in its own protocol?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from local.services.ports import LOOPBACK

ProbeKind = Literal["redis", "http", "http-any"]


@dataclass(frozen=True)
class Probe:
    """One question to one port; plain data, so that `status` can ask it again from the record.

    `redis` wants +PONG (not -LOADING), `http` a 200 from `path`, `http-any` any HTTP answer: an
    unsigned request is all that can be asked of Azurite without its key.
    """

    kind: ProbeKind
    port: int
    path: str = "/healthz"

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `as_dict` wrote."""
        return cls(value["kind"], value["port"], value["path"])

    async def answers(self, timeout: float = 2.0) -> bool:
        """True when the service answers as it should within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                return await _ASK[self.kind](self)
        except (OSError, TimeoutError, ValueError):
            return False


async def all_answer(probes: Iterable[Probe], timeout: float = 2.0) -> bool:
    """True when every probe gets its answer; they are asked at the same time."""
    return all(await asyncio.gather(*(probe.answers(timeout) for probe in probes)))


async def _exchange(port: int, request: bytes) -> bytes:
    """Send `request`, return the first line of the answer."""
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
    "http": _http,
    "http-any": _http_any,
}

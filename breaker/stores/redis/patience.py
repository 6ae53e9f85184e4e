"""Timeouts that a late event loop does not shorten.

While a handler blocks the event loop, answers of Redis wait in their sockets and timers run late.
An ordinary timeout would then fire although Redis has answered, and the circuit would report an
outage of Redis.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from redis.asyncio import RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import BusyLoadingError, ResponseError
from redis.exceptions import ConnectionError as BrokenConnectionError
from redis.exceptions import TimeoutError as NoAnswerError

from breaker.stores.redis.links import Link, Links, Use
from breaker.stores.redis.refusals import refusal_in

LATE_SECONDS = 0.1
"""A timer that fires later than this shows that the event loop stood still."""
MOST_STARTS = 10
"""Greatest number of times that one timeout starts.

An answer is read before the timer of the same turn of the loop. So a loop that is late again and
again does not hide a silent Redis forever.
"""


class PatientTimeout:
    """A timeout, as `asyncio.timeout`, that starts again when its timer fires late.

    It starts at most `MOST_STARTS` times. Each further time is as long as the timer was late, and
    not longer than the timeout. So a busy machine does not hide a silent Redis for many timeouts.

    Args:
        seconds: the timeout; None or infinite: no timeout.
    """

    __slots__ = ("_handle", "_loop", "_scope", "_seconds", "_starts", "_until")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = math.inf if seconds is None else seconds
        self._loop = asyncio.get_running_loop()
        self._scope = asyncio.timeout(None)
        self._handle: asyncio.TimerHandle | None = None
        self._starts = 0
        self._until = math.inf

    async def __aenter__(self) -> None:
        """Start the time."""
        await self._scope.__aenter__()
        if self._seconds < math.inf:
            self._start(self._seconds)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Raise `TimeoutError` if the time was over."""
        if self._handle is not None:
            self._handle.cancel()
        await self._scope.__aexit__(kind, error, traceback)

    @property
    def half_over(self) -> bool:
        """Return whether half of the time is over."""
        return self._until - self._loop.time() < self._seconds / 2

    def _start(self, seconds: float) -> None:
        self._starts += 1
        when = self._until = self._loop.time() + seconds
        self._handle = self._loop.call_at(when, self._end, when)

    def _end(self, when: float) -> None:
        late = self._loop.time() - when
        if late > LATE_SECONDS and self._starts < MOST_STARTS:
            self._start(min(self._seconds, late))
        else:
            self._scope.reschedule(self._loop.time())


class _Patience(Link):
    """A connection whose timeouts a late event loop does not shorten.

    A timeout, and the answer that the server takes no writes, drop all connections to the address.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # The timeouts of redis-py are off, because a late loop shortens them.
        self._reply_seconds, self.socket_timeout = self.socket_timeout, None
        self._connect_seconds, self.socket_connect_timeout = self.socket_connect_timeout, None
        self.links.add(self)

    async def _connect(self) -> None:
        self.loop = asyncio.get_running_loop()
        async with PatientTimeout(self._connect_seconds):
            await super()._connect()  # type: ignore[safe-super, no-untyped-call]

    async def disconnect(
        self,
        nowait: bool = False,
        error: Exception | None = None,
        failure_count: int | None = None,
        health_check_failed: bool = False,
    ) -> None:
        """Close the connection.

        It is aborted if closing takes longer than the timeout: that is no error, because the
        connection is of no more use.
        """
        writer = self._writer
        await super().disconnect(True, error, failure_count, health_check_failed)
        if nowait or writer is None or asyncio.current_task() is None:
            return
        try:
            async with PatientTimeout(self._connect_seconds):
                await writer.wait_closed()
        except OSError:  # such as TimeoutError
            writer.transport.abort()

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """Send a command; connect first if the connection is closed.

        Raises:
            ConnectionError: the connection broke.
            TimeoutError: the server did not take the command in time. These are redis-py's errors.
        """
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        # CPython before 3.13.1 raises an AttributeError when a reset transport writes parts.
        writer = self._writer
        if writer is None or writer.is_closing():
            await self.disconnect(nowait=True)
            raise BrokenConnectionError("the connection was closed")
        try:
            async with PatientTimeout(self._reply_seconds):
                await super().send_packed_command(command, check_health)
        except TimeoutError:
            raise NoAnswerError(f"Timeout writing to {self._host_error()}") from None

    async def read_response(
        self,
        disable_decoding: bool = False,
        timeout: float | None = None,
        *,
        disconnect_on_error: bool = True,
        push_request: bool | None = False,
    ) -> Any:
        seconds = self._reply_seconds if timeout is None else timeout
        read, push = super().read_response, push_request
        self.use = Use.PUSHES if push else Use.REPLY
        limit = None
        try:
            if seconds is None or math.isinf(seconds) or seconds <= 0:
                return await read(
                    disable_decoding,
                    timeout,
                    disconnect_on_error=disconnect_on_error,
                    push_request=push,
                )
            limit = PatientTimeout(seconds)
            async with limit:
                # After a given timeout the caller may read again.
                return await read(
                    disable_decoding,
                    math.inf,
                    disconnect_on_error=disconnect_on_error and timeout is None,
                    push_request=push,
                )
        except TimeoutError:
            if timeout is not None:
                return None
            await self.links.drop()
            raise NoAnswerError(f"Timeout reading from {self._host_error()}") from None
        except NoAnswerError:
            raise
        except (ResponseError, BusyLoadingError) as error:
            refusal = refusal_in(error)
            if refusal is not None and refusal.is_of_the_node:
                await self.links.drop()  # marks this connection, too
            raise
        except BaseException as error:
            if disconnect_on_error:
                await self.disconnect(nowait=True)
            cancelled = isinstance(error, asyncio.CancelledError) and timeout is None
            # Many callers have a timeout of their own, which ends before the connection's.
            if cancelled and limit is not None and limit.half_over:
                await self.links.drop()
            raise
        finally:
            self.use = Use.IDLE


def make_patient(cluster: RedisCluster, links: Links) -> None:
    """Give the connections of a cluster's client patient timeouts, before the first connection."""
    options = cluster.nodes_manager.connection_kwargs
    options["connection_class"] = patient(options["connection_class"], links)
    for node in cluster.startup_nodes:
        node.connection_class = options["connection_class"]


def patient[C: AbstractConnection](connection_class: type[C], links: Links) -> type[C]:
    """Return a class of connections; a late event loop shortens no timeout."""
    name = f"Patient{connection_class.__name__}"
    return type(name, (_Patience, connection_class), {"links": links})

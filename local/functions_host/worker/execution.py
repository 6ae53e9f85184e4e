"""The execution of functions: retries, log lines and the count of outstanding invocations."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from local.functions_host.worker.cancellation import CancellationToken
from local.functions_host.worker.functions import Function
from local.functions_host.worker.retry_policy import RetryPolicy
from local.functions_host.worker.worker import Datum, Result

_log = logging.getLogger("Host.Executor")


@dataclass(frozen=True, slots=True)
class Invocation:
    """The data that a trigger passes to a function.

    Attributes:
        datum: the trigger's data.
        metadata: the trigger's metadata, by name.
        reason: the reason of the run, for the log.
        details: the second log line, for triggers that have details; else "".
        level: the log level of the lines about start and success.
        unbound: the reason why the data cannot be bound; each attempt then fails without a call of
            the function. "" for data that can be bound.
    """

    datum: Datum
    metadata: dict[str, Datum]
    reason: str
    details: str = ""
    level: int = logging.INFO
    unbound: str = ""


class Invoker(Protocol):
    """The interface that runs one attempt, implemented by the worker."""

    async def invoke(
        self,
        function: Function,
        invocation_id: str,
        inputs: list[tuple[str, Datum]],
        metadata: dict[str, Datum],
        *,
        retry: RetryPolicy | None = None,
        retry_count: int = 0,
    ) -> Result:
        """Run the function; the result has the function's exception, if any."""


class Executor:
    """The runner of functions, which counts outstanding invocations and retries."""

    def __init__(
        self,
        worker: Invoker,
        *,
        timeout: float | None = None,
        on_timeout: Callable[[Function], None] = lambda function: None,
    ) -> None:
        self._worker = worker
        self._timeout = timeout
        self._on_timeout = on_timeout
        self._running: set[asyncio.Task[Any]] = set()
        self.outstanding_invocations = 0
        self.outstanding_retries = 0

    def start[T](self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` in a task of its own, so that a waiting caller can be cancelled separately."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def wait(self, timeout: float) -> int:
        """Wait at most `timeout` seconds for all tasks; return the number that still run."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=timeout)
        return len(self._running)

    async def execute(
        self, function: Function, invocation: Invocation, token: CancellationToken
    ) -> Result:
        """Run `function` until an attempt succeeds, no retry is left, or `token` is cancelled.

        Each attempt is an invocation with an id of its own. The retry count is in memory, so the
        count begins at 0 after a restart, as on Azure. Returns the last attempt's result.
        """
        policy = function.retry
        result = await self._attempt(function, invocation, 0, token)
        if result.ok or policy is None or token.is_cancelled():
            return result
        retry_count = 1
        self.outstanding_retries += 1
        try:
            while not result.ok and policy.allows(retry_count) and not token.is_cancelled():
                delay = policy.delay_seconds(retry_count)
                _log.info(
                    "Waiting for %.3fs before retrying function 'Functions.%s' (retry %d of %s)",
                    delay,
                    function.name,
                    retry_count,
                    "infinite" if policy.max_retry_count < 0 else policy.max_retry_count,
                )
                if await token.wait(delay):
                    break
                result = await self._attempt(function, invocation, retry_count, token)
                retry_count += 1
        finally:
            self.outstanding_retries -= 1
        return result

    async def _attempt(
        self, function: Function, invocation: Invocation, retry: int, token: CancellationToken
    ) -> Result:
        invocation_id = str(uuid.uuid4())
        level = invocation.level
        # As in Azure's host, so that host.json can set the level of one function.
        log = logging.getLogger(f"Function.{function.name}")
        if log.isEnabledFor(level):
            log.log(
                level,
                "Executing 'Functions.%s' (Reason='%s', Id=%s)",
                function.name,
                invocation.reason,
                invocation_id,
            )
            if invocation.details:
                log.log(level, "Trigger Details: %s", invocation.details)
        self.outstanding_invocations += 1
        timer = None
        if self._timeout is not None:
            timer = asyncio.get_running_loop().call_later(
                self._timeout, self._timed_out, function, invocation_id
            )
        started = time.perf_counter()
        try:
            result = await self._invoke(function, invocation, invocation_id, retry)
        finally:
            self.outstanding_invocations -= 1
            if timer is not None:
                timer.cancel()
        milliseconds = (time.perf_counter() - started) * 1000
        if result.ok:
            log.log(
                level,
                "Executed 'Functions.%s' (Succeeded, Id=%s, Duration=%dms)",
                function.name,
                invocation_id,
                milliseconds,
            )
        elif token.is_cancelled():
            # The host stops, or has lost the partition: an error is expected, and no traceback.
            log.warning(
                "Executed 'Functions.%s' (Failed after its cancellation, Id=%s, Duration=%dms): %s",
                *(function.name, invocation_id, milliseconds, result.error),
            )
        else:
            log.error(
                "Executed 'Functions.%s' (Failed, Id=%s, Duration=%dms)\n"
                "Exception while executing function: Functions.%s. %s\n%s",
                function.name,
                invocation_id,
                milliseconds,
                function.name,
                result.error,
                result.traceback.rstrip(),
            )
        return result

    async def _invoke(
        self, function: Function, invocation: Invocation, invocation_id: str, retry: int
    ) -> Result:
        if invocation.unbound:
            error = f"Exception binding parameter '{function.parameter}'. {invocation.unbound}"
            return Result(ok=False, value=None, outputs={}, error=error)
        return await self._worker.invoke(
            function,
            invocation_id,
            [(function.parameter, invocation.datum)],
            invocation.metadata,
            retry=function.retry,
            retry_count=retry,
        )

    def _timed_out(self, function: Function, invocation_id: str) -> None:
        _log.error(
            "Timeout value of %gs exceeded by function 'Functions.%s' (Id: '%s'); this host stops, "
            "because a running function cannot be interrupted",
            self._timeout,
            function.name,
            invocation_id,
        )
        self._on_timeout(function)

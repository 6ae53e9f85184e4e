"""The attempts of a redrive at the events of one key, under the key's lease."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from breaker import Key
from processing.dependencies.scope import Scope, enter_scope
from processing.event import Event
from processing.handlers.raised import describe, type_name
from processing.handlers.retry import Failure, FailureKind
from processing.poison.queue import Received
from processing.redrive.context import RedriveRun
from processing.redrive.key_lease import KeyLease
from processing.redrive.summary import RedriveCounts

_THROTTLED_SECONDS = 60.0
"""Longest time that one event waits because a dependency limits the rate of calls."""
_THROTTLED_PAUSE = 1.0
"""Pause if the dependency does not name one."""
_REASONS = {
    FailureKind.THROTTLED: "a dependency limits the rate of calls",
    FailureKind.REFUSED: "an open circuit refused a call",
    FailureKind.FAULTY: "the handler is faulty",
}
"""Why a redrive stops at a failure that is not the event's fault."""


class KeyAttempts:
    """The attempts at one key's events.

    Args:
        run: the state that the keys of the redrive share.
        lease: the key's lease.
        counts: the counts of the redrive.
    """

    def __init__(self, run: RedriveRun, lease: KeyLease, counts: RedriveCounts) -> None:
        self._run = run
        self._lease = lease
        self._counts = counts
        self._scope: Scope | None = None

    def scope(self) -> Scope | None:
        """Return the dependencies of the present event; None if the redrive has no circuits.

        Open circuits refuse the calls of a redrive, but a redrive takes no permit and reports no
        outcome.
        """
        circuits = self._run.dependencies
        if self._scope is None and circuits is not None:
            loop = asyncio.get_running_loop()
            self._scope = Scope(circuits, Key("redrive"), loop, probes=False, reports=False)
        return self._scope

    @property
    def is_deferred(self) -> bool:
        """Return whether the key was deferred when its lease was acquired."""
        return self._lease.deferral is not None

    def may_start(self) -> bool:
        """Return whether another event may start.

        Raises:
            LeaseLostError: the lease has expired.
        """
        self._check_lease()
        return self._run.may_start()

    async def handle(self, event: Event) -> Failure | None:
        """Handle one event; wait, for a limited time, if a dependency limits the rate of calls.

        Raises:
            LeaseLostError: the lease has expired before a further attempt.
        """
        enter_scope(self)
        try:
            return await self._handle(event)
        finally:
            if self._scope is not None and self._scope.unsettled:
                await self._scope.end()

    async def _handle(self, event: Event) -> Failure | None:
        left = _THROTTLED_SECONDS
        while True:
            failure = await self._run.retry.run(
                self._run.handler.handle,
                replace(event),  # a handler may replace the parts of its event
                before_retry=self._before_retry,
            )
            if failure is None or failure.kind is not FailureKind.THROTTLED:
                return failure
            pause = failure.retry_after or _THROTTLED_PAUSE
            if pause > left:
                return failure
            left -= pause
            await self._run.pause(pause)
            if not self.may_start():
                return failure

    async def _before_retry(self) -> None:
        self._check_lease()

    def _check_lease(self) -> None:
        """Check that the lease outlasts a call of the handler; another holder may start then."""
        self._lease.check(self._run.call_seconds)

    def end_for(self, event: Event, failure: Failure) -> None:
        """End the key, or the whole redrive, for a failure that keeps the event.

        Other keys may not need the dependency of a deferred key, or the one that the failure names.
        """
        if self.is_deferred:
            self._counts.count_still_deferred(event, failure.error)
            return
        if failure.dependency:
            self._counts.count_kept(event, failure.error)
            return
        what = _REASONS.get(failure.kind, "a dependency is unavailable")
        self._run.stop(f"{what}: {type_name(failure.error)}: {describe(failure.error)}")

    async def remove(self, copies: Sequence[Received]) -> bool:
        """Remove copies of a message from the queue; return whether no other reader has one."""
        removed = [await self._run.reader.remove(copy) for copy in copies]
        return all(removed)

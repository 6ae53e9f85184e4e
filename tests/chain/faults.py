"""The calls of the chain, and the faults of a call."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tests.chain.clocks import HOUR, MINUTE, Background
from tests.support.local.simulated_clock import SimulatedClock

if TYPE_CHECKING:
    from tests.chain.happenings import Happening


class Call(StrEnum):
    """A call between two parts of the chain, in the order of the chain."""

    PUBLISH = "publish the alert to the topic"
    DELIVER = "deliver the event to the workflow"
    LOOK_UP = "look up the circuit before the stop"
    STOP = "stop the app"
    MAIL = "send the mail"
    SUBSCRIBE = "ask for the approval"
    CALL_BACK = "call the workflow back"
    LOOK_UP_AGAIN = "look up the circuit before the start"
    START = "start the app"
    REPORT = "report the steps to the console"

    @property
    def is_late(self) -> bool:
        """Return whether the call is only made after an approval."""
        return self in {Call.CALL_BACK, Call.LOOK_UP_AGAIN, Call.START}

    @property
    def seconds(self) -> float:
        """The timeout of one attempt."""
        return {Call.PUBLISH: 10.0, Call.DELIVER: 30.0, Call.CALL_BACK: 10.0}.get(self, 120.0)

    @property
    def refusal(self) -> int:
        """The status 4xx that fits the call."""
        wrong_role = {Call.STOP: 403, Call.START: 403, Call.MAIL: 403, Call.CALL_BACK: 404}
        return wrong_role.get(self, 401)


class Outcome(StrEnum):
    """The outcome of a call."""

    SUCCESS = "success"
    REFUSED = "4xx"
    CONFLICT = "409"
    FAILED = "5xx"
    NO_ANSWER = "no answer"
    LATE = "done after the time-out"
    LOST = "done, answer lost"


class Length(StrEnum):
    """The duration of an outcome."""

    ONCE = "first attempt"
    LONG = "long"
    ALWAYS = "for good"


LONG_SECONDS = 45 * MINUTE
"""Longer than the loops of stop and start, a wait for a decision, and the alarms' windows."""
DELIVERY_SECONDS = 2 * HOUR
"""The long outcome of a delivery, which Event Grid gives up after an hour."""
COPY_SECONDS = 2 * MINUTE
"""The long outcome of an alert that is published again and again: 8 copies."""
_LATE_SECONDS = 10.0


@dataclass(frozen=True)
class Strike:
    """An outcome of one call, and what happens at that time.

    Attributes:
        call: the call.
        outcome: the outcome of the call.
        length: how long the outcome lasts, from the first attempt.
        happening: what happens at the first attempt.
    """

    call: Call
    outcome: Outcome
    length: Length
    happening: Happening

    @property
    def seconds(self) -> float:
        """The length of a long outcome."""
        if self.call is Call.DELIVER:
            return DELIVERY_SECONDS
        copies = self.call is Call.PUBLISH and self.outcome in {Outcome.LATE, Outcome.LOST}
        return COPY_SECONDS if copies else LONG_SECONDS

    def __str__(self) -> str:
        return f"{self.call}: {self.outcome}, {self.length}; {self.happening}"


class LostError(Exception):
    """A call without an answer."""


@dataclass
class _Struck:
    """A strike and its first attempt."""

    strike: Strike
    since: float | None = None
    attempts: int = 0
    happened: bool = False


@dataclass
class FaultLine:
    """The way of each call, on which its strikes hit.

    Attributes:
        clock: the simulated clock.
        strikes: the strikes of this cell.
        happens: performs what happens at the first attempt of a strike.
    """

    clock: SimulatedClock
    strikes: Sequence[Strike]
    happens: Callable[[Happening], Coroutine[Any, Any, None]]
    background: Background
    calls: dict[Call, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._struck = [_Struck(strike) for strike in self.strikes]
        self.repaired = False

    @property
    def all_struck(self) -> bool:
        """Return whether each strike has hit its call."""
        return all(each.since is not None for each in self._struck)

    @property
    def struck_at(self) -> float | None:
        """The time of the last first attempt; None before one."""
        return max((each.since for each in self._struck if each.since is not None), default=None)

    async def send[Answer](
        self,
        call: Call,
        effect: Callable[[], Awaitable[Answer]],
        refuse: Callable[[int], Answer],
    ) -> Answer:
        """Make a call.

        Args:
            call: the call.
            effect: what the receiver does; returns the answer.
            refuse: returns the answer with a status.

        Raises:
            LostError: there is no answer.
        """
        self.calls[call] = self.calls.get(call, 0) + 1
        struck = next((each for each in self._struck if each.strike.call is call), None)
        if struck is None:
            return await effect()
        outcome = self._outcome(struck)
        if outcome in {Outcome.SUCCESS, Outcome.LOST}:
            answer = await effect()
            await self._happen(struck)
            if outcome is Outcome.SUCCESS:
                return answer
            raise LostError("the answer is lost")
        await self._happen(struck)
        status = {Outcome.REFUSED: call.refusal, Outcome.CONFLICT: 409, Outcome.FAILED: 503}
        if outcome in status:
            return refuse(status[outcome])
        if outcome is Outcome.LATE:
            self.background.start(self._later(call.seconds + _LATE_SECONDS, effect))
        await self._sleep(call.seconds)
        raise LostError("timed out")

    def _outcome(self, struck: _Struck) -> Outcome:
        strike, now = struck.strike, self.clock.now()
        if struck.since is None:
            struck.since = now
        struck.attempts += 1
        ends = {
            Length.ONCE: struck.attempts > 1,
            Length.LONG: now >= struck.since + strike.seconds,
            Length.ALWAYS: self.repaired,
        }
        return Outcome.SUCCESS if ends[strike.length] else strike.outcome

    async def _happen(self, struck: _Struck) -> None:
        """Perform what happens in a task of its own, because that may end the calling process."""
        if not struck.happened:
            struck.happened = True
            self.background.start(self.happens(struck.strike.happening))
            await self._sleep(1.0)

    async def _later(self, seconds: float, effect: Callable[[], Awaitable[object]]) -> None:
        await self._sleep(seconds)
        with contextlib.suppress(LostError):
            await effect()

    async def _sleep(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.now() + seconds)

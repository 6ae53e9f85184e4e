"""The downstream of a scenario: its outage, and what the operator repairs before an approval."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from loadtest.faults.chaos import Target, now_us
from loadtest.faults.outage import (
    FIRST_KEY,
    dead_key,
    end_outage,
    retrying_client,
    set_dependency_outage,
    set_outage,
    set_partial_outage,
)
from loadtest.observe.observer import Observer
from loadtest.plan.second_act import AWAY, BEGINS_AFTER_PERCENT
from loadtest.plan.settings import WITH_OUTAGE, Scenario, Settings
from loadtest.plan.workload import Workload
from loadtest.target.endpoints import Endpoints
from loadtest.target.keys import Keys

_POLL_SECONDS = 0.2
_MOST_OPENINGS = 3
_OTHERS_SECONDS = 60.0
"""The longest time in which the events of all keys but the dead one must be handled."""


@dataclass(frozen=True, slots=True)
class Act:
    """A time in which the downstream was away, by this machine's clock, as FaultDone."""

    title: str
    began_us: int
    ended_us: int


class Downstream:
    """The downstream, which is away from the start of the scenario's outage until an approval.

    Attributes:
        acts: the acts that are over, of a scenario that has acts.
        target: the parts of the stack that faults hit.
        over: whether the outage has begun, if the scenario has one, and nothing more is to come.
        problem: a promise that only this object sees broken; None if none was.
    """

    def __init__(self, settings: Settings, observer: Observer, target: Target) -> None:
        self._settings = settings
        self._observer = observer
        self.target = target
        self.over = settings.scenario not in WITH_OUTAGE
        self.problem: str | None = None
        self.acts: list[Act] = []

    async def run(self) -> None:
        """Start the outage once enough events have been handled."""
        if not self.over:
            await self._begin()
            self.over = True

    async def recover(self) -> None:
        """Repair the downstream."""
        await end_outage(self.target.endpoints, self.target.keys)

    async def _begin(self) -> None:
        after = self._settings.outage_after
        await self._observer.until(lambda sample: sample.handled >= after)
        await set_outage(self.target.endpoints, self.target.keys)
        self.target.release()


class LateDownstream(Downstream):
    """A downstream that is still away at the first approval."""

    _is_late = True

    async def recover(self) -> None:
        """Repair the downstream, but not before the first approval."""
        if not self._is_late:
            await super().recover()
        self._is_late = False


class DyingDownstream(Downstream):
    """A downstream that comes back for all keys but one: the first key that calls is dead.

    Therefore the first probe after the approval fails for good, and its event is the first
    unfinished event of a partition. The dead key is deferred, and heals when all events of the
    other keys have been handled.

    Args:
        print_line: called with the name of the dead key.
    """

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        target: Target,
        print_line: Callable[[str], None],
    ) -> None:
        super().__init__(settings, observer, target)
        self._print_line = print_line
        self._has_died = False

    async def run(self) -> None:
        """Start the outage; end the death of the key when no other event is left."""
        generation = self._observer.latest.generation
        await self._begin()
        await self._observer.until(
            lambda sample: (
                (self._has_died and sample.generation > generation and sample.state == "closed")
                or sample.generation >= generation + _MOST_OPENINGS
            )
        )
        if self._observer.latest.state == "closed":
            await self._let_the_others_finish()
        await end_outage(self.target.endpoints, self.target.keys)
        self.over = True

    async def recover(self) -> None:
        """Repair the downstream for all keys but the first one that calls."""
        if not self._has_died:
            await set_outage(self.target.endpoints, self.target.keys, FIRST_KEY)
            self._has_died = True

    async def _let_the_others_finish(self) -> None:
        key = await dead_key(self.target.endpoints, self.target.keys)
        if key is None:
            self.problem = "the circuit closed, but no event was tried"
            return
        self._print_line(f"the circuit closed although {key} is dead")
        give_up_at = time.monotonic() + _OTHERS_SECONDS
        while missing := await self._missing_besides(key):
            if time.monotonic() >= give_up_at:
                self.problem = f"{missing} events of other keys waited for the dead {key}"
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _missing_besides(self, dead: str) -> int:
        """Return the number of unhandled events of all keys but the dead one."""
        workload, keys = Workload.from_settings(self._settings), self.target.keys
        async with retrying_client(self.target.endpoints) as client:
            pipeline = client.pipeline(transaction=False)
            for name in workload.key_names:
                pipeline.llen(keys.ledger(f"key:{name}"))
            handled = await pipeline.execute()
        counts = zip(
            workload.key_names, map(workload.count, range(workload.keys)), handled, strict=True
        )
        return sum(count - found for name, count, found in counts if name != dead)


class PassingDownstream(Downstream):
    """A downstream that is away for some calls, and comes back by itself after a while.

    Args:
        go_away: makes the downstream refuse these calls.
        seconds: the duration of the outage.
    """

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        target: Target,
        go_away: Callable[[Endpoints, Keys], Awaitable[None]],
        seconds: float,
    ) -> None:
        super().__init__(settings, observer, target)
        self._go_away = go_away
        self._seconds = seconds

    async def run(self) -> None:
        """Let the downstream refuse some calls for a while."""
        after = self._settings.outage_after
        await self._observer.until(lambda sample: sample.handled >= after)
        await self._go_away(self.target.endpoints, self.target.keys)
        self.target.release()
        await asyncio.sleep(self._seconds)
        await self.recover()
        self.over = True


class TwoActs(Downstream):
    """A downstream that is away for all keys, and later for the keys that need the bank.

    Args:
        print_line: called at the beginning of each act.
    """

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        target: Target,
        print_line: Callable[[str], None],
    ) -> None:
        super().__init__(settings, observer, target)
        self._print_line = print_line
        self._first_began_us = 0

    async def run(self) -> None:
        """Play the first act until an approval, and the second until the bank's circuit opens."""
        generation = self._observer.latest.generation
        await self._begin()
        self._first_began_us = now_us()
        self._print_line("first act: the downstream is away for all keys")
        begins = self._settings.events * BEGINS_AFTER_PERCENT // 100
        await self._observer.until(
            lambda sample: (
                sample.generation > generation
                and sample.state == "closed"
                and sample.handled >= begins
            )
        )
        self._print_line(f"second act: the {AWAY} is away for some keys")
        await set_dependency_outage(self.target.endpoints, self.target.keys, AWAY)
        began_us = now_us()
        await self._observer.until(lambda sample: sample.dependencies.get(AWAY) == "open")
        await super().recover()
        self.acts.append(Act(f"the {AWAY} is away for some keys", began_us, now_us()))
        self.over = True

    async def recover(self) -> None:
        """End the first act."""
        await super().recover()
        if not self.acts:
            self.acts.append(
                Act("the downstream is away for all keys", self._first_began_us, now_us())
            )


def downstream_of(
    settings: Settings, observer: Observer, target: Target, print_line: Callable[[str], None]
) -> Downstream:
    """Return the downstream of the scenario."""
    if settings.scenario is Scenario.DEAD_KEY:
        return DyingDownstream(settings, observer, target, print_line)
    if settings.second_act:
        return TwoActs(settings, observer, target, print_line)
    plan = settings.chaos
    if plan is not None and (plan.away or plan.down):
        if plan.away:
            go_away = partial(set_dependency_outage, dependency=plan.away)
        else:
            names = Workload.from_settings(settings).key_names
            go_away = partial(set_partial_outage, away=[names[index] for index in plan.down])
        return PassingDownstream(settings, observer, target, go_away, plan.down_seconds)
    if plan is not None and plan.approves_early:
        return LateDownstream(settings, observer, target)
    return Downstream(settings, observer, target)

"""The faults of one of two pipelines, and what an operator does about them.

Before the operator lets the hit pipeline continue, the other pipeline has to show that it runs: it
handles each event that it had been sent, and some more. A pipeline that waits for the hit one would
never do that, however slow the machine is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from loadtest.errors import OperatorError
from loadtest.faults.chaos import Target, now_us
from loadtest.faults.downstream import Act, Downstream
from loadtest.faults.outage import retrying_client
from loadtest.observe.observer import Observer
from loadtest.plan.settings import Settings
from loadtest.plan.two_pipelines import MORE_EVENTS
from loadtest.target import operations
from loadtest.target.lists import waiting_events

_POLL_SECONDS = 0.2
_OTHER_SECONDS = 90.0
"""The longest time in which the other pipeline shows that it runs.

On a busy machine it takes 20 s until the partitions of a killed host are handled again.
"""


@dataclass(frozen=True, slots=True)
class Other:
    """The pipeline that the faults of the hit one must not touch.

    Attributes:
        name: the pipeline's name.
        observer: its observer.
        target: its parts of the stack.
    """

    name: str
    observer: Observer
    target: Target


class HitPipeline(Downstream):
    """The downstream of the hit pipeline, and the operator's acts on that pipeline.

    Args:
        other: the other pipeline.
        print_line: called at the beginning of each act.
    """

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        target: Target,
        other: Other,
        print_line: Callable[[str], None],
    ) -> None:
        super().__init__(settings, observer, target)
        self._other = other
        self._print_line = print_line
        self._began_us = 0

    async def run(self) -> None:
        """Isolate the pipeline if the plan says so, and let its downstream go away once."""
        plan = self._settings.chaos
        if plan is not None and plan.isolates:
            await self._isolate(self._settings.outage_after // 2)
        generation = self._observer.latest.generation
        await self._begin()
        self._began_us = now_us()
        self._print_line(f"the downstream of {self._settings.pipeline} is away")
        await self._observer.until(lambda sample: sample.generation > generation)
        await self._observer.until(lambda sample: sample.state == "closed")
        self.over = True

    async def recover(self) -> None:
        """Repair the downstream once the other pipeline has shown that it runs."""
        await self._see_the_other_run("open")
        await super().recover()
        title = f"the downstream of {self._settings.pipeline} is away"
        self.acts.append(Act(title, self._began_us, now_us()))

    async def redrive(self) -> None:
        """Cure the poison events of the hit pipeline, and replay them.

        Raises:
            StackError: a replay failed.
        """
        began_us = now_us()
        async with retrying_client(self.target.endpoints) as client:
            await client.set(self.target.keys.ledger("cured"), "1")
        output = await operations.redrive(self.target.endpoints)
        title = f"redrive of {self._settings.pipeline}"
        self._print_line(f"{title}: {output.rpartition(chr(10))[2]}")
        self.acts.append(Act(title, began_us, now_us()))

    async def _isolate(self, after: int) -> None:
        await self._observer.until(lambda sample: sample.handled >= after)
        began_us = now_us()
        title = f"{self._settings.pipeline} is isolated"
        self._print_line(title)
        await operations.isolate(self.target.endpoints)
        isolated = await self._observer.until(lambda sample: sample.state == "isolated")
        await self._see_the_other_run("isolated")
        await operations.close(self.target.endpoints, isolated.generation)
        await self._observer.until(lambda sample: sample.state == "closed")
        self.acts.append(Act(title, began_us, now_us()))

    async def _see_the_other_run(self, state: str) -> None:
        """Wait until the other pipeline has handled what it was sent, and some events more.

        Raises:
            OperatorError: the other pipeline has not done so in time; the run gives up.
        """
        other = self._other
        other.target.release()
        sent = other.target.sent()
        handled = other.observer.latest.handled + MORE_EVENTS
        give_up_at = time.monotonic() + _OTHER_SECONDS
        async with retrying_client(other.target.endpoints) as client:
            while True:
                sample = other.observer.latest
                waiting = len(await waiting_events(client, other.target.keys.run))
                missing = sent - sample.handled - sample.poisoned - waiting
                if missing <= 0 and sample.handled >= handled:
                    return
                if time.monotonic() >= give_up_at:
                    raise OperatorError(
                        f"{other.name} stood still while {self._settings.pipeline} was {state}: "
                        f"{max(0, missing)} of its events waited for {_OTHER_SECONDS:g} s, and "
                        f"{max(0, sample.handled + MORE_EVENTS - handled)} were handled"
                    )
                await asyncio.sleep(_POLL_SECONDS)

"""Refusals of a server that has taken no writes, which arrive after the end of the outage."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from breaker import BreakerSettings, CircuitBreaker, ManualClock
from breaker.errors import WritesRefusedError
from tests.support.breaker.unreliable_store import UnreliableStore, pass_time, settle, until

SETTINGS = BreakerSettings(name="c", failure_threshold=3, store_grace_seconds=30, poll_seconds=1)
WHY = "takes no writes: it is a replica"


class LateStore(UnreliableStore):
    """A store that keeps some refusals back.

    Attributes:
        late: the operations whose next answer is late.
        waiting: the number of answers that wait.
        answers: set when they may arrive.
    """

    late: frozenset[str] = frozenset()
    waiting = 0
    answers: asyncio.Event

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in super().__getattribute__("late"):
            return found

        async def refuse(*arguments: Any) -> Any:
            self.late -= {name}
            self.waiting += 1
            await self.answers.wait()
            if name == "snapshot":
                return replace(await found(*arguments), refused=WHY)
            raise WritesRefusedError(WHY)

        return refuse


@pytest.mark.parametrize("late", ["record_failure", "snapshot"])
async def test_late_refusal_begins_no_outage(late: str, caplog: pytest.LogCaptureFixture) -> None:
    """As of the old primary, whose answers are read after those of the new one.

    The operation is repeated: a failure counts, and a poll knows the state.
    """
    clock = ManualClock()
    store = LateStore("c", now_us=clock.now_us)
    store.answers = asyncio.Event()
    async with CircuitBreaker(store, SETTINGS, clock=clock) as breaker:
        permit = await breaker.try_acquire()
        if late == "snapshot":  # the question whether the outage is over
            store.refuses = WHY
            await pass_time(clock, 1)
        store.late = frozenset({late})
        recording = asyncio.create_task(breaker.record_failure("a", "boom", permit))
        asking = asyncio.create_task(breaker.refresh())
        await until(lambda: store.waiting == 1)
        store.refuses = WHY
        await pass_time(clock, 2)
        store.refuses = ""
        await pass_time(clock, 2)
        assert not breaker.circuit.degraded
        caplog.clear()
        store.answers.set()
        await recording
        await asking
        await settle()
        assert not breaker.circuit.degraded
        assert breaker.circuit.failures == 1
        assert "nothing starts" not in caplog.text

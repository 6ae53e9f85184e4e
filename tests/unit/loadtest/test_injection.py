"""When a run may end, as far as what goes on beside the sending has a say in it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from loadtest.faults.injection import FaultInjection
from loadtest.observe.observer import Observer, Sample
from loadtest.operator import Operator
from loadtest.plan.settings import Scenario, Settings
from loadtest.target.keys import Keys

NOWHERE = cast("Any", None)
"""Endpoints and what faults hit: nothing of them is reached for here."""


async def test_a_run_is_not_over_before_the_operator_has_approved() -> None:
    """The app goes on as soon as the circuit lets it, and may be done with everything before the
    approval has returned: the report would lack it.
    """
    observer = Observer(NOWHERE, Keys("run", "c", ()), window_seconds=30)
    observer.latest = Sample(state="open", generation=2, app_state="Stopped")
    answered = asyncio.Event()

    async def recover() -> None:
        pass

    async def approve(generation: int) -> None:
        observer.latest = Sample(state="closed", generation=generation)
        await answered.wait()

    operator = Operator(
        observer, "", recover, approve, approve_after_seconds=0.0, after_generation=1
    )
    settings = Settings(scenario=Scenario.STEADY)
    injection = FaultInjection(settings, observer, operator, NOWHERE, print)

    def over() -> bool:
        return injection.over

    assert over()
    async with asyncio.timeout(30), injection:
        while observer.latest.state != "closed":
            await asyncio.sleep(0)
        assert not over()
        answered.set()
        while not over():
            await asyncio.sleep(0)
        assert [approval.generation for approval in operator.approvals] == [2]

"""A run ends only after its faults and approvals."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from loadtest.faults.downstream import Downstream
from loadtest.faults.injection import FaultInjection
from loadtest.observe.observer import Observer, Sample
from loadtest.operator import Operator
from loadtest.plan.settings import Scenario, Settings
from loadtest.target.keys import Keys

NOWHERE = cast("Any", None)
"""The endpoints and the target of faults, which this test does not use."""


async def test_run_is_not_over_before_the_operator_has_approved() -> None:
    """The app may handle every event before the approval returns.

    If the run ended then, the report would lack the approval.
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
        observer, "", recover, approve, circuit="c", approve_after_seconds=0.0, after_generation=1
    )
    settings = Settings(scenario=Scenario.STEADY)
    downstream = Downstream(settings, observer, NOWHERE)
    injection = FaultInjection(settings, observer, operator, downstream, print)

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

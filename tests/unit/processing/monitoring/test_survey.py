"""The cost of the survey of many deferred keys that change."""

from __future__ import annotations

from typing import Any

from processing.progress.store import Mark
from tests.support.processing.events import SOURCE
from tests.support.processing.watch_rig import WatchRig
from tests.unit.processing.monitoring.test_watching import breaker, defer, rig

__all__ = ["breaker", "rig"]


async def test_all_keys_are_listed_once_a_minute_at_most(rig: WatchRig) -> None:
    """With new deferred keys at each survey, a listing of 10,000 keys would come every 5 s."""
    listings = 0
    ask: Any = rig.parking.keys

    async def keys() -> Any:
        nonlocal listings
        listings += 1
        return await ask()

    rig.parking.keys = keys  # type: ignore[method-assign]
    await rig.progress.commit(SOURCE, 0, Mark(9, 1), [])
    await defer(rig, "bad", 6)
    rig.last_success = rig.clock.monotonic() + 1
    await rig.after(605)
    assert listings == 1
    for number in range(7, 19):
        await defer(rig, f"bad{number}", number)
        (state,) = (await rig.after(5)).states
        assert state.reason.startswith("dependency bank, 4 attempts")
    assert listings == 2

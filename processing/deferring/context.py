"""The state that the replays of one instance share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from processing.deferring.admission import Admission, Need
from processing.deferring.parts import Place, ReplayParts
from processing.deferring.running import DeferredKeys
from processing.deferring.writes import Writes
from processing.parking.batch import Parking
from processing.redrive.lease_returns import LeaseReturns


@dataclass(slots=True)
class ReplayContext:
    """The state that the replays of one instance share.

    Attributes:
        may_start: returns whether a place may start a further event now.
        wait_for: notes the dependency that a place waits for, or None; returns whether the ramp of
            the dependency's circuit admits the place.
        pause: sleeps; raises `ShutdownError` while the instance shuts down.
        out_of_time: returns whether the instance's invocations have used up their time, so that no
            attempt starts.
        returns: gives back the leases of replays at whose end the store did not answer.
        finished: number of finished events.
    """

    parts: ReplayParts
    parking: Parking
    admission: Admission
    keys: DeferredKeys
    writes: Writes
    returns: LeaseReturns
    may_start: Callable[[Place], bool]
    wait_for: Callable[[Place, Need | None], bool]
    pause: Callable[[float], Awaitable[None]]
    out_of_time: Callable[[], bool] = lambda: False
    finished: int = 0

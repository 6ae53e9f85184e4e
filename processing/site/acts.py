"""Stop and start by an operator, on record in the history of each circuit of the app."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from breaker import CircuitBreaker, StoreUnavailableError
from breaker.chain import Step, StepKind
from processing.errors import SiteError
from processing.site.client import Site

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Act:
    """An operator's stop or start.

    Attributes:
        step: the step, accepted or not.
        error: why the step was not accepted; None if it was.
        unrecorded: why the step is not on record; "" if it is.
        released: number of workflow runs that waited for a start and are called back.
    """

    step: Step
    error: SiteError | None
    unrecorded: str
    released: int


async def act(
    kind: StepKind,
    site: Site,
    breaker: CircuitBreaker,
    *,
    by: str,
    reason: str = "",
    now: Callable[[], float] = time.time,
    others: Sequence[CircuitBreaker] = (),
) -> Act:
    """Ask for a stop or a start, and put it on record.

    A failing store prevents neither; the step is then not on record.

    Args:
        kind: stop or start.
        site: the function app.
        breaker: the circuit whose history gets the step; its last known generation is recorded.
        by: the operator.
        reason: for the history.
        now: returns the time, seconds since the epoch.
        others: the circuits of the app's other pipelines, whose histories get the step too.
    """
    at, error = now(), None
    try:
        detail = await (site.stop() if kind is StepKind.STOP else site.start())
    except SiteError as refusal:
        detail, error = refusal.detail, refusal
    step = Step(
        kind=kind,
        generation=breaker.circuit.generation,
        accepted=error is None,
        detail=f"{detail}; {reason}" if reason else detail,
        at=at,
        by=by,
    )
    released = 0
    problems: dict[str, None] = {}
    for each in (breaker, *others):
        try:
            await each.approvals.report(replace(step, generation=each.circuit.generation))
            if kind is StepKind.START and step.accepted:
                released += await each.approvals.release_starts()
        except StoreUnavailableError as problem:
            logger.warning("the %s by %r is not on record: %s", kind, by, problem)
            problems[str(problem)] = None
    return Act(step, error, "; ".join(problems), released)

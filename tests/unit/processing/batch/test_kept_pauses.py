"""The pauses of kept events: as the error says, and never beyond the invocation's time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from breaker import Circuit, CircuitOpenError, CircuitState, MemoryCircuitStore
from processing.errors import DependencyUnavailableError
from processing.event import Event
from tests.support.jumping_loop import run_simulated
from tests.support.processing.events import batch
from tests.support.processing.processor_rig import Rig, keyed, open_rig, trip

SETTINGS = {"max_attempts": 1, "dependency_pause_seconds": 1.0, "hold_seconds": 60.0}


def process(
    errors: Sequence[Exception | None], *keys: str, **settings: Any
) -> tuple[list[float], Rig, int]:
    """Process one batch in simulated time.

    Args:
        errors: what the handler raises for key "a", call by call; the last one repeats.
        keys: the keys of the events.
        settings: settings of processing.

    Returns:
        The times of the calls for key "a", the rig, and the circuit's count of failures. If events
        stay kept, the last time is the end of the invocation.
    """
    times: list[float] = []
    left = list(errors)

    async def handle(each: Event) -> None:
        if each.key == "a":
            times.append(round(asyncio.get_running_loop().time(), 3))
            error = left.pop(0) if len(left) > 1 else left[0]
            if error is not None:
                raise error

    async def main() -> tuple[list[float], Rig, int]:
        async with open_rig(handle, settings=SETTINGS | settings) as rig:
            try:
                await rig.processor.process(batch(keyed(*keys)))
            except DependencyUnavailableError:
                times.append(round(asyncio.get_running_loop().time(), 3))
            return times, rig, (await rig.breaker.refresh()).failures

    return run_simulated(main())


def down(retry_after: Any = None) -> Exception:
    return DependencyUnavailableError("bank", retry_after=retry_after)


def throttled(pause: str | None) -> Exception:
    headers = {} if pause is None else {"Retry-After": pause}
    request = httpx.Request("GET", "http://bank/")
    response = httpx.Response(429, headers=headers, request=request)
    return httpx.HTTPStatusError("429", request=request, response=response)


@pytest.mark.parametrize(
    ("retry_after", "second_call"),
    [(5, 5), ("5", 5), (timedelta(seconds=5), 5), (0.2, 1), (None, 1), (-1, 1), (0, 1), ([9], 1)],
)
def test_event_waits_for_the_longer_of_pause_and_retry_after(
    retry_after: object, second_call: float
) -> None:
    """A pause that is negative, or of another type, must not become a hot loop."""
    times, rig, _ = process([down(retry_after), None], "a")
    assert times == [0, second_call]
    assert (rig.handled, rig.poisoned) == ([0], [])


def test_negative_retry_after_is_no_hot_loop() -> None:
    """The handler is called once per pause until the invocation ends."""
    times, rig, failures = process([down(-1)], "a")
    assert times == [*range(61), 60]
    assert (rig.handled, rig.poisoned, failures) == ([], [], 1)


@pytest.mark.parametrize("retry_after", [61, 3600, 10**400, math.inf, math.nan])
def test_invocation_ends_in_time_whatever_the_error_says(retry_after: float) -> None:
    """An invocation beyond the host's function timeout ends the whole instance."""
    times, rig, _ = process([down(retry_after)], "a")
    assert times == [0, 60, 60]
    assert rig.poisoned == []


def test_long_pause_setting_is_cut_as_well() -> None:
    """The setting takes up to an hour."""
    assert process([down()], "a", dependency_pause_seconds=3600.0)[0] == [0, 60, 60]


def test_other_keys_do_not_wait() -> None:
    """One key's pause concerns that key."""
    _, rig, _ = process([down("30"), None], *"a" + "b" * 100)
    assert rig.handled == [*range(1, 101), 0]


def test_throttled_key_slows_down_and_counts_for_no_rule() -> None:
    """The dependency works; it asks for fewer calls."""
    times, rig, failures = process(
        [throttled("7"), throttled("2"), None], *"aa", max_attempts=4, retry_initial_seconds=1.0
    )
    assert times == [0, 7, 9, 9]
    assert (rig.handled, rig.poisoned, failures) == ([0, 1], [], 0)


def test_throttled_event_without_a_pause_is_never_poisoned() -> None:
    """The attempts and the pauses are those of any kept event."""
    times, rig, failures = process([*[throttled(None)] * 7, None], "a", max_attempts=4)
    assert times == [0, 0, 0, 0, 1, 1, 1, 1]
    assert (rig.handled, failures) == ([0], 0)


def test_refused_call_is_not_retried_and_counts_for_no_rule() -> None:
    """The handler's own circuit has counted the failures."""
    open_ = CircuitOpenError(Circuit(name="bank", state=CircuitState.OPEN), retry_after=20.0)
    times, rig, failures = process([open_, None], "a", max_attempts=4)
    assert times == [0, 20]
    assert (rig.handled, rig.poisoned, failures) == ([0], [], 0)


@pytest.mark.parametrize(
    "error", [throttled("5"), DependencyUnavailableError("the bank is away", retry_after=5)]
)
def test_kept_probe_waits_as_well(error: Exception) -> None:
    """A failed probe may leave the circuit half-open, and must not be a hot loop."""
    times: list[float] = []

    async def limit(_each: Event) -> None:
        times.append(round(asyncio.get_running_loop().time(), 3))
        if len(times) < 3:
            raise error

    async def main() -> CircuitState:
        loop = asyncio.get_running_loop()
        store = MemoryCircuitStore(now_us=lambda: round((1 + loop.time()) * 1_000_000))
        async with open_rig(limit, settings=SETTINGS, store=store) as rig:
            await trip(rig.breaker)
            await rig.breaker.approve(1, "ann")
            await rig.processor.process(batch(keyed("a", "a")))
            return (await rig.breaker.refresh()).state

    assert run_simulated(main()) is CircuitState.CLOSED
    assert times == [0, 5, 10, 10]


def test_kept_event_of_a_503_counts_and_waits() -> None:
    """An outage opens the circuit, and the event is not poisoned."""
    response = httpx.Response(
        503, headers={"Retry-After": "9"}, request=httpx.Request("GET", "http://bank/")
    )
    with pytest.raises(httpx.HTTPStatusError) as found:
        response.raise_for_status()
    times, rig, failures = process([found.value, None], "a", max_attempts=4)
    assert times == [0, 9]
    assert (rig.handled, rig.poisoned, failures) == ([0], [], 1)

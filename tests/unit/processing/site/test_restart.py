"""A restart starts the app again whatever happens to the act, and says what it has seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from breaker.chain import Step, StepKind
from processing.errors import StorageUnavailableError
from processing.site.client import Site
from processing.site.restart import OWNED_SECONDS, STOP_SECONDS, Restart, Stage, Stopping
from processing.site.restart_text import has_failed, restart_line
from processing.site.settings import SiteSettings
from tests.support.arm import Arm


@dataclass
class Rig:
    """A restart of an app whose management the test decides, in simulated time."""

    arm: Arm
    site: Site
    breaker: CircuitBreaker
    time: float = 1_000_000.0
    owned: float = 0.0
    stages: list[Stage] = field(default_factory=list)
    later: list[Callable[[], None]] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.owned = max(0.0, self.owned - seconds)
        if self.later:
            self.later.pop(0)()
        await asyncio.sleep(0)

    async def owned_seconds(self) -> float:
        return self.owned

    def restart(self) -> Restart:
        return Restart(
            self.site,
            self.breaker,
            by="ada",
            reason="rewind",
            owned_seconds=self.owned_seconds,
            show=lambda stage, _seconds, _most: self.stages.append(stage),
            sleep=self.sleep,
            now=lambda: self.time,
            clock=lambda: self.time,
        )

    @property
    def asked(self) -> list[str]:
        """The stops and starts that were asked for."""
        return [operation for _, operation, _, _ in self.arm.calls if operation]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with Arm().running() as arm:
        settings = SiteSettings.from_mapping({"FUNCTION_APP_URL": arm.url})
        assert settings is not None
        store, breaking = MemoryCircuitStore(), BreakerSettings()
        async with CircuitBreaker(store, breaking) as breaker:
            site = Site(settings, lambda: pytest.fail("no token"), sleep=lambda _: asyncio.sleep(0))
            yield Rig(arm, site, breaker)
            await site.aclose()


async def nothing(_stopping: Stopping) -> None:
    pass


def acting(rig: Rig, seen: list[str]) -> Callable[[Stopping], Awaitable[None]]:
    """Return an act that notes the app's state and the ownership."""

    async def action(_stopping: Stopping) -> None:
        seen.append(f"{rig.arm.state}, owned {rig.owned:.0f} s")

    return action


async def test_act_waits_until_the_stop_is_seen_and_no_host_owns_a_partition(rig: Rig) -> None:
    """An accepted stop is not yet a stopped app, and a killed host's ownership must expire."""
    rig.arm.stays = 3
    rig.owned = 118.0
    seen: list[str] = []
    restart = rig.restart()
    report = await restart.run(acting(rig, seen))
    assert seen == ["Stopped, owned 0 s"]
    assert rig.asked == ["stop", "start"]
    assert (report.stop_seen, report.acted, report.start_seen) == (True, True, True)
    assert not has_failed(report)
    assert restart_line(report, source="Azure") == ("The app is started; Azure says: running.")
    assert list(dict.fromkeys(rig.stages)) == [Stage.STOP, Stage.EXPIRE, Stage.ACT, Stage.START]
    history = [(each.event, each.by, each.reason) for each in await rig.breaker.history()]
    assert history == [
        ("start_accepted", "ada", "HTTP 200; rewind"),
        ("stop_accepted", "ada", "HTTP 200; rewind"),
    ]


async def test_app_that_was_stopped_stays_stopped(rig: Rig) -> None:
    rig.arm.state = "Stopped"
    seen: list[str] = []
    report = await rig.restart().run(acting(rig, seen))
    assert seen == ["Stopped, owned 0 s"]
    assert rig.asked == []
    assert restart_line(report, source="Azure") == (
        "The app was stopped before, and stays stopped."
    )


async def test_app_whose_stop_is_under_way_stays_stopped(rig: Rig) -> None:
    """The workflow has asked for the stop, and the app still runs."""
    await rig.breaker.approvals.report(
        Step(StepKind.STOP, 1, accepted=True, detail="HTTP 200", at=rig.time - 5, by="workflow")
    )

    def stopped() -> None:
        rig.arm.state = "Stopped"

    rig.later = [stopped]
    report = await rig.restart().run(nothing)
    assert (report.acted, report.was_stopped) == (True, True)
    assert rig.asked == []


async def test_app_that_runs_long_after_a_stop_is_restarted(rig: Rig) -> None:
    """The portal has started it, which is not on record."""
    await rig.breaker.approvals.report(
        Step(StepKind.STOP, 1, accepted=True, detail="HTTP 200", at=rig.time - 300, by="grace")
    )
    report = await rig.restart().run(nothing)
    assert rig.asked == ["stop", "start"]
    assert (report.was_stopped, report.start_seen) == (False, True)


async def test_failed_act_starts_the_app_again(rig: Rig) -> None:
    async def fails(_stopping: Stopping) -> None:
        raise StorageUnavailableError("redis: down")

    report = await rig.restart().run(fails)
    assert rig.asked == ["stop", "start"]
    assert (report.error, report.acted, report.start_seen) == ("redis: down", False, True)
    assert has_failed(report)


async def test_error_that_nobody_expects_starts_the_app_again(rig: Rig) -> None:
    async def fails(_stopping: Stopping) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await rig.restart().run(fails)
    assert rig.asked == ["stop", "start"]


@pytest.mark.parametrize("stage", [Stage.STOP, Stage.EXPIRE])
async def test_interrupted_wait_starts_the_app_again(rig: Rig, stage: Stage) -> None:
    rig.arm.stays = 1000 if stage is Stage.STOP else 0
    rig.owned = 118.0
    restart = rig.restart()

    def interrupt() -> None:
        rig.arm.stays = 0
        restart.interrupt("Ctrl-C")

    rig.later = [lambda: None, interrupt]
    report = await restart.run(lambda _: pytest.fail("acted"))
    assert list(dict.fromkeys(rig.stages))[-2:] == [stage, Stage.START]
    assert rig.asked == ["stop", "start"]
    assert report.interrupted == "Ctrl-C"
    assert report.start_seen


async def interrupted(restart: Restart, times: int, done: list[str], stopping: Stopping) -> None:
    """Interrupt the restart in the middle of its act."""
    done.append("begun")
    for _ in range(times):
        restart.interrupt("Ctrl-C")
    await asyncio.sleep(0)
    done.append("ended")
    assert stopping()


async def test_interrupted_act_ends_where_nothing_is_half_done(rig: Rig) -> None:
    """A second interruption cancels the act; the app is started in both cases."""
    for times in (1, 2):
        restart = rig.restart()
        done: list[str] = []
        report = await restart.run(partial(interrupted, restart, times, done))
        assert done == ["begun", "ended"][: 3 - times]
        assert (report.acted, report.start_seen) == (False, True)
    assert rig.asked == ["stop", "start"] * 2


async def test_cancelled_action_starts_the_app_before_it_ends(rig: Rig) -> None:
    """As on Windows, where a signal cancels the command; a repeat does not prevent the start."""
    begun = asyncio.Event()

    async def hangs(_stopping: Stopping) -> None:
        begun.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(rig.restart().run(hangs))
    await begun.wait()
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert rig.asked == ["stop", "start"]
    assert rig.arm.state == "Running"


async def test_refused_stop_changes_nothing(rig: Rig) -> None:
    rig.arm.stop = [403]
    report = await rig.restart().run(lambda _: pytest.fail("acted"))
    assert rig.asked == ["stop"]
    assert report.error.startswith("HTTP 403")
    assert restart_line(report, source="Azure") == ("The stop was refused; the app still runs.")


async def test_stop_without_an_answer_is_followed_by_a_start(rig: Rig) -> None:
    """The call may have been carried out."""
    rig.arm.stop = [0, 0, 0, 0]
    report = await rig.restart().run(lambda _: pytest.fail("acted"))
    assert rig.asked == ["stop"] * 4 + ["start"]
    assert "did not answer" in report.error
    assert restart_line(report, source="Azure") == ("The app is started; Azure says: running.")


async def test_state_that_cannot_be_read_stops_nothing(rig: Rig) -> None:
    rig.arm.get = [403]
    report = await rig.restart().run(lambda _: pytest.fail("acted"))
    assert rig.asked == []
    assert restart_line(report, source="Azure") == ("No stop was asked for; the app is as it was.")


async def test_stop_that_is_never_seen_ends_with_a_start(rig: Rig) -> None:
    rig.arm.stays = 10_000
    before = rig.time
    report = await rig.restart().run(lambda _: pytest.fail("acted"))
    assert f"not seen stopped within {STOP_SECONDS:.0f} s" in report.error
    assert rig.asked == ["stop", "start"]
    assert rig.time - before < STOP_SECONDS + 100


async def test_host_that_still_runs_ends_the_wait(rig: Rig) -> None:
    """Another host renews the ownership, although the app was seen stopped."""
    rig.owned_seconds = lambda: asyncio.sleep(0, 119.0)  # type: ignore[method-assign]
    before = rig.time
    report = await rig.restart().run(lambda _: pytest.fail("acted"))
    assert "a host that reads this consumer group still runs" in report.error
    assert rig.asked == ["stop", "start"]
    assert rig.time - before < OWNED_SECONDS + 10


async def test_start_is_repeated_and_a_refused_start_is_said(rig: Rig) -> None:
    rig.arm.start = [403, 403]
    report = await rig.restart().run(nothing)
    assert rig.asked == ["stop", "start", "start", "start"]
    assert (report.left_stopped, report.start_seen) == ("", True)
    rig.arm.start = [403] * 3
    report = await rig.restart().run(nothing)
    assert has_failed(report)
    line = restart_line(report, source="Azure")
    assert line.startswith("The app is left stopped: HTTP 403")
    assert line.endswith("Run `breakwater start`.")


async def test_start_that_was_not_seen_is_not_claimed(rig: Rig) -> None:
    rig.arm.stays = 0

    async def action(_stopping: Stopping) -> None:
        rig.arm.stays = 10_000

    report = await rig.restart().run(action)
    assert restart_line(report, source="Azure") == (
        "The start was accepted, but Azure has not said yet that the app runs."
    )


async def test_stop_by_somebody_else_during_the_act_stays(rig: Rig) -> None:
    """The circuit has opened, and the workflow waits for an approval."""

    async def action(_stopping: Stopping) -> None:
        await rig.breaker.approvals.report(
            Step(StepKind.STOP, 1, accepted=True, detail="HTTP 200", at=rig.time + 1, by="workflow")
        )

    report = await rig.restart().run(action)
    assert rig.asked == ["stop"]
    line = restart_line(report, source="Azure")
    assert line.startswith("The app is left stopped: workflow asked for a stop in the meantime.")


async def test_display_that_fails_prevents_no_start(rig: Rig) -> None:
    """A terminal can be gone: the pipe of a `tee` that Ctrl-C has ended, or a closed session."""

    def fail(_stage: Stage, _seconds: float, _most: float) -> None:
        raise BrokenPipeError("the terminal is gone")

    restart = rig.restart()
    restart.show = fail
    report = await restart.run(nothing)
    assert rig.asked == ["stop", "start"]
    assert report.acted

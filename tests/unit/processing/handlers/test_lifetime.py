"""Handlers with state: built, started and closed once each."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from typing import Any, Self

import pytest

from processing.errors import DependencyUnavailableError, HandlerLoadError, HandlerStartError
from processing.handlers.loading import load_handler
from processing.handlers.raised import NotStartedError
from tests.support.processing.events import event


class Noting:
    """A handler that notes its steps, and fails where the settings say."""

    steps: list[str]
    tasks: list[Any]

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.fails = settings.get("FAILS", "")
        self.note("built")

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        if settings.get("FAILS") == "build":
            raise KeyError("BANK_URL")
        return cls(settings)

    def note(self, step: str) -> None:
        type(self).steps.append(step)

    async def start(self) -> None:
        self.note("started")
        type(self).tasks.append(asyncio.current_task())
        if self.fails == "start":
            raise OSError("no route to the bank")
        if self.fails == "exit":
            raise SystemExit(3)
        if self.fails == "hang":
            await asyncio.Event().wait()

    async def __call__(self, event: object) -> None:
        self.note("called")

    async def aclose(self) -> None:
        type(self).tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        self.note("closed")
        if self.fails == "close":
            raise OSError("broken pipe")


class Plain:
    """A plain handler whose `start` and `aclose` are plain as well."""

    threads: list[str]

    def start(self) -> None:
        self.threads.append(threading.current_thread().name)

    def __call__(self, event: object) -> None:
        self.threads.append("called")

    def aclose(self) -> None:
        self.threads.append(threading.current_thread().name)


class TakesArguments(Noting):
    async def start(self, url: str) -> None:  # type: ignore[override]
        """Need an argument."""


class Yields(Noting):
    async def start(self) -> Any:
        yield


class NoMethod(Noting):
    aclose = "never"  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def _empty() -> None:
    Noting.steps, Noting.tasks, Plain.threads = [], [], []


async def test_handler_is_started_before_its_first_event_and_closed_once() -> None:
    """Further starts and closes do nothing."""
    handler = load_handler(Noting, {})
    with pytest.raises(NotStartedError, match="Noting is not started"):
        await handler.handle(event(1))
    await asyncio.gather(handler.start(), handler.start())
    await handler.start()
    await handler.handle(event(1))
    await asyncio.gather(handler.aclose(), handler.aclose())
    with pytest.raises(NotStartedError, match="Noting is not started, or it is closed"):
        await handler.handle(event(2))
    with pytest.raises(NotStartedError, match="is closed"):
        await handler.start()
    assert Noting.steps == ["built", "started", "called", "closed"]


async def test_one_task_starts_and_closes_the_handler() -> None:
    """A task group of anyio must be left by the task that entered it."""
    handler = load_handler(Noting, {})
    await asyncio.create_task(handler.start())
    await asyncio.create_task(handler.aclose())
    assert Noting.tasks[0] is Noting.tasks[1]


@pytest.mark.parametrize(
    ("fails", "says"),
    [
        ("start", "start raised OSError: no route to the bank"),
        ("exit", "start raised RuntimeError: the handler ended with SystemExit: 3"),
    ],
)
async def test_handler_that_did_not_start_is_closed_and_built_again(fails: str, says: str) -> None:
    """Each attempt has an object of its own, and the reason is a problem until one succeeds."""
    settings = {"FAILS": fails}
    handler = load_handler(Noting, settings)
    for _ in range(2):
        with pytest.raises(HandlerStartError, match=f"Noting did not start: {says}"):
            await handler.start()
        assert says in (handler.results.problem or "")
    assert Noting.steps == ["built", "started", "closed"] * 2
    settings["FAILS"] = ""
    await handler.start()
    assert handler.results.problem is None
    await handler.aclose()
    assert Noting.steps == ["built", "started", "closed"] * 3


async def test_handler_that_cannot_be_built_is_tried_again() -> None:
    """There is nothing to close."""
    settings = {"FAILS": "build"}
    handler = load_handler(Noting, settings)
    with pytest.raises(HandlerStartError, match=r"from_settings\(settings\) raised KeyError"):
        await handler.start()
    settings["FAILS"] = ""
    await handler.start()
    await handler.aclose()
    assert Noting.steps == ["built", "started", "closed"]


async def test_start_that_hangs_is_interrupted_by_its_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The batch fails and runs again; without a limit it would stand still."""
    monkeypatch.setattr("processing.handlers.loading.START_SECONDS", 0.01)
    handler = load_handler(Noting, {"FAILS": "hang"}, timeout_seconds=0.01)
    with pytest.raises(HandlerStartError, match=r"did not start: start took longer than 0\.01 s"):
        await handler.start()
    assert Noting.steps == ["built", "started", "closed"]


async def test_close_interrupts_a_start() -> None:
    """A stopping instance does not wait for a start that may take a minute."""
    handler = load_handler(Noting, {"FAILS": "hang"}, timeout_seconds=60)
    starting = asyncio.create_task(handler.start())
    while Noting.steps != ["built", "started"]:
        await asyncio.sleep(0)
    await handler.aclose()
    with pytest.raises(NotStartedError, match="was closed during its start"):
        await starting
    assert Noting.steps == ["built", "started", "closed"]
    assert handler.results.problem is None


async def test_close_is_not_interrupted_by_a_second_one() -> None:
    """A signal may arrive while a failed start closes what it has opened, or twice."""

    class Slow(Noting):
        closing = asyncio.Event()
        go_on = asyncio.Event()

        async def aclose(self) -> None:
            self.closing.set()
            await self.go_on.wait()
            self.note("closed")

    Slow.steps = Noting.steps
    handler = load_handler(Slow, {"FAILS": "start"})
    starting = asyncio.create_task(handler.start())
    await Slow.closing.wait()
    closes = [asyncio.create_task(handler.aclose()) for _ in range(2)]
    for _ in range(3):
        await asyncio.sleep(0)
    Slow.go_on.set()
    await asyncio.gather(*closes)
    with pytest.raises(HandlerStartError):
        await starting
    assert Noting.steps == ["built", "started", "closed"]


async def test_tool_starts_a_handler_at_its_first_call() -> None:
    """A discard calls the handler only for what waits behind the discarded event."""
    settings = {"FAILS": "start"}
    handler = load_handler(Noting, settings)
    with pytest.raises(DependencyUnavailableError, match="did not start"):
        await handler.start_and_handle(event(1))
    settings["FAILS"] = ""
    await handler.start_and_handle(event(1))
    await handler.start_and_handle(event(2))
    await handler.aclose()
    assert Noting.steps[3:] == ["built", "started", "called", "called", "closed"]


async def test_error_of_a_close_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody could handle the error, because the process ends."""
    handler = load_handler(Noting, {"FAILS": "close"})
    await handler.start()
    with caplog.at_level(logging.ERROR):
        await handler.aclose()
    assert "Noting: aclose raised OSError: broken pipe" in caplog.text


def test_end_of_the_loop_closes_the_handler_after_the_last_event() -> None:
    """`asyncio.run` cancels all tasks at its end; the handler's `aclose` is not interrupted."""

    async def idle() -> None:
        await asyncio.sleep(0)
        Noting.steps.append("idle")

    async def main() -> None:
        handler = load_handler(Noting, {})
        await handler.start()
        handler.on_loop_end(idle)

    asyncio.run(main())
    assert Noting.steps == ["built", "started", "idle", "closed"]


def test_end_of_the_loop_does_not_interrupt_a_close() -> None:
    """A signal begins the close, and the host ends the loop at the same time."""

    class Slow(Noting):
        async def aclose(self) -> None:
            self.tasks.append(None)
            await asyncio.sleep(0.02)  # longer than the loop needs to its end
            self.note("closed")

    Slow.steps, Slow.tasks = Noting.steps, Noting.tasks

    async def main() -> None:
        handler = load_handler(Slow, {})
        await handler.start()
        closing = asyncio.create_task(handler.aclose())
        while len(Noting.tasks) < 2:  # until `aclose` runs
            await asyncio.sleep(0)
        assert not closing.done()

    asyncio.run(main())
    assert Noting.steps == ["built", "started", "closed"]


async def test_plain_start_and_close_run_in_threads() -> None:
    """A plain `start` may open connections, which must not block the event loop."""
    handler = load_handler(Plain, {})
    await handler.start()
    await handler.handle(event(1))
    await handler.aclose()
    here = threading.current_thread().name
    assert len(Plain.threads) == 3
    assert here not in Plain.threads


async def test_close_waits_for_calls_in_threads() -> None:
    """The lane of a cancelled invocation ends, but its call in a thread still uses the handler."""
    release, entered = threading.Event(), threading.Event()

    class Slow(Plain):
        def __call__(self, event: object) -> None:
            entered.set()
            release.wait(10)
            super().__call__(event)

    handler = load_handler(Slow(), {})
    await handler.start()
    call = asyncio.ensure_future(handler.handle(event(1)))
    await asyncio.to_thread(entered.wait, 10)
    call.cancel()
    await asyncio.wait({call})
    closing = asyncio.create_task(handler.aclose())
    assert not (await asyncio.wait({closing}, timeout=0.05))[0]
    release.set()
    await closing
    assert Plain.threads[1] == "called"


async def test_object_is_started_again_after_a_failed_start() -> None:
    """An object that the module has built cannot be built again."""
    made = Noting({"FAILS": "start"})
    handler = load_handler(made, {})
    with pytest.raises(HandlerStartError):
        await handler.start()
    made.fails = ""
    await handler.start()
    await handler.aclose()
    assert Noting.steps == ["built", "started", "closed", "started", "closed"]


START = r"; write async def start\(self\)"


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (
            TakesArguments,
            rf"has a method start that takes \(self, url\), and is called without arg.*{START}",
        ),
        (Yields, f"has a method start that is an async generator function.*{START}"),
        (NoMethod, r"has the attribute aclose, which is no method; write async def aclose\(self\)"),
    ],
)
def test_wrong_start_or_close_is_refused_when_the_app_starts(found: type, says: str) -> None:
    """Otherwise no event would ever start, or a pool would stay open."""
    with pytest.raises(HandlerLoadError, match=says):
        load_handler(found, {})

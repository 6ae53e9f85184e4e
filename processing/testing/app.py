"""`AsyncTestApp`: the app in a test, on the running event loop."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from breaker import CircuitBreaker
from breaker.configuration.pipelines import pipeline_of
from processing.event import Event
from processing.handlers.loading import LoadedHandler, find_handler
from processing.handlers.route_table import routes_have_classes
from processing.settings import ProcessingSettings
from processing.testing.arguments import as_app_settings, checked
from processing.testing.clock import TestClock
from processing.testing.delivery import Delivery
from processing.testing.hub import MemoryHub
from processing.testing.instance import Instance, breaker_settings, start_handler
from processing.testing.outcome import Outcome
from processing.testing.reckoning import Before, outcome_since
from processing.testing.record import Record
from processing.testing.stores import Stores


class AsyncTestApp:
    """The app in a test: the shipped processor with memory stores, on the running event loop.

    Use it as an async context manager. While no call of the handler runs, pauses take no time.
    Time limits that the test itself sets on the loop, such as `asyncio.timeout`, see the time jump.

    >>> import asyncio
    >>> from breakwater.testing import event
    >>> async def test_redelivery():
    ...     async with AsyncTestApp(print) as app:
    ...         once = event()
    ...         first, second = await app.run([once]), await app.run([once])
    ...         return first.handled == second.skipped == [once]
    >>> asyncio.run(test_redelivery())  # doctest: +ELLIPSIS
    Event(...)
    True

    Args:
        handler: a function or an object that can be called with an event, a class of such objects,
            or the text `module:attribute`, as the setting EVENT_HANDLER takes.
        settings: app settings, such as `{"PROCESSING_MAX_ATTEMPTS": 2}`; also passed to the class's
            `from_settings`. Nothing is read from the environment. As in the app,
            host.json of the current folder is read.
        pipeline: the pipeline whose settings count, if the settings declare several with PIPELINES.

    Raises:
        PipelineError: the settings declare several pipelines, and none of them is chosen; or there
            is no such pipeline.
    """

    __test__ = False  # pytest must not take the class for a test

    def __init__(
        self,
        handler: object,
        *,
        settings: Mapping[str, object] | None = None,
        pipeline: str | None = None,
    ) -> None:
        self._handler = handler
        self._pipeline = pipeline_of(as_app_settings(settings or {}), pipeline)
        self._settings = self._pipeline.settings
        self._hub = MemoryHub()
        self._record = Record()
        self._delivery = Delivery(self._hub, self._record)
        self._changing = False
        self._runs = False
        self._clock: TestClock | None = None
        self._stores: Stores | None = None
        self._instance: Instance | None = None
        self._killed: list[LoadedHandler] = []

    async def __aenter__(self) -> Self:
        self._clock = TestClock.join(self._is_busy)
        try:
            with self._pipeline.explaining():
                processing = ProcessingSettings.from_mapping(self._settings)
                breaking = breaker_settings(self._settings)
            self._stores = Stores(self._clock, processing, breaking)
            self._instance = await self._start()
        except BaseException:
            self._clock.leave(self._is_busy)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._clock is not None  # noqa: S101 - it is entered
        try:
            await self._stop()
        finally:
            try:
                await self._close_killed()
            finally:
                self._clock.leave(self._is_busy)

    async def run(
        self,
        events: Iterable[Event] = (),
        *,
        batch_size: int | None = None,
        seconds: float = 0.0,
        crash_after: Event | None = None,
    ) -> Outcome:
        """Deliver events to the app, and return what became of them.

        The batches of a partition come one after another, those of several partitions at the same
        time. A batch that the app does not finish stays in the hub, with all later batches of its
        partition, until a later run.

        Args:
            events: the events of each partition in the order of their sequence numbers. Events of
                earlier runs may come again; the app skips those that it has finished.
            batch_size: greatest number of events in a batch; None: one batch for each partition.
            seconds: time on the test clock for which the app at least runs. In this time a batch
                that failed is delivered again every 5 seconds, and deferred keys are replayed.
            crash_after: the event after whose handling the process is killed, before it has stored
                that it handled the event. A new process, of a class with a new object, gets the
                unfinished batches again. The old object is not closed before the app.

        Raises:
            TypeError: one of the events is no event.
            ValueError: an argument is not accepted.
            RuntimeError: the handler did not finish the event `crash_after`; or the app is closed,
                or runs already.
        """
        if self._runs:
            raise RuntimeError("the test app runs already; await the end of that run first")
        self._runs = True
        try:
            return await self._run(checked(events), batch_size, seconds, crash_after)
        finally:
            self._runs = False

    async def _run(
        self,
        events: list[Event],
        batch_size: int | None,
        seconds: float,
        crash_after: Event | None,
    ) -> Outcome:
        instance, stores, clock = self._opened()
        if crash_after is not None and crash_after.id not in {each.id for each in events}:
            raise ValueError(f"crash_after is {crash_after.id}, which is not among the events")
        self._hub.append(events, batch_size)
        before, began = Before.of(self._record, stores, events), clock.monotonic()
        self._record.add(events)
        errors: list[Exception] = []
        if crash_after is not None:
            self._record.crash_after = crash_after.id
            if not await self._delivery.run(instance, clock.monotonic(), errors):
                raise RuntimeError(f"no crash: the handler has not finished event {crash_after.id}")
            instance = await self._restart()
        await self._delivery.run(instance, clock.monotonic() + seconds, errors)
        return await outcome_since(
            before,
            record=self._record,
            stores=stores,
            hub=self._hub,
            instance=instance,
            errors=errors,
            seconds=clock.monotonic() - began,
        )

    async def approve(self, dependency: str = "") -> None:
        """Approve the opening of the app's circuit, or of a dependency's, as an operator does.

        Raises:
            KeyError: the app has not used this dependency.
            RuntimeError: the circuit is not open.
        """
        breaker = self._circuit(dependency)
        circuit = await breaker.refresh()
        if circuit.state != "open":
            raise RuntimeError(
                f"the circuit {breaker.name} is {circuit.state}; only an open one is approved"
            )
        await breaker.approve(circuit.generation, "test")

    def _circuit(self, dependency: str) -> CircuitBreaker:
        instance, _, _ = self._opened()
        if not dependency:
            return instance.breaker
        circuits = instance.dependencies.circuits
        if dependency.lower() not in circuits:
            known = ", ".join(circuits) or "none"
            raise KeyError(f"the app has used no dependency {dependency!r}; used: {known}")
        return circuits[dependency.lower()]

    async def _start(self, loaded: LoadedHandler | None = None) -> Instance:
        """Open an instance, with a new handler unless one is given."""
        assert self._stores is not None  # noqa: S101 - the app is entered
        assert self._clock is not None  # noqa: S101
        self._changing = True
        try:
            handler = loaded or await start_handler(self._handler, self._settings, self._record)
            try:
                return await Instance.open(
                    handler, self._settings, stores=self._stores, clock=self._clock
                )
            except BaseException:
                await handler.aclose()
                raise
        finally:
            self._changing = False

    async def _stop(self, *, keep_handler: bool = False) -> LoadedHandler | None:
        """Close the instance; return its handler if it is kept open."""
        instance, self._instance = self._instance, None
        if instance is None:
            return None
        self._changing = True  # a handler may need time to close
        try:
            await instance.aclose()
        finally:
            if not keep_handler:
                await instance.handler.aclose()
            self._changing = False
        return instance.handler if keep_handler else None

    async def _restart(self) -> Instance:
        """Open another instance after a crash: of a class, with a new object."""
        named = isinstance(self._handler, str)
        found = find_handler(str(self._handler)) if named else self._handler
        # A test's own object is the same in both processes, because nobody can build another one.
        kept = await self._stop(keep_handler=True)
        if (inspect.isclass(found) or routes_have_classes(found)) and kept is not None:
            self._killed.append(kept)  # a kill calls no `aclose`, which could save events
            kept = None
        self._instance = await self._start(kept)
        return self._instance

    async def _close_killed(self) -> None:
        """Close the objects of the killed processes, so that the test leaves nothing open."""
        self._changing = True
        try:
            while self._killed:
                await self._killed.pop().aclose()
        finally:
            self._changing = False

    def _opened(self) -> tuple[Instance, Stores, TestClock]:
        if self._instance is None or self._stores is None or self._clock is None:
            raise RuntimeError("the test app is not open; use it in a `with` block")
        return self._instance, self._stores, self._clock

    def _is_busy(self) -> bool:
        """Return whether time must pass as usual, because the handler works."""
        return self._changing or (
            self._instance is not None and self._instance.handler.in_flight > 0
        )

"""Approval callbacks: registration, calls and retries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from breaker import (
    BreakerSettings,
    CallbackRefusedError,
    CircuitBreaker,
    CircuitState,
    ManualClock,
    MemoryCircuitStore,
    MemoryPublisher,
    Permit,
    Recovery,
    StaleGenerationError,
    Step,
    StepKind,
    StoreUnavailableError,
    WaitsFor,
)
from breaker.approvals import GONE_SECONDS_MAX, HttpCaller
from breaker.state import Change, Rules
from breaker.stores.base import Callback, Registration
from tests.support.breaker.unreliable_store import pass_time, until

SETTINGS = BreakerSettings(name="c", failure_threshold=1)
RULES = SETTINGS.rules("elsewhere:1")
URL = "https://workflow.example.com/callback?sig=secret"


class MemoryCaller:
    """A caller that returns or raises the next of `answers`, then returns 200."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.answers: list[int | Exception] = []

    async def post(self, url: str, body: dict[str, object]) -> int:
        self.calls.append((url, body))
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        pass


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> MemoryCircuitStore:
    return MemoryCircuitStore("c", now_us=clock.now_us)


@pytest.fixture
def caller() -> MemoryCaller:
    return MemoryCaller()


@pytest.fixture
async def breaker(
    store: MemoryCircuitStore, clock: ManualClock, caller: MemoryCaller
) -> AsyncIterator[CircuitBreaker]:
    async with CircuitBreaker(store, SETTINGS, clock=clock, caller=caller) as made:
        await made.record_failure("a", "boom", await made.try_acquire())
        yield made


async def test_approval_calls_each_callback_once(
    breaker: CircuitBreaker, caller: MemoryCaller
) -> None:
    """Two registrations and two approvals give one call, with the workflow's data."""
    assert not await breaker.approvals.register(1, URL)
    assert not await breaker.approvals.register(1, URL)
    assert caller.calls == []
    await breaker.approve(1, "ann")
    await breaker.approve(1, "bob")
    assert caller.calls == [
        (URL, {"circuit": "c", "generation": 1, "state": "half_open", "by": "ann"})
    ]


async def test_registration_after_approval_is_called_by_the_next_delivery(
    breaker: CircuitBreaker, caller: MemoryCaller
) -> None:
    """The operator may approve before the workflow registers; the answer precedes the call."""
    await breaker.approve(1, "ann")
    assert await breaker.approvals.register(1, URL)
    assert caller.calls == []
    await breaker.deliver_alerts()
    assert len(caller.calls) == 1


async def test_approval_succeeds_without_callbacks(breaker: CircuitBreaker) -> None:
    """A circuit may have no workflow."""
    assert (await breaker.approve(1, "ann")).state == "half_open"


async def test_closing_by_hand_calls_callbacks(
    breaker: CircuitBreaker, caller: MemoryCaller
) -> None:
    """Closing ends the generation, so the workflow must not wait forever."""
    await breaker.approvals.register(1, URL)
    await breaker.close_circuit(1, "ann")
    assert len(caller.calls) == 1


async def test_failed_callback_is_retried(
    breaker: CircuitBreaker, caller: MemoryCaller, clock: ManualClock
) -> None:
    """Refused connections, timeouts, server errors and redirects are retried."""
    caller.answers = [OSError("refused"), TimeoutError(), 503, 302]
    await breaker.approvals.register(1, URL)
    await breaker.approve(1, "ann")
    assert len(caller.calls) == 1
    await pass_time(clock, 60)
    await until(lambda: len(caller.calls) == 5)
    await breaker.deliver_alerts()
    assert len(caller.calls) == 5


async def test_callback_with_failed_attempts_elsewhere_is_retried(
    breaker: CircuitBreaker, store: MemoryCircuitStore, clock: ManualClock, caller: MemoryCaller
) -> None:
    """Polling continues until the postponed callback is due."""
    await breaker.approvals.register(1, URL)
    await store.approve(RULES, 1, "ann")
    for attempts in range(4):
        await store.postpone_callback(RULES, Callback(1, URL, attempts), 0)
    caller.answers = [503]
    await breaker.deliver_alerts()
    assert len(caller.calls) == 1
    await pass_time(clock, 30)
    assert len(caller.calls) == 2


async def test_callback_polling_ends_when_no_callback_is_due(
    breaker: CircuitBreaker, store: MemoryCircuitStore, clock: ManualClock, caller: MemoryCaller
) -> None:
    """Polling ends once no callback was due for the longest postponement."""
    await breaker.approvals.register(1, URL)
    caller.answers = [503]
    await breaker.approve(1, "ann")
    await pass_time(clock, 200)
    assert len(caller.calls) == 2
    assert not any(task.get_name() == "breaker-callbacks" for task in asyncio.all_tasks())


async def test_callback_address_never_appears_in_errors() -> None:
    """The query is a secret, and aiohttp's own error messages contain the address."""

    async def answer_without_http(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 ready when you are\r\n\r\n")
        await writer.drain()
        writer.close()

    caller = HttpCaller()
    async with await asyncio.start_server(answer_without_http, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for url in (f"http://127.0.0.1:{port}/c?sig=secret", "http://℀.com/?sig=secret"):
            with pytest.raises(OSError, match="Error") as raised:
                await caller.post(url, {})
            assert "secret" not in str(raised.value)
    await caller.aclose()


@pytest.mark.parametrize("status", [404, 410])
async def test_callback_before_its_receiver_is_known_is_retried(
    breaker: CircuitBreaker, caller: MemoryCaller, clock: ManualClock, status: int
) -> None:
    """The run may not be waiting yet, so status 404 or 410 is not final at once."""
    caller.answers = [status, status]
    await breaker.approvals.register(1, URL)
    await breaker.approve(1, "ann")
    await pass_time(clock, 60)
    assert len(caller.calls) == 3
    assert (await breaker.approvals.status()).waiting == ()


@pytest.mark.parametrize("status", [404, 410])
async def test_callback_without_receiver_is_called_less_and_less(
    breaker: CircuitBreaker, caller: MemoryCaller, clock: ManualClock, status: int
) -> None:
    """The run may register again, so it still counts as waiting; after an hour it does not."""
    caller.answers = [status] * 50
    await breaker.approvals.register(1, URL, run="one")
    await breaker.approve(1, "ann")
    for _ in range(12):
        clock.advance(GONE_SECONDS_MAX / 2)
        await breaker.deliver_alerts()
    (waiting,) = (await breaker.approvals.status()).waiting
    assert (waiting.run, waiting.attempts) == ("one", len(caller.calls))
    clock.advance(1)
    called = len(caller.calls)
    await breaker.deliver_alerts()
    assert called < 15
    assert len(caller.calls) == called
    assert (await breaker.approvals.status()).waiting == ()


async def test_newer_registration_of_a_run_replaces_the_older(
    breaker: CircuitBreaker, caller: MemoryCaller
) -> None:
    """Only the latest callback of a run is called."""
    await breaker.approvals.register(1, URL, run="one")
    await breaker.approvals.register(1, f"{URL}2", run="one")
    await breaker.approve(1, "ann")
    assert [url for url, _ in caller.calls] == [f"{URL}2"]


async def test_run_that_could_not_start_the_app_waits_for_a_start(
    breaker: CircuitBreaker, caller: MemoryCaller
) -> None:
    """The callback is called once an operator has started the app; approving is not enough."""
    await breaker.approve(1, "ann")
    start = WaitsFor.START
    assert not await breaker.approvals.register(1, URL, run="one", waits_for=start)
    await breaker.deliver_alerts()
    assert caller.calls == []
    assert await breaker.approvals.release_starts() == 1
    assert len(caller.calls) == 1


async def test_waiting_for_a_start_does_not_restore_an_opening(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """The generation was approved, so a store without data is not set to open again."""
    at = clock.monotonic()
    assert not await breaker.approvals.register(7, URL, at, waits_for=WaitsFor.START)
    assert (await breaker.refresh()).generation == 1


async def test_step_is_reported_once(breaker: CircuitBreaker) -> None:
    """A repeated registration reports the same stop; the history has one entry."""
    step = Step(StepKind.STOP, 1, accepted=True, detail="x" * 999, at=5.0, by="workflow run r")
    for _ in range(2):
        await breaker.approvals.report(step)
    stop = (await breaker.approvals.status()).stop
    assert stop is not None
    assert (len(stop.detail), stop.at, stop.by) == (200, 5.0, "workflow run r")
    assert [entry.event for entry in await breaker.history()].count("stop_accepted") == 1


async def test_opening_that_nobody_asked_about_is_published_again(
    store: MemoryCircuitStore, clock: ManualClock
) -> None:
    """The repeat is the same alert, with the same id."""
    publisher = MemoryPublisher()
    async with CircuitBreaker(store, SETTINGS, publisher=publisher, clock=clock) as breaker:
        await breaker.record_failure("a", "boom", await breaker.try_acquire())
        await until(lambda: len(publisher.published) == 1)
        assert not await breaker.repeat_opened(120)
        clock.advance(120)
        assert await breaker.repeat_opened(120)
        await until(lambda: len(publisher.published) == 2)
        assert publisher.published[0] == publisher.published[1]


async def test_another_process_calls_callbacks_of_crashed_approver(
    breaker: CircuitBreaker, store: MemoryCircuitStore, clock: ManualClock, caller: MemoryCaller
) -> None:
    """After the claim's lease, the next delivery of any process makes the call."""
    await breaker.approvals.register(1, URL)
    await store.approve(RULES, 1, "ann")
    await store.claim_callbacks(RULES, 30)
    assert await breaker.deliver_alerts() == 0
    assert caller.calls == []
    clock.advance(30)
    await breaker.deliver_alerts()
    assert len(caller.calls) == 1


async def test_stale_approval_calls_no_callback(
    breaker: CircuitBreaker, store: MemoryCircuitStore, caller: MemoryCaller
) -> None:
    """C7: approving generation 1 does not call the callback of generation 2."""
    await breaker.approve(1, "ann")
    for failure in "bcd":
        await breaker.record_failure(failure, "boom", await breaker.try_acquire())
    await breaker.approvals.register(2, URL)
    with pytest.raises(Exception, match="generation 1"):
        await breaker.approve(1, "ann")
    assert caller.calls == []
    await store.record_failure(RULES, "x", "boom", Permit(1))
    assert (await breaker.refresh()).generation == 2


async def test_registration_restores_opening_that_store_lacks(
    breaker: CircuitBreaker, store: MemoryCircuitStore, clock: ManualClock, caller: MemoryCaller
) -> None:
    """An instance opened alone and was stopped; the restored opening can be approved."""
    await breaker.close_circuit(1, "ann")
    opened_at = clock.monotonic() - 60
    for _ in range(2):
        assert not await breaker.approvals.register(4, URL, opened_at)
    circuit = await breaker.refresh()
    assert (circuit.state, circuit.generation) == (CircuitState.OPEN, 4)
    assert (circuit.opened_at, circuit.resume_at) == (opened_at, None)
    alerts = (await store.claim_alerts(RULES, "t", 30, 10)).alerts
    assert [(each.id, each.at) for each in alerts][-1] == ("c:4:opened", opened_at)
    assert [each.id for each in alerts].count("c:4:opened") == 1
    for stale in (1, 3):
        with pytest.raises(StaleGenerationError):
            await breaker.approve(stale, "ann")
    assert caller.calls == []
    await breaker.approve(4, "ann")
    assert [body["generation"] for _, body in caller.calls] == [4]


@pytest.mark.parametrize("approved", [True, False])
async def test_registration_changes_no_opening_that_store_has(
    breaker: CircuitBreaker, clock: ManualClock, approved: bool
) -> None:
    """Registering a known or older generation changes no state."""
    await breaker.close_circuit(1, "ann")
    await breaker.record_failure("b", "boom", await breaker.try_acquire())
    if approved:
        await breaker.approve(2, "ann")
    before = await breaker.refresh()
    assert await breaker.approvals.register(1, URL, clock.monotonic())
    assert await breaker.approvals.register(2, URL, clock.monotonic()) is approved
    assert (await breaker.refresh()).position == before.position


async def test_registration_without_opening_time_opens_nothing(breaker: CircuitBreaker) -> None:
    """Without the time of an alert, the callback waits for the generation's opening."""
    await breaker.close_circuit(1, "ann")
    assert not await breaker.approvals.register(2, URL)
    assert (await breaker.refresh()).state is CircuitState.CLOSED


async def test_restored_opening_is_never_in_the_future(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """The clock of the opening instance may be ahead; the store's time is the limit."""
    await breaker.approvals.register(2, URL, clock.monotonic() + 1e9)
    assert (await breaker.refresh()).opened_at == clock.monotonic()


async def test_break_of_restored_opening_starts_at_opening_time(
    store: MemoryCircuitStore, clock: ManualClock, caller: MemoryCaller
) -> None:
    """With automatic recovery the timer sets half-open, and the callback is called."""
    settings = BreakerSettings(name="c", recovery=Recovery.AUTOMATIC, break_seconds=30)
    async with CircuitBreaker(store, settings, clock=clock, caller=caller) as breaker:
        assert not await breaker.approvals.register(1, URL, clock.monotonic() - 20)
        assert (await breaker.refresh()).state is CircuitState.OPEN
        clock.advance(10)
        await breaker.deliver_alerts()
        assert (await breaker.refresh()).state is CircuitState.HALF_OPEN
        assert len(caller.calls) == 1


class FailingStore(MemoryCircuitStore):
    """A store that stops answering after a registration."""

    left = False

    async def register_callback(self, rules: Rules, registration: Registration) -> bool:
        self.left = True
        return await super().register_callback(rules, registration)

    async def snapshot(self, rules: Rules) -> Change:
        if self.left:
            raise StoreUnavailableError("out of reach")
        return await super().snapshot(rules)


async def test_registration_fails_during_store_outage(
    clock: ManualClock, caller: MemoryCaller
) -> None:
    """The local state of an instance must not start the app."""
    store = FailingStore("c", now_us=clock.now_us)
    async with CircuitBreaker(store, SETTINGS, clock=clock, caller=caller) as breaker:
        for number in range(2):
            await breaker.record_failure(f"{number}", "boom", await breaker.try_acquire())
            await breaker.close_circuit(number + 1, "ann")
        for generation in (1, 2, 3):
            with pytest.raises(StoreUnavailableError):
                await breaker.approvals.register(generation, URL, clock.monotonic())
        assert caller.calls == []


@pytest.mark.parametrize(
    ("generation", "url", "says"),
    [
        (0, URL, "generation is 0: it takes a whole number of at least 1"),
        (1, "ftp://example.com/", "not a valid http"),
        (1, "https:///path", "not a valid http"),
        (1, "https://[::1", "not a valid http"),
        (1, "https://example.com:99999/", "not a valid http"),
        (1, "https://example.com/a b", "not a valid http"),
        (1, "https://example.com/\n", "not a valid http"),
        (1, "https://example.com/" + "x" * 5000, "it takes 4096 at most"),
    ],
)
async def test_invalid_callback_is_refused(
    breaker: CircuitBreaker, generation: int, url: str, says: str
) -> None:
    """The message has the reason."""
    with pytest.raises(CallbackRefusedError, match=says):
        await breaker.approvals.register(generation, url)


async def test_callback_over_limit_is_refused(breaker: CircuitBreaker) -> None:
    """The 101st callback is refused."""
    for number in range(100):
        await breaker.approvals.register(1, f"https://example.com/{number}")
    with pytest.raises(CallbackRefusedError, match="100 callbacks are registered"):
        await breaker.approvals.register(1, "https://example.com/more")

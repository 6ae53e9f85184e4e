"""Callbacks: called when their generation has passed, until they took it."""

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
    Permit,
    Recovery,
    StaleGenerationError,
    StoreUnavailableError,
)
from breaker.approvals import HttpCaller
from breaker.state import Change, Rules
from breaker.stores.base import Callback
from tests.support.breaker.unreliable_store import pass_time, until

SETTINGS = BreakerSettings(name="c", failure_threshold=1)
RULES = SETTINGS.rules("elsewhere:1")
URL = "https://workflow.example.com/callback?sig=secret"


class MemoryCaller:
    """Answers with the next of `answers` (a status or an exception), then with 200."""

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


async def test_approving_calls_back_once(breaker: CircuitBreaker, caller: MemoryCaller) -> None:
    """Registered twice, approved twice: called once, with what the workflow needs."""
    assert not await breaker.approvals.register(1, URL)
    assert not await breaker.approvals.register(1, URL)
    assert caller.calls == []
    await breaker.approve(1, "ann")
    await breaker.approve(1, "bob")
    assert caller.calls == [
        (URL, {"circuit": "c", "generation": 1, "state": "half_open", "by": "ann"})
    ]


async def test_registering_after_the_approval_calls_back_at_once(
    breaker: CircuitBreaker, caller: MemoryCaller
) -> None:
    """The operator was quicker than the workflow."""
    await breaker.approve(1, "ann")
    assert await breaker.approvals.register(1, URL)
    assert len(caller.calls) == 1


async def test_approving_without_a_callback_works(breaker: CircuitBreaker) -> None:
    """Nobody has to be called."""
    assert (await breaker.approve(1, "ann")).state == "half_open"


async def test_closing_by_hand_calls_back_as_well(
    breaker: CircuitBreaker, caller: MemoryCaller
) -> None:
    """The generation has passed; the workflow must not wait for ever."""
    await breaker.approvals.register(1, URL)
    await breaker.close_circuit(1, "ann")
    assert len(caller.calls) == 1


async def test_a_callback_that_fails_is_called_again(
    breaker: CircuitBreaker, caller: MemoryCaller, clock: ManualClock
) -> None:
    """Refused connections, time-outs and server errors are not the end."""
    caller.answers = [OSError("refused"), TimeoutError(), 503, 302]
    await breaker.approvals.register(1, URL)
    await breaker.approve(1, "ann")
    assert len(caller.calls) == 1
    await pass_time(clock, 60)
    await until(lambda: len(caller.calls) == 5)
    await breaker.deliver_alerts()
    assert len(caller.calls) == 5


async def test_a_callback_that_failed_elsewhere_before_is_called_again(
    breaker: CircuitBreaker, store: MemoryCircuitStore, clock: ManualClock, caller: MemoryCaller
) -> None:
    """Due later than this process would look first: it looks again."""
    await breaker.approvals.register(1, URL)
    await store.approve(RULES, 1, "ann")
    for attempts in range(4):
        await store.postpone_callback(RULES, Callback(1, URL, attempts), 0)
    caller.answers = [503]
    await breaker.deliver_alerts()
    assert len(caller.calls) == 1
    await pass_time(clock, 30)
    assert len(caller.calls) == 2


async def test_nobody_looks_for_callbacks_for_ever(
    breaker: CircuitBreaker, store: MemoryCircuitStore, clock: ManualClock, caller: MemoryCaller
) -> None:
    """Once nothing was due for as long as anything is put off, all were called."""
    await breaker.approvals.register(1, URL)
    caller.answers = [503]
    await breaker.approve(1, "ann")
    await pass_time(clock, 200)
    assert len(caller.calls) == 2
    assert not any(task.get_name() == "breaker-callbacks" for task in asyncio.all_tasks())


async def test_the_address_of_a_callback_is_not_told() -> None:
    """Its query is a secret; an answer that is not HTTP would bring it into the log."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 ready when you are\r\n\r\n")
        await writer.drain()
        writer.close()

    caller = HttpCaller()
    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for url in (f"http://127.0.0.1:{port}/c?sig=secret", "http://℀.com/?sig=secret"):
            with pytest.raises(OSError, match="Error") as raised:
                await caller.post(url, {})
            assert "secret" not in str(raised.value)
    await caller.aclose()


@pytest.mark.parametrize("status", [404, 410])
async def test_nobody_waits_there_any_more(
    breaker: CircuitBreaker, caller: MemoryCaller, clock: ManualClock, status: int
) -> None:
    """The workflow run is gone: it is not called for ever."""
    caller.answers = [status]
    await breaker.approvals.register(1, URL)
    await breaker.approve(1, "ann")
    clock.advance(1000)
    await breaker.deliver_alerts()
    assert len(caller.calls) == 1


async def test_another_process_calls_back_after_the_approver_died(
    breaker: CircuitBreaker, store: MemoryCircuitStore, clock: ManualClock, caller: MemoryCaller
) -> None:
    """Approved in the store, never called: whoever delivers next calls."""
    await breaker.approvals.register(1, URL)
    await store.approve(RULES, 1, "ann")
    await store.claim_callbacks(RULES, 30)
    assert await breaker.deliver_alerts() == 0
    assert caller.calls == []
    clock.advance(30)
    await breaker.deliver_alerts()
    assert len(caller.calls) == 1


async def test_a_stale_approval_calls_nobody(
    breaker: CircuitBreaker, store: MemoryCircuitStore, caller: MemoryCaller
) -> None:
    """C7: the callback of generation 2 is not called by approving 1."""
    await breaker.approve(1, "ann")
    probe = await breaker.try_acquire()
    await breaker.record_failure("b", "boom", probe)
    await breaker.approvals.register(2, URL)
    with pytest.raises(Exception, match="generation 1"):
        await breaker.approve(1, "ann")
    assert caller.calls == []
    await store.record_failure(RULES, "x", "boom", Permit(1))
    assert (await breaker.refresh()).generation == 2


async def test_an_opening_that_the_store_does_not_know_is_put_into_it(
    breaker: CircuitBreaker, store: MemoryCircuitStore, clock: ManualClock, caller: MemoryCaller
) -> None:
    """Made alone by an instance that is gone: once it is there, approving goes the normal way."""
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
async def test_an_opening_that_the_store_knows_stays_as_it_is(
    breaker: CircuitBreaker, clock: ManualClock, approved: bool
) -> None:
    """The current one, or an older one: nothing opens again, and nothing starts by itself."""
    await breaker.close_circuit(1, "ann")
    await breaker.record_failure("b", "boom", await breaker.try_acquire())
    if approved:
        await breaker.approve(2, "ann")
    before = await breaker.refresh()
    assert await breaker.approvals.register(1, URL, clock.monotonic())
    assert await breaker.approvals.register(2, URL, clock.monotonic()) is approved
    assert (await breaker.refresh()).position == before.position


async def test_who_knows_of_no_opening_makes_none(breaker: CircuitBreaker) -> None:
    """A generation is no proof: without the time of an alert the callback waits for it."""
    await breaker.close_circuit(1, "ann")
    assert not await breaker.approvals.register(2, URL)
    assert (await breaker.refresh()).state is CircuitState.CLOSED


async def test_an_opening_from_the_future_is_one_from_now(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """The clock of an instance that was alone went fast; the store's own counts."""
    await breaker.approvals.register(2, URL, clock.monotonic() + 1e9)
    assert (await breaker.refresh()).opened_at == clock.monotonic()


async def test_with_automatic_recovery_its_break_began_when_it_opened(
    store: MemoryCircuitStore, clock: ManualClock, caller: MemoryCaller
) -> None:
    """Nobody has to approve: the timer half-opens it, and the workflow is called."""
    settings = BreakerSettings(name="c", recovery=Recovery.AUTOMATIC, break_seconds=30)
    async with CircuitBreaker(store, settings, clock=clock, caller=caller) as breaker:
        assert not await breaker.approvals.register(1, URL, clock.monotonic() - 20)
        assert (await breaker.refresh()).state is CircuitState.OPEN
        clock.advance(10)
        await breaker.deliver_alerts()
        assert (await breaker.refresh()).state is CircuitState.HALF_OPEN
        assert len(caller.calls) == 1


class LeavingStore(MemoryCircuitStore):
    """Goes away once it has taken a callback."""

    left = False

    async def register_callback(self, rules: Rules, generation: int, url: str) -> bool:
        self.left = True
        return await super().register_callback(rules, generation, url)

    async def snapshot(self, rules: Rules) -> Change:
        if self.left:
            raise StoreUnavailableError("out of reach")
        return await super().snapshot(rules)


async def test_without_the_store_nobody_says_that_an_opening_has_passed(
    clock: ManualClock, caller: MemoryCaller
) -> None:
    """What this process believes by itself starts no app."""
    store = LeavingStore("c", now_us=clock.now_us)
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
async def test_what_cannot_be_called_is_refused(
    breaker: CircuitBreaker, generation: int, url: str, says: str
) -> None:
    """The message says why."""
    with pytest.raises(CallbackRefusedError, match=says):
        await breaker.approvals.register(generation, url)


async def test_too_many_callbacks_are_refused(breaker: CircuitBreaker) -> None:
    """Registrations are bounded."""
    for number in range(100):
        await breaker.approvals.register(1, f"https://example.com/{number}")
    with pytest.raises(CallbackRefusedError, match="100 callbacks are registered"):
        await breaker.approvals.register(1, "https://example.com/more")

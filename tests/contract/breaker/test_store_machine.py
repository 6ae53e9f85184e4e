"""Random operations on both stores, which agree after each step."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from breaker import (
    BreakerSettings,
    Circuit,
    CircuitState,
    ManualClock,
    MemoryCircuitStore,
    Mode,
    Permit,
    Recovery,
    Step,
    StepKind,
    WaitsFor,
)
from breaker import RedisCircuitStore as RedisStore
from breaker.notes import Report
from breaker.stores.base import CircuitStore, Registration

GENERATIONS = st.integers(min_value=0, max_value=4)
PROBES = st.sampled_from(["p", "q", "r", "s"])
KEYS = st.sampled_from(["", "k1", "k2*"])
PERMITS = st.builds(Permit, GENERATIONS, st.none() | PROBES, KEYS)
AGES = st.sampled_from([0.0, 0.25, 7.0])
TOKENS = st.lists(st.sampled_from(["k1", "k2*", "k3", "k4"]), max_size=3, unique=True).map(tuple)
FAILURES = st.sampled_from(["a", "b", "c", "d", "e", "f"])
REPORTS = st.sampled_from(["r", "s"])
SECONDS = st.sampled_from([0.000001, 0.5, 1.0, 2.5, 5.0, 9.999999, 10.0, 20.0, 3600.0, -3.0])
PEOPLE = st.sampled_from(["ann", "bob"])


class TwoStores(RuleBasedStateMachine):
    """A state machine that runs each operation on both stores with the same clock."""

    loop: asyncio.AbstractEventLoop
    shared: RedisStore
    flush: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        self.flush.flushdb()
        self.clock = ManualClock()
        self.memory = MemoryCircuitStore("c", now_us=self.clock.now_us)
        self.shared._now_us = self.clock.now_us
        self.stores: tuple[CircuitStore, ...] = (self.memory, self.shared)

    @initialize(
        threshold=st.integers(1, 4),
        permits=st.integers(1, 3),
        ratio=st.none() | st.sampled_from([0.3, 0.5, 1.0]),
        recovery=st.sampled_from(Recovery),
        standstill=st.integers(0, 3),
        mode=st.sampled_from(Mode),
    )
    def settle(
        self,
        *,
        threshold: int,
        permits: int,
        ratio: float | None,
        recovery: Recovery,
        standstill: int,
        mode: Mode,
    ) -> None:
        self.numbers = BreakerSettings(
            name="c",
            failure_threshold=threshold,
            window_seconds=10,
            failure_ratio=ratio,
            minimum_throughput=4,
            recovery=recovery,
            mode=mode,
            break_seconds=5,
            break_seconds_max=12,
            half_open_permits=permits,
            permit_seconds=7,
            standstill_failures=standstill,
            history_limit=5,
        ).rules("here:1")

    def both(self, operation: str, *arguments: Any) -> Any:
        """Run an operation on both stores and return their equal result."""

        async def one(store: CircuitStore) -> Any:
            return await getattr(store, operation)(self.numbers, *arguments)

        expected = self.run(one(self.memory))
        got = self.run(one(self.shared))
        assert got == expected, f"{operation}{arguments}: redis {got}, memory {expected}"
        return expected

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @rule(stops_app=st.booleans())
    def take_turns(self, stops_app: bool) -> None:
        """Let a caller with other settings make the next operations."""
        self.numbers = replace(self.numbers, stops_app=stops_app)

    @rule(failure=FAILURES, permit=PERMITS)
    def record_failure(self, failure: str, permit: Permit) -> None:
        self.both("record_failure", failure, f"error of {failure}", permit)

    @rule(failure=FAILURES, probe=st.none() | PROBES, key=KEYS)
    def record_current_failure(self, failure: str, probe: str | None, key: str) -> None:
        generation = self.both("snapshot").circuit.generation
        self.both("record_failure", failure, "boom", Permit(generation, probe, key))

    @rule(
        report=st.builds(
            Report,
            st.sampled_from(["t", "u", "v"]),
            st.booleans(),
            AGES,
            AGES,
            st.integers(0, 3),
            AGES,
            keys=TOKENS,
            error=st.sampled_from(["", "down"]),
            running=TOKENS,
        )
    )
    def report(self, report: Report) -> None:
        generation = self.both("snapshot").circuit.generation
        self.both("report", replace(report, generation=generation))

    @rule(report=REPORTS, count=st.integers(1, 3), permit=PERMITS)
    def record_successes(self, report: str, count: int, permit: Permit) -> None:
        self.both("record_successes", report, count, permit)

    @rule(report=REPORTS, count=st.integers(1, 3))
    def record_current_successes(self, report: str, count: int) -> None:
        generation = self.both("snapshot").circuit.generation
        self.both("record_successes", report, count, Permit(generation))

    @rule(probe=PROBES, key=KEYS)
    def probe_succeeds(self, probe: str, key: str) -> None:
        generation = self.both("snapshot").circuit.generation
        self.both("record_successes", "", 1, Permit(generation, probe, key))

    @rule(probe=PROBES, key=KEYS)
    def acquire(self, probe: str, key: str) -> None:
        self.both("acquire", probe, key)

    @rule(permit=PERMITS)
    def release(self, permit: Permit) -> None:
        self.both("release", permit)

    @rule(generation=GENERATIONS, by=PEOPLE)
    def approve(self, generation: int, by: str) -> None:
        self.both("approve", generation, by)

    @rule(by=PEOPLE)
    def approve_current(self, by: str) -> None:
        self.both("approve", self.both("snapshot").circuit.generation, by)

    @rule(generation=GENERATIONS, by=PEOPLE)
    def close(self, generation: int, by: str) -> None:
        self.both("close", generation, by, "by hand")

    @rule(by=PEOPLE, seconds=st.sampled_from([0, 1, 5, 20]))
    def isolate(self, by: str, seconds: int) -> None:
        self.both("isolate", by, "maintenance", seconds)

    @rule(seconds=st.sampled_from([1, 5]), opened=st.booleans())
    def isolate_until_the_end(self, seconds: int, opened: bool) -> None:
        if opened:
            generation = self.both("snapshot").circuit.generation
            self.both("restore", Circuit("c", CircuitState.OPEN, generation + 1))
        self.both("isolate", "ann", "maintenance", seconds)
        self.clock.advance(seconds)

    @rule(
        state=st.sampled_from(CircuitState),
        generation=GENERATIONS,
        resume=st.none() | st.just(1_700_000_020.0),
        ends_as=st.sampled_from([None, CircuitState.CLOSED, CircuitState.OPEN]),
        stops_app=st.booleans(),
    )
    def restore(
        self,
        state: CircuitState,
        generation: int,
        resume: float | None,
        ends_as: CircuitState | None,
        stops_app: bool,
    ) -> None:
        timed = state in {CircuitState.OPEN, CircuitState.ISOLATED}
        known = Circuit(
            "c",
            state,
            generation,
            opened_at=5.5,
            changed_at=6.25,
            resume_at=resume if timed else None,
            ends_as=ends_as if state is CircuitState.ISOLATED else None,
            stops_app=stops_app,
        )
        self.both("restore", known)

    @rule(token=st.sampled_from(["one", "two"]), settle=st.booleans())
    def deliver(self, token: str, settle: bool) -> None:
        batches = [self.run(store.claim_alerts(self.numbers, token, 4, 2)) for store in self.stores]
        assert batches[0] == batches[1]
        if settle and batches[0].alerts:
            for store, batch in zip(self.stores, batches, strict=True):
                self.run(store.settle_alert(self.numbers, token, batch.alerts[0].entry, 4))

    @rule(token=st.sampled_from(["one", "two"]))
    def release_alerts(self, token: str) -> None:
        self.both("release_alerts", token)

    @rule(
        generation=st.integers(1, 4),
        url=st.sampled_from(["http://a/", "http://b/?x=1 2"]),
        run=st.sampled_from(["", "one", "run two"]),
        waits_for=st.sampled_from(WaitsFor),
    )
    def register_callback(self, generation: int, url: str, run: str, waits_for: WaitsFor) -> None:
        self.both("register_callback", Registration(generation, url, run, waits_for))

    @rule()
    def release_starts(self) -> None:
        self.both("release_starts")

    @rule(
        kind=st.sampled_from(StepKind),
        generation=GENERATIONS,
        accepted=st.booleans(),
        at=st.sampled_from([0.5, 7.25, 9.75]),
    )
    def note_step(self, kind: StepKind, generation: int, accepted: bool, at: float) -> None:
        self.both("note_step", Step(kind, generation, accepted, "HTTP 409", at, "ann b"))

    @rule(run=st.sampled_from(["one", "run two"]))
    def forget_run(self, run: str) -> None:
        self.both("forget_run", run)

    @rule(after=st.integers(0, 4))
    def repeat_opened(self, after: int) -> None:
        self.both("repeat_opened", after, 5)

    @rule()
    def chain(self) -> None:
        self.both("chain")

    @rule(settle=st.booleans())
    def call_back(self, settle: bool) -> None:
        for callback in self.both("claim_callbacks", 3):
            if settle:
                self.both("settle_callback", callback)
            else:
                self.both("postpone_callback", callback, 2)

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "numbers"):
            return
        circuit = self.both("snapshot").circuit
        self.both("outbox")
        assert circuit.failures <= self.numbers.failure_threshold
        histories = [self.run(store.history(10)) for store in self.stores]
        assert histories[0] == histories[1]


@pytest.mark.property
@pytest.mark.timeout(300)
def test_both_stores_agree_on_random_operations(redis_url: str) -> None:
    """The memory store's rules and the Redis scripts have the same behaviour."""
    with asyncio.Runner() as runner:
        TwoStores.loop = runner.get_loop()
        TwoStores.shared = RedisStore(redis_url, "c", timeout_seconds=30)
        with redis.Redis.from_url(redis_url) as TwoStores.flush:
            try:
                run_state_machine_as_test(
                    TwoStores,
                    settings=settings(
                        max_examples=max(20, settings().max_examples // 4),
                        stateful_step_count=40,
                        deadline=None,
                        database=None,
                        suppress_health_check=list(HealthCheck),
                    ),
                )
            finally:
                runner.run(TwoStores.shared.aclose())

"""Random operations on both parking stores, which agree after each step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from processing.identity import Source
from processing.parking.event import ListKey, Position, position_of
from processing.parking.store import Lease
from processing.progress.store import Mark
from tests.support.processing.events import event
from tests.support.processing.parking_pair import (
    ALL_KEYS,
    LATER_MS,
    StorePair,
    comparable,
    timeless,
)
from tests.support.processing.parking_stores import (
    DEFERRAL,
    FIRST_MS,
    LEASE_MS,
    OTHER,
    SOURCE,
    at,
)

SOURCES = st.sampled_from([SOURCE] * 7 + [OTHER])
KEYS = st.sampled_from(ALL_KEYS)
NUMBERS = st.integers(0, 3)
POSITIONS = st.builds(at, NUMBERS, st.sampled_from([FIRST_MS] * 6 + [FIRST_MS + 50, LATER_MS]))
DOCUMENTS = st.sampled_from(["d", "täter", "x" * 12])
PAUSES = st.sampled_from([-1.0, 0.0, 3600.0])
MARKS = st.sampled_from([""] * 7 + ["m", "n"])
HOLDERS = st.sampled_from(["t", "t", "u"])
RECENT = st.sampled_from([1] * 7 + [2])
GENERATIONS = st.integers(0, 3)


class TwoStores(StorePair, RuleBasedStateMachine):
    """A state machine that runs each operation on both stores."""

    @initialize()
    def own(self) -> None:
        self.claim(SOURCE, 0)
        self.claim(OTHER, 0)

    @rule(source=SOURCES, generation=GENERATIONS)
    def claim(self, source: Source, generation: int) -> None:
        memory, shared = self.both(
            lambda index: self.stores[index].claim(source, ALL_KEYS, generation=generation)
        )
        pair = (memory.owner, shared.owner)
        assert comparable(shared, [each[1] for each in self.claims[source]]) == comparable(
            memory, [each[0] for each in self.claims[source]]
        )
        self.claims[source].append(pair)

    @rule(
        source=SOURCES,
        back=RECENT,
        mark=MARKS,
        creates=st.booleans(),
        key=KEYS,
        position=POSITIONS,
        document=DOCUMENTS,
    )
    def poison(
        self,
        *,
        source: Source,
        back: int,
        mark: str,
        creates: bool,
        key: ListKey,
        position: Position,
        document: str,
    ) -> None:
        if creates:
            position = self.place(source, key, position)
        self.same(
            lambda index: self.stores[index].poison(
                self.writing(index, source, back, mark, creates), source, key, position, document
            )
        )

    @rule(
        source=SOURCES,
        back=RECENT,
        mark=MARKS,
        key=KEYS,
        position=POSITIONS,
        document=DOCUMENTS,
        pause=PAUSES,
    )
    def defer(
        self,
        *,
        source: Source,
        back: int,
        mark: str,
        key: ListKey,
        position: Position,
        document: str,
        pause: float,
    ) -> None:
        async def act(index: int) -> Any:
            reply = await self.stores[index].defer(
                self.writing(index, source, back, mark, True),
                source,
                key,
                (position, document),
                deferral=DEFERRAL,
                pause_seconds=pause,
            )
            return reply.state, reply.since > 0

        self.same(act)

    @rule(
        source=SOURCES,
        back=RECENT,
        mark=MARKS,
        key=KEYS,
        events=st.lists(
            st.tuples(POSITIONS, DOCUMENTS), max_size=4, unique_by=lambda each: each[0]
        ),
    )
    def park(
        self,
        source: Source,
        back: int,
        mark: str,
        key: ListKey,
        events: Sequence[tuple[Position, str]],
    ) -> None:
        self.same(
            lambda index: self.stores[index].park(
                self.writing(index, source, back, mark, True), source, key, events
            )
        )

    @rule(source=SOURCES, key=KEYS, position=POSITIONS)
    def announced(self, source: Source, key: ListKey, position: Position) -> None:
        self.same(lambda index: self.stores[index].announced(source, key, position))

    @rule(source=SOURCES, key=KEYS, holder=HOLDERS)
    def lease(self, source: Source, key: ListKey, holder: str) -> None:
        memory, shared = self.both(
            lambda index: self.stores[index].lease(source, key, holder, LEASE_MS)
        )
        assert (memory is None) == (shared is None)
        if isinstance(memory, Lease):
            assert timeless(memory.deferral) == timeless(shared.deferral)
            self.epochs.append((memory.epoch, shared.epoch))

    @rule(source=SOURCES, key=KEYS, holder=HOLDERS)
    def renew(self, source: Source, key: ListKey, holder: str) -> None:
        self.same(lambda index: self.stores[index].renew(source, key, holder, LEASE_MS))

    @rule(source=SOURCES, key=KEYS, holder=HOLDERS)
    def release(self, source: Source, key: ListKey, holder: str) -> None:
        self.same(lambda index: self.stores[index].release(source, key, holder))

    @rule(source=SOURCES, key=KEYS, holder=HOLDERS, pause=PAUSES, tries=NUMBERS)
    def postpone(self, source: Source, key: ListKey, holder: str, pause: float, tries: int) -> None:
        changed = replace(DEFERRAL, tries=tries)
        self.same(lambda index: self.stores[index].postpone(source, key, holder, changed, pause))

    @rule(
        source=SOURCES,
        key=KEYS,
        holder=HOLDERS,
        position=POSITIONS,
        document=DOCUMENTS,
        kind=st.sampled_from("PU"),
    )
    def replace(
        self,
        *,
        source: Source,
        key: ListKey,
        holder: str,
        position: Position,
        document: str,
        kind: str,
    ) -> None:
        position = self.place(source, key, position)
        self.same(
            lambda index: self.stores[index].replace(source, key, holder, position, kind + document)
        )

    @rule(
        source=SOURCES,
        key=KEYS,
        position=POSITIONS,
        verdict=st.sampled_from(["", "v"]),
        back=RECENT,
        fresh=st.sampled_from([True, True, True, False]),
    )
    def finish(
        self,
        *,
        source: Source,
        key: ListKey,
        position: Position,
        verdict: str,
        back: int,
        fresh: bool,
    ) -> None:
        position = self.place(source, key, position)
        if fresh:  # else most calls would find no lease
            self.lease(source, key, "t")
        epoch = self.epochs[-min(back, len(self.epochs))]
        self.same(
            lambda index: self.stores[index].finish(
                source, key, "t", position, verdict, epoch=epoch[index]
            )
        )

    @rule(source=SOURCES, number=NUMBERS, finished=st.lists(NUMBERS, max_size=2), back=RECENT)
    def commit(self, source: Source, number: int, finished: list[int], back: int) -> None:
        marks = [Mark(each, FIRST_MS + each) for each in finished]
        known = self.claims[source]
        self.same(
            lambda index: self.progress[index].commit(
                source,
                known[-min(back, len(known))][index],
                Mark(number, FIRST_MS + number) if number else None,
                marks,
            )
        )

    @rule(source=SOURCES)
    def reset(self, source: Source) -> None:
        memory, shared = self.both(lambda index: self.progress[index].reset(source))
        self.claims[source].append((memory.owner, shared.owner))

    @rule(source=SOURCES, after=POSITIONS)
    def forget(self, source: Source, after: Position) -> None:
        self.same(lambda index: self.stores[index].forget(source, after))

    @rule(source=SOURCES, mark=MARKS)
    def drop_mark(self, source: Source, mark: str) -> None:
        self.same(lambda index: self.stores[index].drop_mark(source, mark or "m"))

    @rule(source=SOURCES, event_id=st.sampled_from(["", "id"]))
    def poison_head(self, source: Source, event_id: str) -> None:
        self.same(lambda index: self.stores[index].poison_head(source, event_id))

    @rule(source=SOURCES, number=st.integers(0, 3))
    def mark_overdue(self, source: Source, number: int) -> None:
        positions = [position_of(event(number))]
        self.same(lambda index: self.stores[index].mark_overdue(source, positions))

    @rule(source=SOURCES, generation=GENERATIONS)
    def due(self, source: Source, generation: int) -> None:
        async def act(index: int) -> Any:
            return set(await self.stores[index].due(source, most=100, generation=generation))

        self.same(act)

    @rule(chance=st.integers(0, 9))
    def lose(self, chance: int) -> None:
        """Empty both stores, rarely."""
        if chance == 0:
            self.loop.run_until_complete(self.client.flushdb())
            self.memory.clear()
            self.memory.progress.clear()

    @invariant()
    def agree(self) -> None:
        self.check_content()


@pytest.mark.property
@pytest.mark.timeout(300)
def test_both_stores_agree_on_random_operations(redis_url: str) -> None:
    """The memory store's rules and the Redis scripts have the same behaviour."""
    with asyncio.Runner() as runner:
        TwoStores.loop = runner.get_loop()
        TwoStores.client = Redis.from_url(redis_url)
        try:
            run_state_machine_as_test(
                TwoStores,
                settings=settings(
                    max_examples=max(20, settings().max_examples // 2),
                    stateful_step_count=30,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(TwoStores.client.aclose())

"""Parking stores under test, and lists in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from processing.identity import Identity, Source
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import ListKey, Position
from processing.parking.store import Entry, Lease, ParkingStore, ParkState, WritingAs
from processing.progress.store import ProgressStore

IDENTITY = Identity("ns.example.net", "events", "$Default")
SOURCE = Source(IDENTITY, "0")
OTHER = Source(IDENTITY, "1")
FIRST_MS = 1_700_000_000_000
LEASE_MS = 60_000
DEFERRAL = Deferral(DeferralReason.DEPENDENCY, dependency="orders", error="E: down", attempts=3)


def at(number: int, enqueued_ms: int = FIRST_MS) -> Position:
    """Return the position of the event with this number."""
    return f"{enqueued_ms + number:015d}:{number:020d}"


@dataclass(slots=True)
class Stores:
    """A progress store, and parking stores with the limits that a test asks for."""

    progress: ProgressStore
    open: Callable[..., ParkingStore]
    parking: ParkingStore = field(init=False)

    def __post_init__(self) -> None:
        self.parking = self.open(most=1000)


async def claimed(store: ParkingStore, source: Source = SOURCE) -> WritingAs:
    """Claim a partition, and return the right to write without marks."""
    return WritingAs((await store.claim(source)).owner, "")


async def park_key(store: ParkingStore, key: ListKey = "k", *numbers: int) -> WritingAs:
    """Park a key behind event 10, and the events with these numbers behind it."""
    writing = await claimed(store)
    assert await store.poison(writing, SOURCE, key, at(10), "poison") == "poison"
    if numbers:
        reply = await store.park(writing, SOURCE, key, [(at(n), f"e{n}") for n in numbers])
        assert reply.states == (ParkState.PARKED,) * len(numbers)
    return writing


async def defer(
    store: ParkingStore,
    writing: WritingAs,
    key: ListKey,
    number: int,
    pause_seconds: float = 1000.0,
) -> float:
    """Defer a key at the event with this number; return the time of the deferral."""
    event = (at(number), f"e{number}")
    reply = await store.defer(
        writing, SOURCE, key, event, deferral=DEFERRAL, pause_seconds=pause_seconds
    )
    assert reply.state is ParkState.PARKED
    return reply.since


async def defer_key(store: ParkingStore, key: ListKey = "k", *numbers: int) -> WritingAs:
    """Defer a key at event 10, with the events with these numbers behind it."""
    writing = await claimed(store)
    await defer(store, writing, key, 10)
    if numbers:
        await store.park(writing, SOURCE, key, [(at(n), f"e{n}") for n in numbers])
    return writing


async def leased(store: ParkingStore, key: ListKey = "k", *, holder: str = "t") -> Lease:
    """Acquire a key's lease."""
    lease = await store.lease(SOURCE, key, holder, LEASE_MS)
    assert lease is not None
    return lease


async def positions(store: ParkingStore, key: ListKey = "k") -> list[Position]:
    """Return the positions in a list."""
    return [each.position for each in await store.entries(SOURCE, key, most=5000)]


async def in_list(store: ParkingStore, key: ListKey, number: int) -> Entry | None:
    """Return the entry of the event with this number."""
    return await store.document(SOURCE, key, at(number))


async def pause_of(store: ParkingStore, key: ListKey) -> float:
    """Return the seconds from a key's deferral or last failed replay to its next replay."""
    (found,) = [each for each in await store.keys() if each.key == key]
    assert found.due is not None
    assert found.deferral is not None
    return found.due - found.deferral.last_try


async def defer_for(
    store: ParkingStore, writing: WritingAs, dependency: str, **attempts: int
) -> None:
    """Defer keys for a dependency, with these attempts; their replays are due in 1,000 s."""
    for key, made in attempts.items():
        deferral = replace(DEFERRAL, dependency=dependency, attempts=made)
        event = (at(made), f"e{made}")
        await store.defer(writing, SOURCE, key, event, deferral=deferral, pause_seconds=1000)

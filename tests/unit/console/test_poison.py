"""Listing, search and display of poison messages."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from console.errors import OperationsError
from console.poison import catalogue as catalogue_module
from console.poison.api import PoisonApi
from console.poison.catalogue import Catalogue
from console.poison.documents import full, summary, text_of
from console.poison.jobs import selection_in
from console.poison.lazy_operations import LazyOperations
from processing.errors import StorageUnavailableError
from processing.identity import Identity, Source
from processing.operations import ParkedLists, PoisonStorage
from processing.parking.event import Lone, position_of
from processing.parking.memory import MemoryParkingStore
from processing.parking.names import ListName
from processing.parking.store import ListHead, WritingAs
from processing.poison.comparison import Comparison
from processing.poison.error_detail import ErrorDetail
from processing.poison.index.entry import IndexEntry
from processing.poison.index.memory import MemoryPoisonIndex
from processing.poison.index.search import search
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue, MemoryPoisonReader
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.poison.queue import PoisonReader
from tests.support.processing.events import event
from tests.support.processing.index_entries import compared_with
from tests.unit.processing.redrive.lists import BANK_IS_DOWN, Lists

IDENTITY = Identity("ns.example.net", "hub", "$Default")
SOURCE = Source(IDENTITY, "0")


def message(number: int = 1, body: bytes | None = b"{}", **changes: Any) -> PoisonMessage:
    values: dict[str, Any] = {
        "source": SOURCE,
        "key": "K",
        "body": None if body is None else base64.b64encode(body).decode(),
        "properties": {},
        "sequence_number": number,
        "offset": str(number),
        "enqueued_ms": 1_700_000_000_000 + number,
        "error": ErrorDetail("builtins.ValueError", "no good", "Trace", ("orders.py:8 handle",)),
        "attempts": 4,
        "first_attempt_time": "2026-01-01T00:00:00+00:00",
        "last_attempt_time": "2026-01-01T00:00:01+00:00",
        "handler": "h",
        "circuit_generation": 0,
        "instance": "i",
    }
    return PoisonMessage(**values | changes)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 200, 4_095, 4_096, 4_097, 50_000])
def test_size_is_that_of_the_decoded_body(size: int) -> None:
    """The list does not decode the whole body."""
    found = full(message(body=b"x" * size))
    assert (found["size"], found["body"]["bytes"]) == (size, size)
    assert found["body"]["preview"] == "x" * min(size, 4_096)
    assert found["body"]["truncated"] is (size > 4_096)
    assert len(found["preview"]) == min(size, 200)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("é🚀".encode(), "é🚀"),
        ("é🚀".encode()[:-1], "é"),
        (b"\xff\x00", "ff 00"),
        (b"fine \xff fine", "66 69 6e 65 20 ff 20 66 69 6e 65"),
        (b"", ""),
    ],
)
def test_utf8_is_shown_as_text_and_other_bytes_as_hex(body: bytes, shown: str) -> None:
    """A character that the cut divides is left out."""
    assert text_of(body) == shown


def test_whole_body_with_an_incomplete_character_is_hex() -> None:
    """The incomplete character is part of the body, not a result of the cut."""
    found = full(message(body="é".encode()[:1]))["body"]
    assert (found["encoding"], found["preview"]) == ("hex", "c3")
    found = full(message(body="é".encode() * 3_000))["body"]
    assert (found["encoding"], found["preview"]) == ("text", "é" * 2_048)
    assert full(message(body=b"x" + "é".encode() * 3_000))["body"]["encoding"] == "text"


def test_a_large_event_is_listed_without_its_body() -> None:
    """The body is in a blob, which the list does not fetch."""
    row = summary(message(body=None, claim_check=ClaimCheck("c", "b")))
    assert (row["size"], row["preview"]) == (None, "")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", True),
        ("no good", True),
        ("valueerror", True),
        ("k", True),
        ("/0/1/", True),
        ("größe", True),
        ("nothing", False),
    ],
)
async def test_search_ignores_case(query: str, found: bool) -> None:
    """The search covers id, key, error and body."""
    index = MemoryPoisonIndex(IDENTITY)
    await index.put([IndexEntry("m", "r", message(body="GRÖSSE Größe".encode()))])
    assert bool((await search(index, query)).entries) is found


@pytest.mark.parametrize(
    ("document", "selection"),
    [
        ({"all": True}, {"all": True}),
        ({"key": " k "}, {"key": " k "}),
        ({"key": "", "id": None}, {"key": ""}),
        ({"id": " a/b "}, {"id": "a/b"}),
        ({}, None),
        ({"all": "yes"}, None),
        ({"all": True, "key": "k"}, None),
        ({"key": "k" * 257}, None),
        ({"id": 5}, None),
    ],
)
def test_selection_is_exactly_one_of_three(
    document: dict[str, Any], selection: dict[str, Any] | None
) -> None:
    """An invalid selection is refused and never selects everything."""
    if selection is not None:
        assert selection_in(document) == selection
        return
    with pytest.raises(HTTPException) as refused:
        selection_in(document)
    assert refused.value.status_code == 400


class Queue:
    """A poison queue that counts how often it was opened."""

    def __init__(self, count: int) -> None:
        self.claims = MemoryClaimChecks()
        self.index = MemoryPoisonIndex(IDENTITY)
        self.queue = MemoryPoisonQueue(self.claims)
        self.queue.messages += [message(number) for number in range(count)]
        self.reader = MemoryPoisonReader(self.queue)
        self.opened = 0
        self.is_away = False

    async def open(self) -> PoisonStorage:
        self.opened += 1
        comparison = compared_with(self.queue, self.index, IDENTITY)
        if self.is_away:
            comparison = Comparison(self.index, self._no_readers, IDENTITY)
        return PoisonStorage(self.reader, self.claims, IDENTITY, self.index, comparison)

    async def _no_readers(self) -> Mapping[str, PoisonReader]:
        raise StorageUnavailableError("the queue is away")


async def known(catalogue: Catalogue) -> list[int]:
    """Return the numbers of the listed events."""
    await catalogue.known()
    return [each.message.sequence_number for each in await listed(catalogue)]


async def listed(catalogue: Catalogue) -> Sequence[IndexEntry]:
    return (await catalogue.search("", None, None, 500)).entries


async def test_list_holds_no_message() -> None:
    """Another reader receives all messages while the console lists them."""
    queue = Queue(40)
    catalogue = Catalogue(queue.open)
    assert await known(catalogue) == list(range(40))
    assert await known(catalogue) == list(range(40))
    assert len(await queue.reader.receive()) == 32


async def test_message_that_somebody_else_holds_stays_in_the_list() -> None:
    """A partial list would look as if the other messages were gone."""
    queue = Queue(3)
    catalogue = Catalogue(queue.open)
    await known(catalogue)
    await queue.reader.receive()
    assert await known(catalogue) == [0, 1, 2]
    catalogue = Catalogue(queue.open)  # of another instance
    assert await known(catalogue) == [0, 1, 2]
    assert (await catalogue.known()).state.held == 0


async def test_held_message_that_nobody_has_listed_is_counted() -> None:
    """The page says that the queue has more messages than it shows."""
    queue = Queue(3)
    received = await queue.reader.receive()
    queue.queue.messages.append(message(3))
    catalogue = Catalogue(queue.open)
    assert await known(catalogue) == [3]
    found = await catalogue.known()
    assert (found.state.held, found.count) == (3, 4)
    assert received


async def test_long_comparison_delays_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page shows what is known so far, and how far the console has read the queue."""
    monkeypatch.setattr(catalogue_module, "WAIT_SECONDS", 0.0)
    queue = Queue(100)
    catalogue = Catalogue(queue.open)
    first = await catalogue.known()
    assert first.count is None
    async with asyncio.timeout(10):
        while (found := await catalogue.known()).count is None:
            await asyncio.sleep(0)
    assert (found.state.entries, found.state.comparing) == (100, None)


async def test_comparison_that_fails_leaves_the_list_with_the_reason() -> None:
    """The index is readable although the queue does not answer."""
    queue = Queue(2)
    catalogue = Catalogue(queue.open)
    await known(catalogue)

    queue.is_away = True
    found = await catalogue.known(fresh=True)
    assert found.problem == "the queue is away"
    assert len(await listed(catalogue)) == 2


async def test_shutdown_puts_the_messages_of_a_comparison_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogue_module, "WAIT_SECONDS", 0.0)
    queue = Queue(100)
    catalogue = Catalogue(queue.open)
    await catalogue.known()
    async with asyncio.timeout(10):
        while not queue.queue.holds:
            await asyncio.sleep(0)
    await catalogue.aclose()
    assert not queue.queue.holds


class QueueOperations(LazyOperations):
    """Operations over an existing queue."""

    def __init__(self, queue: Queue) -> None:
        super().__init__({})
        self._queue = queue

    async def poison(self) -> PoisonStorage:
        return await self._queue.open()


async def test_a_lost_body_is_shown_as_lost() -> None:
    """All other data are shown, so that an operator can decide to discard the event."""
    queue = Queue(0)
    large = message(body=bytes(100_000))
    queue.queue.messages.append(await queue.claims.shrink(large))
    api = PoisonApi(QueueOperations(queue), Catalogue(queue.open))

    async def shown() -> dict[str, Any]:
        scope = {"type": "http", "path_params": {"id": large.id}, "query_string": b""}
        found: dict[str, Any] = json.loads(bytes((await api.show(Request(scope))).body))
        return found

    async def listed() -> list[str]:
        scope = {"type": "http", "query_string": b""}
        found = json.loads(bytes((await api.find(Request(scope))).body))
        return [each["body_state"] for each in found["messages"]]

    queue.queue.messages.append(message(2))
    assert ((await shown())["body"]["bytes"], (await shown())["body"]["lost"]) == (100_000, "")
    assert (await shown())["body_state"] == "blob"
    held = dict(queue.claims.blobs)
    queue.claims.blobs.clear()
    found = await shown()
    assert "is gone" in found["body"]["lost"]
    assert found["body_state"] == "lost"
    assert await listed() == ["lost", "queue"]
    assert (found["error"]["message"], found["key"]) == ("no good", "K")
    assert found["error"]["frames"] == ["orders.py:8 handle"]
    queue.claims.blobs.update(held)

    async def down(_check: ClaimCheck) -> bytes:
        raise StorageUnavailableError("no answer")

    queue.claims.get_bytes = down  # type: ignore[method-assign, assignment]
    with pytest.raises(OperationsError, match="no answer"):
        await shown()


class SilentParking(MemoryParkingStore):
    """Parking store that lists its keys and then times out."""

    calls = 0

    async def heads(
        self, source: Source, names: Sequence[ListName], *, documents: bool = False
    ) -> list[ListHead]:
        self.calls += 1
        raise StorageUnavailableError("no answer in time")


async def test_unavailable_parking_store_is_called_once() -> None:
    """A call for each partition would add up their timeouts."""
    store = SilentParking()
    for partition in range(3):
        source = replace(SOURCE, partition=f"{partition}")
        writing = WritingAs((await store.claim(source)).owner, "")
        await store.poison(writing, source, "k", position_of(message(1)), "{}")
    operations = ParkingOperations(store)
    with pytest.raises(OperationsError, match="no answer in time"):
        await PoisonApi(operations, Catalogue(operations.poison)).parked(
            Request({"type": "http", "query_string": b""})
        )
    assert store.calls == 1


async def parked(api: PoisonApi, query: bytes) -> Any:
    """Return the answer to a request for parked keys."""
    request = Request({"type": "http", "query_string": query})
    return json.loads(bytes((await api.parked(request)).body))


async def _now() -> float:
    return time.time()


class ParkingOperations(LazyOperations):
    """Operations over existing parked lists."""

    def __init__(self, store: MemoryParkingStore) -> None:
        super().__init__({})
        self._store = store

    async def parking(self) -> ParkedLists:
        return ParkedLists(self._store, _now)


def test_properties_are_passed_as_text() -> None:
    """A browser would round the number when it parses JSON, and would refuse NaN."""
    properties = {"order": 9_007_199_254_740_993, "ratio": float("nan")}
    found = full(message(properties=properties, system_properties={"message-id": "m"}))
    assert found["properties"] == '{\n  "order": 9007199254740993,\n  "ratio": "NaN"\n}'
    assert found["system_properties"] == '{\n  "message-id": "m"\n}'


async def test_parked_and_deferred_keys_are_listed_oldest_first() -> None:
    """Each key has the body of the redrive that a button may send."""
    site = Lists()
    lone = event(5, None)
    await site.defer(event(0, "slow"), event(1, "slow"), pause_seconds=30)
    await site.park(event(2, "bad"))
    await site.park(event(3, None), event(4, None))
    await site.defer(lone, name=Lone(position_of(lone)))
    await site.defer(event(6, "k" * 300))
    operations = ParkingOperations(site.store)
    api = PoisonApi(operations, Catalogue(operations.poison))
    answer = await parked(api, b"limit=500")
    slow, bad, keyless, alone, long = answer["keys"]
    assert (answer["total"], answer["after"]) == (5, None)
    assert (slow["state"], slow["reason"], slow["dependency"]) == ("deferred", "dependency", "bank")
    assert (slow["attempts"], slow["behind"], slow["error"]) == (3, 1, BANK_IS_DOWN)
    assert 29 < slow["next_try_seconds"] <= 30
    assert (bad["state"], bad["next_try_seconds"], bad["reason"]) == ("parked", None, "poison")
    assert bad["error"] == "PoisonEventError: bad"
    assert [each["selection"] for each in (slow, bad, keyless, alone, long)] == [
        {"key": "slow"},
        {"key": "bad"},
        {"id": event(3, None).id},
        {"id": lone.id},
        None,
    ]


async def test_parked_keys_are_listed_page_by_page() -> None:
    site = Lists()
    for number in range(5):
        await site.park(event(number, f"key {number}"))
    operations = ParkingOperations(site.store)
    api = PoisonApi(operations, Catalogue(operations.poison))
    found: list[str] = []
    after: Any = ""
    for size in (2, 2, 1):
        answer = await parked(api, urlencode({"limit": 2, "after": after}).encode())
        assert (len(answer["keys"]), answer["total"]) == (size, 5)
        found += [each["key"] for each in answer["keys"]]
        after = answer["after"]
    assert found == [f"key {number}" for number in range(5)]
    assert after is None
    with pytest.raises(HTTPException, match="is no place in the list of parked keys") as refused:
        await parked(api, b"after=x")
    assert refused.value.status_code == 400

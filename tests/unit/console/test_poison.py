"""What operators are shown of poison messages, and what it costs the queue to look."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from console.backplane.coordination import MemoryCoordination
from console.errors import OperationsError
from console.poison.api import PoisonApi
from console.poison.catalogue import AT_ONCE, BROWSE, Catalogue, browse
from console.poison.documents import full, matches, summary, text_of
from console.poison.jobs import selection_in
from console.poison.lazy_operations import LazyOperations
from processing.errors import StorageUnavailableError
from processing.event import Source
from processing.operations import PoisonStorage
from processing.parking.event import Position, position_of
from processing.parking.memory import MemoryParkingStore
from processing.parking.store import Entry
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue, MemoryPoisonReader
from processing.poison.message import ClaimCheck, ErrorDetail, PoisonMessage


def message(number: int = 1, body: bytes | None = b"{}", **changes: Any) -> PoisonMessage:
    values: dict[str, Any] = {
        "id": f"hub/$Default/0/{number}/{1_700_000_000_000 + number}",
        "key": "K",
        "body": None if body is None else base64.b64encode(body).decode(),
        "properties": {},
        "partition": "0",
        "sequence_number": number,
        "offset": str(number),
        "enqueued_time": "2026-01-01T00:00:00+00:00",
        "error": ErrorDetail("builtins.ValueError", "no good", "Traceback ..."),
        "attempts": 4,
        "first_attempt_time": "2026-01-01T00:00:00+00:00",
        "last_attempt_time": "2026-01-01T00:00:01+00:00",
        "handler": "h",
        "circuit_generation": 0,
        "instance": "i",
    }
    return PoisonMessage(**values | changes)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 200, 4_095, 4_096, 4_097, 50_000])
def test_sizes_are_the_bodys(size: int) -> None:
    """Though it is not decoded for the list."""
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
def test_text_is_shown_as_text(body: bytes, shown: str) -> None:
    """A character that the cut goes through is left out; all else is hexadecimal."""
    assert text_of(body) == shown


def test_a_whole_body_that_ends_in_the_middle_of_a_character_is_no_text() -> None:
    """Nothing was cut there."""
    found = full(message(body="é".encode()[:1]))["body"]
    assert (found["encoding"], found["preview"]) == ("hex", "c3")
    found = full(message(body="é".encode() * 3_000))["body"]
    assert (found["encoding"], found["preview"]) == ("text", "é" * 2_048)
    assert full(message(body=b"x" + "é".encode() * 3_000))["body"]["encoding"] == "text"


def test_a_large_event_is_listed_without_its_body() -> None:
    """It lies in a blob, which the list does not fetch."""
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
def test_searching(query: str, found: bool) -> None:
    """Anything that the list shows, whatever the case."""
    assert matches(message(body="GRÖSSE Größe".encode()), query.casefold()) is found


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
def test_selections(document: dict[str, Any], selection: dict[str, Any] | None) -> None:
    """One of three; a slip of the pen never becomes "everything"."""
    if selection is not None:
        assert selection_in(document) == selection
        return
    with pytest.raises(HTTPException) as refused:
        selection_in(document)
    assert refused.value.status_code == 400


class Queue:
    """A poison queue, and how often it was opened."""

    def __init__(self, count: int) -> None:
        self.queue = MemoryPoisonQueue()
        self.queue.messages += [message(number) for number in range(count)]
        self.reader = MemoryPoisonReader(self.queue)
        self.claims = MemoryClaimChecks()
        self.opened = 0

    async def open(self) -> PoisonStorage:
        self.opened += 1
        return PoisonStorage(self.reader, self.claims)


async def test_looking_holds_nothing() -> None:
    """However many there are, each is put back; a copy of a message is shown once."""
    queue = Queue(3 * AT_ONCE)
    queue.queue.messages.append(message(0))
    for _ in range(2):
        messages, more = await browse(queue.reader, 1_000)
        assert [each.sequence_number for each in messages] == list(range(3 * AT_ONCE))
        assert not more
    messages, more = await browse(queue.reader, AT_ONCE)
    assert (len(messages), more) == (AT_ONCE, True)


async def test_the_queue_is_read_once_for_several_looks() -> None:
    """Until a redrive has changed it."""
    queue, redrives = Queue(3), [0]
    catalogue = Catalogue(queue.open, MemoryCoordination(), lambda: redrives[0])
    for _ in range(5):
        assert len((await catalogue.messages())[0]) == 3
    assert queue.opened == 1
    queue.queue.messages.pop()
    redrives[0] += 1
    assert len((await catalogue.messages())[0]) == 2


async def test_what_was_seen_last_must_do_while_a_redrive_holds_the_messages() -> None:
    """Half a list would look as if the other half were gone."""
    queue, redrives, coordination = Queue(3), [0], MemoryCoordination()
    catalogue = Catalogue(queue.open, coordination, lambda: redrives[0])
    await catalogue.messages()
    assert await coordination.acquire(BROWSE, "job", 60)
    await queue.reader.receive()
    redrives[0] += 1
    assert len((await catalogue.messages())[0]) == 3
    await coordination.release(BROWSE, "job")
    assert len((await catalogue.messages())[0]) == 0


class QueueOperations(LazyOperations):
    """Opens a queue that is there already."""

    def __init__(self, queue: Queue) -> None:
        super().__init__({})
        self._queue = queue

    async def poison(self) -> PoisonStorage:
        return await self._queue.open()


async def test_a_lost_body_is_shown_as_lost() -> None:
    """With all else that is known: an operator decides by it, and discards from there."""
    queue = Queue(0)
    large = message(body=bytes(100_000))
    queue.queue.messages.append(await queue.claims.shrink(large))
    api = PoisonApi(QueueOperations(queue), Catalogue(queue.open, MemoryCoordination()))

    async def shown() -> dict[str, Any]:
        scope = {"type": "http", "path_params": {"id": large.id}}
        found: dict[str, Any] = json.loads(bytes((await api.show(Request(scope))).body))
        return found

    assert ((await shown())["body"]["bytes"], (await shown())["body"]["lost"]) == (100_000, "")
    held = dict(queue.claims.blobs)
    queue.claims.blobs.clear()
    found = await shown()
    assert "is gone" in found["body"]["lost"]
    assert (found["error"]["message"], found["key"]) == ("no good", "K")
    queue.claims.blobs.update(held)

    async def down(_check: ClaimCheck) -> bytes:
        raise StorageUnavailableError("no answer")

    queue.claims.get_bytes = down  # type: ignore[method-assign, assignment]
    with pytest.raises(OperationsError, match="no answer"):
        await shown()


class SilentParking(MemoryParkingStore):
    """Lists its keys, and then says nothing any more."""

    asked = 0

    async def entries(
        self, source: Source, key: str | None, *, after: Position = "", most: int = 100
    ) -> list[Entry]:
        self.asked += 1
        raise StorageUnavailableError("no answer in time")


async def test_a_store_that_falls_silent_is_asked_once() -> None:
    """Not once for each parked key: each time lasts as long as an answer is waited for."""
    store = SilentParking()
    source = Source("events", "$Default", "0")
    claim = await store.claim(source, "owner", "")
    for number in range(3):
        await store.poison(claim, source, f"{number}", position_of(message(number)), "{}")
    operations = ParkingOperations(store)
    with pytest.raises(OperationsError, match="no answer in time"):
        await PoisonApi(operations, Catalogue(operations.poison, MemoryCoordination())).parked(
            Request({"type": "http"})
        )
    assert store.asked == 1


class ParkingOperations(LazyOperations):
    """Opens parked lists that are there already."""

    def __init__(self, store: MemoryParkingStore) -> None:
        super().__init__({})
        self._store = store

    async def parking(self) -> MemoryParkingStore:
        return self._store

"""Contract of every store of marks."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pytest
from azure.storage.blob.aio import ContainerClient

from processing.errors import FormatError, StorageUnavailableError
from processing.identity import Identity, Source
from processing.parking.mark_blobs import MarkBlobs
from processing.parking.marks import (
    MarkConflictError,
    MarkStore,
    MarkUnreadableError,
    Oldest,
    ParkingMark,
)
from processing.parking.memory_marks import MemoryMarkStore
from processing.parking.two_accounts import MarksOfTwo
from tests.support.processing.events import IDENTITY, SOURCE

MARK = ParkingMark(SOURCE, "token", Oldest(40, 1_700_000_000_040, "4000"), 7)
OTHERS = [
    Source(IDENTITY, "1"),
    Source(Identity("ns.example.net", "events", "$Default", "audit"), "0"),
]


class Setup(Protocol):
    """A store of marks, and access to the stored contents."""

    @property
    def store(self) -> MarkStore: ...

    async def put(self, data: bytes) -> None: ...

    async def record(self, name: str) -> str: ...


@dataclass
class MemorySetup:
    store: MarkStore
    app: MemoryMarkStore
    first: MemoryMarkStore
    """The store in which `put` places foreign content."""

    async def put(self, data: bytes) -> None:
        self.first.contents[SOURCE] = (data, "e", 1_700_000_000.0)

    async def record(self, name: str) -> str:
        return self.app.dropped[SOURCE, name]


@dataclass
class BlobSetup:
    store: MarkStore
    app: ContainerClient
    first: ContainerClient
    """The container in which `put` places foreign content."""

    async def put(self, data: bytes) -> None:
        await self.first.create_container()
        name = f"marks/{IDENTITY.digest}/{SOURCE.partition}.json"
        await self.first.upload_blob(name, data, overwrite=True)

    async def record(self, name: str) -> str:
        blob = f"marks/dropped/{IDENTITY.digest}/{SOURCE.partition}/{name}.json"
        return (await (await self.app.download_blob(blob)).readall()).decode()


@pytest.fixture(params=["memory", "blobs", "two memories", "two accounts"])
async def setup(request: pytest.FixtureRequest) -> AsyncIterator[Setup]:
    if request.param == "memory":
        store = MemoryMarkStore()
        yield MemorySetup(store, store, store)
        return
    if request.param == "two memories":
        memories = MemoryMarkStore(), MemoryMarkStore()
        yield MemorySetup(MarksOfTwo(*memories), *memories)
        return
    name = f"marks-{secrets.token_hex(4)}"
    azurite = request.getfixturevalue("azurite")
    async with ContainerClient.from_connection_string(azurite, name) as container:
        if request.param == "blobs":
            yield BlobSetup(MarkBlobs(container), container, container)
            return
        second = request.getfixturevalue("second_account")
        async with ContainerClient.from_connection_string(second, name) as app:
            yield BlobSetup(MarksOfTwo(MarkBlobs(app), MarkBlobs(container)), app, container)


def document(**changes: Any) -> bytes:
    return json.dumps(json.loads(MARK.to_json()) | changes).encode()


async def test_mark_is_read_as_it_was_written(setup: Setup) -> None:
    """The storage adds the time of the write; each partition and each app has its own mark."""
    assert await setup.store.read(SOURCE) is None
    written = await setup.store.write(MARK, None)
    read = await setup.store.read(SOURCE)
    assert read is not None
    assert read.etag == written.etag
    assert read.mark.written_at > 1_600_000_000
    assert replace(read.mark, written_at=0.0) == MARK
    for other in OTHERS:
        assert await setup.store.read(other) is None
        await setup.store.write(replace(MARK, source=other), None)


async def test_write_requires_the_stored_version(setup: Setup) -> None:
    """A writer whose version is outdated changes nothing."""
    first = await setup.store.write(MARK, None)
    with pytest.raises(MarkConflictError):
        await setup.store.write(replace(MARK, owner=8), None)
    second = await setup.store.write(replace(MARK, owner=9), first.etag)
    assert second.etag != first.etag
    with pytest.raises(MarkConflictError):
        await setup.store.write(replace(MARK, owner=10), first.etag)
    read = await setup.store.read(SOURCE)
    assert read is not None
    assert (read.mark.owner, read.etag) == (9, second.etag)


async def test_delete_requires_the_stored_version(setup: Setup) -> None:
    """A mark that has changed stays; a repeated delete changes nothing."""
    first = await setup.store.write(MARK, None)
    second = await setup.store.write(replace(MARK, owner=9), first.etag)
    with pytest.raises(MarkConflictError):
        await setup.store.delete(SOURCE, first.etag)
    await setup.store.delete(SOURCE, second.etag)
    await setup.store.delete(SOURCE, second.etag)
    assert await setup.store.read(SOURCE) is None
    with pytest.raises(MarkConflictError):
        await setup.store.write(replace(MARK, owner=10), second.etag)
    await setup.store.write(MARK, None)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is not the mark of partition"),
        (b"\xff\x00", "is not the mark"),
        (b"[]", "is not the mark"),
        (b'"text"', "is not the mark"),
        (b"{}", "it lacks 'version'"),
        (document(version="1"), "it is version '1'"),
        (document(version=0), "it is version 0"),
        (document(partition="1"), "of the mark of ns.example.net/events/[$]default/default/1"),
        (document(hub="other"), "of the mark of ns.example.net/other/"),
        (document(hub=None), "it is not a mark"),
        (document(token=""), "its token is ''"),
        (document(owner="7"), "it has '7' instead of a number"),
        (document(oldest={"sequence_number": 1}), "it lacks 'enqueued_ms'"),
        (
            document(oldest={"sequence_number": True, "enqueued_ms": 1, "offset": ""}),
            "it has True instead of a number",
        ),
        (document(oldest=None), "it is not a mark"),
    ],
)
async def test_foreign_content_is_an_error_that_names_the_way_out(
    setup: Setup, data: bytes, says: str
) -> None:
    """The error has the ETag, so that an operator can drop the blob."""
    await setup.put(data)
    with pytest.raises(MarkUnreadableError, match=says) as caught:
        await setup.store.read(SOURCE)
    assert isinstance(caught.value, StorageUnavailableError), "the partition holds"
    assert "parked drop-mark 0 --reason TEXT" in str(caught.value)
    await setup.store.delete(SOURCE, caught.value.etag)
    assert await setup.store.read(SOURCE) is None


async def test_mark_of_a_newer_version_is_named(setup: Setup) -> None:
    """The mark stays, and the error asks for the newer app."""
    await setup.put(document(version=2, oldest="somewhere else"))
    with pytest.raises(FormatError, match="has version 2; this app reads version 1"):
        await setup.store.read(SOURCE)


async def test_record_of_a_dropped_mark_is_stored(setup: Setup) -> None:
    """A repeat overwrites the record, and the mark stays until it is deleted."""
    await setup.store.write(MARK, None)
    await setup.store.record_drop(SOURCE, "token", "first")
    await setup.store.record_drop(SOURCE, "token", "second")
    assert await setup.record("token") == "second"
    assert await setup.store.read(SOURCE) is not None

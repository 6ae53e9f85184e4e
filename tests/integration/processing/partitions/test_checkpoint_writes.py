"""Checkpoints in real blobs are written only while no host owns the partition."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob.aio import ContainerClient

from local.services.child import REPOSITORY
from processing.errors import AppRunningError, CheckpointUnreadableError
from processing.partitions.checkpoints import LEASE_SECONDS, Checkpoint, HostCheckpoints

PACKAGES = (
    "breakwater",
    "breaker",
    "processing",
    "console",
    "loadtest",
    "local",
    "scripts",
    "benchmarks",
)
OLD, NEW = Checkpoint(9, "900"), Checkpoint(4, "-1")


class StorageClock(AioHttpTransport):  # type: ignore[misc]
    """A storage whose clock, as its answers give it, differs from that of this machine."""

    seconds = 0.0

    async def send(self, request: Any, **config: Any) -> Any:
        response = await super().send(request, **config)
        now = datetime.now(UTC) + timedelta(seconds=self.seconds)
        response.headers["Date"] = format_datetime(now, usegmt=True)
        return response


@pytest.fixture
def clock() -> StorageClock:
    return StorageClock()


@pytest.fixture
async def container(azurite: str, clock: StorageClock) -> AsyncIterator[ContainerClient]:
    name = f"checkpoints-{secrets.token_hex(4)}"
    async with ContainerClient.from_connection_string(azurite, name, transport=clock) as client:
        await client.create_container()
        yield client
        await client.delete_container()


@pytest.fixture
def checkpoints(container: ContainerClient) -> HostCheckpoints:
    return HostCheckpoints(container, namespace="NS", hub="Hub", group="$Default")


async def own(container: ContainerClient, partition: str, owner: str) -> None:
    """Own a partition as the extension does; "" releases the partition."""
    name = f"ns/hub/$default/ownership/{partition}"
    await container.upload_blob(name, b"", overwrite=True, metadata={"ownerid": owner})


async def test_checkpoint_of_an_owned_partition_is_not_written(
    checkpoints: HostCheckpoints, container: ContainerClient
) -> None:
    """Another partition's owner, a released and an expired ownership refuse nothing."""
    await checkpoints.write("0", OLD)
    await own(container, "0", "host")
    with pytest.raises(AppRunningError, match=r"it owns partition 0\. Stop the app"):
        await checkpoints.write("0", NEW)
    assert await checkpoints.read("0") == OLD
    await checkpoints.write("1", NEW)
    await checkpoints.write("0", NEW, force=True)
    await own(container, "0", "")
    await checkpoints.write("0", OLD)
    assert await checkpoints.read("0") == OLD


@pytest.mark.parametrize(("seconds", "refused"), [(LEASE_SECONDS - 60, True), (300, False)])
async def test_age_of_an_ownership_is_by_the_storage_clock(
    checkpoints: HostCheckpoints,
    container: ContainerClient,
    clock: StorageClock,
    seconds: float,
    refused: bool,
) -> None:
    """The clock of the operator's machine may be minutes ahead, and the app still runs."""
    await own(container, "0", "host")
    clock.seconds = seconds
    assert bool(await checkpoints.fresh_owners({"0"})) is refused
    (owned,) = await checkpoints.owners()
    assert abs(owned.age_seconds - seconds) < 30


async def test_checkpoint_needs_only_a_number(
    checkpoints: HostCheckpoints, container: ContainerClient
) -> None:
    """The extension delivers from the number if there is no offset."""
    name = "ns/hub/$default/checkpoint/0"
    for metadata, offset in (
        ({"sequencenumber": "9"}, ""),
        ({"sequencenumber": "9", "offset": ""}, ""),
        ({"sequencenumber": "9", "offset": "no offset"}, "no offset"),
        ({"sequencenumber": "9", "offset": "12:345:678"}, "12:345:678"),  # geo-replicated
    ):
        await container.upload_blob(name, b"", overwrite=True, metadata=metadata)
        assert await checkpoints.read("0") == Checkpoint(9, offset)
    odd_ones: tuple[dict[str, str], ...] = (
        {"offset": "900"},
        {"sequencenumber": "", "offset": "9"},
        {"sequencenumber": "nine", "offset": "9"},
        {},
    )
    for odd in odd_ones:
        await container.upload_blob(name, b"", overwrite=True, metadata=odd)
        with pytest.raises(CheckpointUnreadableError, match="partition 0 has the metadata"):
            await checkpoints.read("0")


async def test_ownership_without_an_owner_refuses_nothing(
    checkpoints: HostCheckpoints, container: ContainerClient
) -> None:
    """The host takes such a partition as well; the owners of other partitions are listed."""
    folder = "ns/hub/$default/ownership"
    odd_ones: dict[str, dict[str, str] | None] = {
        "0": None,
        "1": {"owner": "x"},
        "2": {"ownerid": ""},
        "copies/0": {"ownerid": "x"},
    }
    for partition, metadata in odd_ones.items():
        await container.upload_blob(f"{folder}/{partition}", b"", metadata=metadata)
    await own(container, "3", "host")
    assert [(each.partition, each.owner) for each in await checkpoints.owners()] == [("3", "host")]
    await checkpoints.refuse_while_owned({"0", "1", "2"})
    await checkpoints.write("0", OLD)


def test_no_other_module_of_the_project_writes_the_container() -> None:
    """The host itself writes checkpoints; the load test's fault deletes them."""
    assert {
        str(file.relative_to(REPOSITORY))
        for package in PACKAGES
        for file in Path(REPOSITORY / package).rglob("*.py")
        if "azure-webjobs-eventhub" in file.read_text()
    } == {
        "processing/partitions/checkpoints.py",
        "local/functions_host/triggers/event_hubs/checkpoint.py",
        "local/partitions.py",  # reads for `python -m local status`
        "loadtest/target/ownership.py",
    }

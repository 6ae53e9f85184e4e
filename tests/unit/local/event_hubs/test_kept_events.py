"""The events and hubs on disk, which a later process reads again."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.event_hubs.config import ConfigError, HubConfig, NamespaceConfig
from local.event_hubs.errors import AmqpError
from local.event_hubs.hub.messages import Published
from local.event_hubs.hub.namespace import Namespace
from local.event_hubs.hub.partition_files import DamagedFileError, PartitionFiles
from local.event_hubs.hub.partition_log import PartitionLog
from local.event_hubs.hub.retention import Retention
from local.event_hubs.hub.storage import DirectoryInUseError, Storage, kept_partitions

BODY = b"\x00\x53\x75\xa0\x01x"
SEGMENT = 300
"""Bytes of a segment, so that a few events fill one."""


def event(size: int = 1) -> Published:
    return Published(b"", b"", 0, b"\x00\x53\x75\xa0" + bytes((size,)) + b"x" * size)


def opened(directory: Path) -> PartitionLog:
    return PartitionLog(0, PartitionFiles(directory, SEGMENT))


def state(log: PartitionLog) -> dict[str, Any]:
    return {
        "begin": log.begin_sequence,
        "last": log.last_sequence,
        "offset": log.last_offset,
        "time": log.last_enqueued_ms,
        "oldest": log.oldest_enqueued_ms,
        "bytes": log.size_bytes,
        "events": log.read(log.begin_sequence, len(log)),
    }


APPEND = st.tuples(st.just("append"), st.integers(1, 5), st.integers(1, 60))
TRIM = st.tuples(st.just("trim"), st.integers(0, 12), st.just(0))
RESTART = st.tuples(st.just("restart"), st.just(0), st.just(0))


@given(st.lists(st.one_of(APPEND, APPEND, TRIM, RESTART), max_size=25))
def test_a_log_on_disk_is_a_log_in_memory(steps: list[tuple[str, int, int]]) -> None:
    """No restart changes an event, a position or a time, also after the clock was set back."""
    with TemporaryDirectory() as folder:
        directory, twin = Path(folder, "0"), PartitionLog(0)
        log = opened(directory)
        for number, (step, count, size) in enumerate(steps):
            if step == "append":
                at_ms = 1_000 + number * (-1 if size % 7 == 0 else 1)
                log.append([event(size)] * count, at_ms)
                twin.append([event(size)] * count, at_ms)
            elif step == "trim":
                log.trim(count)
                twin.trim(count)
            else:
                log.close()
                log = opened(directory)
            assert state(log) == state(twin)
        log.close()
        log = opened(directory)
        assert state(log) == state(twin)
        log.append([event()], 9_000)
        twin.append([event()], 9_000)
        assert state(log) == state(twin)
        log.close()


def test_an_unfinished_write_is_dropped(tmp_path: Path) -> None:
    """A killed process leaves any part of its last record, which nobody had acknowledged."""
    log = opened(tmp_path / "0")
    log.append([event()], 1)
    [file] = (tmp_path / "0").iterdir()
    kept = file.stat().st_size
    before = state(log)
    log.append([event(), event()], 2)
    log.close()
    whole = file.read_bytes()
    for size in range(kept, len(whole)):
        file.write_bytes(whole[:size])
        again = opened(tmp_path / "0")
        assert state(again) == before
        again.append([event(9)], 3)
        again.close()
        assert len(opened(tmp_path / "0")) == 2
    file.write_bytes(whole[:kept] + bytes(100))
    assert state(opened(tmp_path / "0")) == before


def test_damage_is_an_error(tmp_path: Path) -> None:
    """A changed byte and a missing segment are named, and no event is lost without a word."""
    log = opened(tmp_path / "0")
    for _ in range(12):
        log.append([event(50)], 1)
    log.close()
    files = sorted((tmp_path / "0").iterdir())
    assert len(files) > 2
    for file in (files[0], files[-1]):
        whole = file.read_bytes()
        file.write_bytes(whole[:60] + b"?" + whole[61:])
        with pytest.raises(DamagedFileError, match=rf"{file}, byte \d+: a checksum does not match"):
            opened(tmp_path / "0")
        file.write_bytes(whole)
    files[1].unlink()
    with pytest.raises(DamagedFileError, match=r"the events before \d+ are missing"):
        opened(tmp_path / "0")


def test_disk_space_is_bounded_by_retention(tmp_path: Path) -> None:
    log = opened(tmp_path / "0")
    largest = 0
    for _ in range(500):
        log.append([event(50)], 1)
        log.trim(len(log) - 3)
        largest = max(largest, sum(file.stat().st_size for file in (tmp_path / "0").iterdir()))
    assert largest < 4 * SEGMENT
    log.close()
    assert len(opened(tmp_path / "0")) == 3


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let each write fail beyond this size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def kept(
    directory: Path, partitions: int = 2, *groups: str, ms: int = 5_000
) -> Iterator[Namespace]:
    """Open the hubs of a directory as an endpoint does, with one configured hub."""
    config = NamespaceConfig((HubConfig("Events", partitions, groups),))
    storage = Storage(directory)
    try:
        yield Namespace(config, Retention(), lambda: ms, storage)
    finally:
        storage.close()


def test_a_full_disk_refuses_the_publication(tmp_path: Path) -> None:
    """The publisher gets an error that SDKs retry, and no part of the events is delivered."""
    with kept(tmp_path) as namespace:
        hub = namespace.hub("events")
        hub.publish(BODY, 0, 0)
        [file] = tmp_path.glob("events/0000/*")
        with (
            files_of_at_most(file.stat().st_size + 20),
            pytest.raises(AmqpError, match="internal-error: The events could not be stored: File"),
        ):
            hub.publish(BODY, 0, 0)
        assert len(hub.partitions[0]) == 1
        assert hub.publish(BODY, 0, 0) == range(1, 2)
        namespace.close()
    with kept(tmp_path) as namespace:
        assert len(namespace.hub("events").partitions[0]) == 2


def test_a_hub_keeps_its_properties(tmp_path: Path) -> None:
    """Groups, partitions, retention and the time of creation come back; so do further hubs."""
    long_name = "x" * 256
    with kept(tmp_path, 2, "console") as namespace:
        hub = namespace.hub("events")
        hub.grow(3)
        hub.retain(7)
        hub.add_groups(["late"])
        namespace.create(HubConfig("other", 1))
        namespace.create(HubConfig(long_name, 1)).publish(BODY, 0, None)
        namespace.close()
    with pytest.raises(ConfigError, match="must be 3 or more, got 2"), kept(tmp_path, 2):
        pass
    with kept(tmp_path, 4, ms=99_000) as namespace:
        hub = namespace.hub("EVENTS")
        assert (hub.name, hub.created_ms, len(hub.partitions)) == ("Events", 5_000, 4)
        assert hub.groups == {"$default", "console", "late"}
        assert namespace.hub("other").created_ms == 5_000
        assert len(namespace.hub(long_name).partitions[0]) == 1
    assert kept_partitions(tmp_path, "Events") == 4
    assert kept_partitions(tmp_path, "none") is None


def test_retention_continues_after_a_restart(tmp_path: Path) -> None:
    """Events that expired while no process ran are removed; no number is used again."""
    with kept(tmp_path) as namespace:
        namespace.hub("events").publish(BODY, 0, 0)
        namespace.hub("events").retain(7)
        namespace.close()
    with kept(tmp_path, ms=20_000) as namespace:
        hub = namespace.hub("events")
        hub.trim()
        assert [len(log) for log in hub.partitions] == [0, 0]
        assert hub.publish(BODY, 0, 0) == range(1, 2)
        namespace.close()


def test_a_deleted_hub_does_not_come_back(tmp_path: Path) -> None:
    """The hub of the same name is new, even if its folder could not be removed."""
    with kept(tmp_path) as namespace:
        namespace.hub("events").publish(BODY, 0, 0)
        namespace.delete("events")
        assert not (tmp_path / "events").exists()
    (tmp_path / "events" / "0000").mkdir(parents=True)
    (tmp_path / "events" / "0000" / f"{0:020}.events").write_bytes(b"rest")
    with kept(tmp_path, ms=8_000) as namespace:
        hub = namespace.hub("events")
        assert (hub.created_ms, len(hub.partitions[0])) == (8_000, 0)


def test_one_endpoint_uses_a_directory(tmp_path: Path) -> None:
    with (
        kept(tmp_path),
        pytest.raises(DirectoryInUseError, match=f"uses {tmp_path}; give each"),
        kept(tmp_path),
    ):
        pass
    with kept(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "[]", '{"name": "events"}', '{"name": "/", "groups": []}'])
def test_a_damaged_record_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "hub.json").write_text(content)
    with pytest.raises(DamagedFileError, match=r"hub\.json"), kept(tmp_path):
        pass

"""The table of partition ownership, built from blobs, hubs and announcements."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from local.partitions import HostBlob, partition_table

NOW = 1_000_000.0
PLACE = "127.0.0.1/orders/$default"
HOSTS = {12: {"pid": 12, "instance": 3, "lease_seconds": 10.0}}


def owned(partition: str, owner: str, age: float = 0) -> HostBlob:
    return HostBlob(f"{PLACE}/ownership/{partition}", {"ownerid": owner}, NOW - age)


def at(partition: str, sequence: str, offset: str = "9") -> HostBlob:
    metadata = {"sequencenumber": sequence, "offset": offset}
    return HostBlob(f"{PLACE}/checkpoint/{partition}", metadata, NOW)


def hub(*partitions: tuple[int, int]) -> dict[str, Any]:
    """Return a hub's description; each partition is (begin, last) sequence number."""
    return {
        "name": "Orders",
        "partitions": [
            {"partition": str(n), "begin_sequence_number": begin, "last_sequence_number": last}
            for n, (begin, last) in enumerate(partitions)
        ],
    }


def test_a_line_has_the_owner_its_lease_the_checkpoint_and_the_lag() -> None:
    (line,) = partition_table(
        [owned("0", "12-ab", age=4), at("0", "17", "880")], [hub((0, 20))], HOSTS, NOW
    )
    assert (line.event_hub, line.consumer_group, line.partition) == ("orders", "$default", "0")
    assert (line.owner, line.owner_id) == ("instance 3 (pid 12)", "12-ab")
    assert line.lease_left_seconds == 6
    assert (line.checkpoint_offset, line.checkpoint_sequence_number) == ("880", 17)
    assert (line.last_sequence_number, line.lag) == (20, 3)


def test_lag_counts_only_events_that_can_still_be_received() -> None:
    lines = partition_table(
        [at("1", "4"), at("2", "4"), at("3", "30")],
        [hub((5, 9), (5, 9), (0, 4), (0, 9))],
        HOSTS,
        NOW,
    )
    no_checkpoint, before_retained, at_the_end, beyond_the_end = (line.lag for line in lines)
    assert (no_checkpoint, before_retained, at_the_end) == (5, 5, 0)
    assert beyond_the_end is None  # the hub was recreated


def test_partitions_without_an_owner_are_listed_in_numerical_order() -> None:
    lines = partition_table([owned("10", "12-ab"), owned("2", "")], [hub(*[(0, -1)] * 11)], {}, NOW)
    assert [line.partition for line in lines] == [str(n) for n in range(11)]
    assert [line.owner for line in lines[:10]] == [None] * 10
    assert {line.lag for line in lines} == {0}


def test_dead_hosts_and_foreign_owner_ids_are_shown() -> None:
    lines = partition_table([owned("0", "99-ab", 30), owned("1", "stranger")], [], HOSTS, NOW)
    assert [line.owner for line in lines] == ["pid 99 (gone)", "stranger"]
    # The lease length of the live hosts applies, because they take over.
    assert [line.lease_left_seconds for line in lines] == [-20, 10]


def test_unknown_values_are_none() -> None:
    (line,) = partition_table([owned("0", "12-ab")], [], {}, NOW)
    assert (line.lease_left_seconds, line.lag, line.last_sequence_number) == (None, None, None)


def test_other_blobs_are_ignored() -> None:
    assert partition_table([HostBlob("locks/a", {}, NOW)], [hub((0, 1))], HOSTS, NOW) == []


@pytest.mark.parametrize("number", ["", "--5", "-", "nine", "1" * 5000, None])
def test_odd_checkpoint_hides_no_other_partition(number: str | None) -> None:
    """Its own lag is counted as without a checkpoint."""
    metadata = {} if number is None else {"sequencenumber": number}
    odd = replace(at("0", "1"), metadata=metadata)
    lines = partition_table([odd, at("1", "4")], [hub((0, 9), (0, 9))], HOSTS, NOW)
    assert [(line.checkpoint_sequence_number, line.lag) for line in lines] == [(None, 10), (4, 5)]

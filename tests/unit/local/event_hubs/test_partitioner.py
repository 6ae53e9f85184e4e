"""The partition of a key, which must equal the service's because SDKs also compute it."""

from __future__ import annotations

import pytest
from azure.eventhub._buffered_producer._partition_resolver import generate_hash_code
from hypothesis import given
from hypothesis import strategies as st

from local.event_hubs.hub.partitioner import RoundRobin, hash_key, partition_for_key


@pytest.mark.parametrize(
    ("key", "expected"),
    [("7", -15263), ("131", 30562), ("FWfAT", -22341), ("$0cb", 26269), ("!c*_!I@1^c", 15372)],
)
def test_hashes_equal_the_published_hashes(key: str, expected: int) -> None:
    """The tests of the .NET SDK publish these hashes as stable."""
    assert hash_key(key.encode()) == expected


@given(st.text(st.characters(max_codepoint=127), min_size=1, max_size=128))
def test_hashes_of_ascii_keys_equal_the_python_sdks(key: str) -> None:
    """The SDK is an independent implementation; the lengths include those around a block."""
    expected = generate_hash_code(key)  # type: ignore[no-untyped-call]
    assert hash_key(key.encode()) == expected


def test_the_remainder_of_a_negative_hash_is_computed_as_in_c_sharp() -> None:
    """The partition of hash -15263 among 4 is 3 as in C#, not 1 as in Python."""
    assert partition_for_key(b"7", 4) == 3


@given(st.text(max_size=128), st.integers(1, 1024))
def test_every_key_has_a_partition(key: str, partitions: int) -> None:
    assert 0 <= partition_for_key(key.encode(), partitions) < partitions


def test_round_robin_returns_the_partitions_in_turn() -> None:
    turns = RoundRobin(3)
    assert [turns.next_partition() for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]

"""Keys must go where the service puts them: other SDKs compute the partition themselves."""

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
def test_known_hashes(key: str, expected: int) -> None:
    """Published by the .NET SDK's tests as stable."""
    assert hash_key(key.encode()) == expected


@given(st.text(st.characters(max_codepoint=127), min_size=1, max_size=128))
def test_agrees_with_the_python_sdk_on_ascii(key: str) -> None:
    """An independent implementation of the same hash, for all lengths around the block size."""
    expected = generate_hash_code(key)  # type: ignore[no-untyped-call]
    assert hash_key(key.encode()) == expected


def test_the_remainder_keeps_its_sign_before_it_loses_it() -> None:
    """-15263 over 4 is 3 as in C#, not Python's 1."""
    assert partition_for_key(b"7", 4) == 3


@given(st.text(max_size=128), st.integers(1, 1024))
def test_every_key_has_a_partition(key: str, partitions: int) -> None:
    assert 0 <= partition_for_key(key.encode(), partitions) < partitions


def test_turns() -> None:
    turns = RoundRobin(3)
    assert [turns.next_partition() for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]

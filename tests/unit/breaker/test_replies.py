"""Replies of the Redis scripts."""

from __future__ import annotations

import pytest

from breaker import BreakerSettings
from breaker.stores import replies

RULES = BreakerSettings(name="c").rules("here:1")


@pytest.mark.parametrize("by", ["", "ann", "ann\nb", "1 2 3"])
def test_push_of_an_earlier_version_is_read(by: str) -> None:
    """While a new version is deployed, instances of both versions push states."""
    reply = f"done 1 open 4 5000000 6000000 0 3 0 0 9000000 4 boom{by}"
    circuit = replies.change("c", RULES, reply).circuit
    assert (circuit.generation, circuit.reason, circuit.by) == (4, "boom", by)
    assert (circuit.failed_attempts, circuit.last_success_at) == (0, None)


def test_values_behind_the_operators_name_are_read() -> None:
    """The name may have lines of its own."""
    reply = "done 1 closed 4 5000000 6000000 0 3 0 0 9000000 4 boomann\nb\n7 8000000 2 -"
    circuit = replies.change("c", RULES, reply).circuit
    assert (circuit.by, circuit.failed_attempts, circuit.last_success_at) == ("ann\nb", 7, 8.0)
    assert circuit.probe_failures == 2

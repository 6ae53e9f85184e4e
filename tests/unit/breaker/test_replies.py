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


def test_circuit_that_keeps_the_app_running_is_read() -> None:
    """The value follows only if an opening does not stop the app, see common.lua."""
    reply = "done 1 open 4 5000000 6000000 0 3 0 0 9000000 4 boomann\n7 8000000 2 -"
    assert replies.change("c", RULES, reply).circuit.kind == "app"
    circuit = replies.change("c", RULES, reply + " 0").circuit
    assert (circuit.by, circuit.failed_attempts, circuit.kind) == ("ann", 7, "pipeline")


def test_records_of_an_earlier_version_stop_the_app() -> None:
    """An earlier version stopped the app for each opening of an app's own circuit."""
    fields = {
        "event": "opened",
        "generation": "1",
        "at_us": "5",
        "failures": "1",
        "successes": "0",
        "failure_threshold": "1",
        "window_us": "9",
        "errors": "[]",
        "reason": "boom",
        "by": "",
        "instance": "here:1",
    }
    (alert,) = replies.alerts("c", [("1-1", fields)])
    (entry,) = replies.history("c", [("1-1", fields)])
    assert (alert.data["kind"], entry.kind) == ("app", "app")
    (alert,) = replies.alerts("c", [("1-1", fields | {"stops_app": "0"})])
    assert alert.data["kind"] == "pipeline"

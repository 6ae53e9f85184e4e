"""The normal form of names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processing.identity import Identity, Source


@pytest.mark.parametrize(
    ("namespace", "normal"),
    [
        ("Ns.ServiceBus.Windows.NET", "ns.servicebus.windows.net"),
        ("ns.servicebus.windows.net:5671", "ns.servicebus.windows.net"),
        ("ns.servicebus.windows.net.", "ns.servicebus.windows.net"),
        (" ns ", "ns"),
        ("127.0.0.1:23000", "127.0.0.1"),
        ("[::1]:5672", "::1"),
        ("[::1", "[::1"),
    ],
)
def test_namespace_is_a_lower_case_host_without_port(namespace: str, normal: str) -> None:
    """The connection string has a port only for a local hub; the host's metadata have none."""
    assert Identity(namespace, "h", "g").namespace == normal


@pytest.mark.parametrize("hub", ["events", "Events", "EVENTS ", " events"])
@pytest.mark.parametrize("group", ["$Default", "$default", "$DEFAULT "])
def test_spellings_of_one_name_are_one_identity(hub: str, group: str) -> None:
    """Azure compares the names without regard to case."""
    found = Identity("ns", hub, group)
    assert found == Identity("ns", "events", "$default")
    assert str(Source(found, "0")) == "ns/events/$default/default/0"
    assert found.digest == Identity("NS", "events", "$Default").digest


def test_other_names_are_other_identities() -> None:
    """Each part of the identity counts."""
    identity = Identity("ns", "events", "$default")
    found = {identity}
    for name in ("namespace", "hub", "consumer_group", "pipeline"):
        found.add(replace(identity, **{name: "other"}))
    assert len(found) == 5
    assert len({each.digest for each in found}) == 5

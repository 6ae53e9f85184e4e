"""The distribution of tests over pytest-xdist's processes, and their order.

Tests that share a stack run in one process, so that it is started once. Long tests are spread over
the first part of the run: all at once they would starve each other of the machine, and at the end
nothing would be left to run beside them. Unit tests, which compute, run beside the others, which
mostly wait: either kind alone leaves the machine idle or overloads it.

xdist's own groups do not work here: xdist 3.8.0 writes a group's name into `item._nodeid`, which
pytest 9.2.0 no longer reads: 12 tests of one `xdist_group` go to two processes, six to each.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

_TOGETHER = {
    "tests/browser/": "browser",
    "tests/contract/local/event_hubs/test_fuzz.py": "fuzz",
    "tests/e2e/test_scenarios.py": "scenarios",
    "tests/integration/console/test_stack.py": "stack",
    "tests/integration/processing/parking/test_cluster.py": "cluster",
    "tests/integration/local/functions_host/test_bindings.py": "bindings",
    "tests/integration/local/functions_host/test_triggers.py": "triggers",
    "tests/integration/local/functions_host/test_tutorial.py": "tutorial",
    "tests/integration/local/test_partitions.py": "stack",
    "tests/integration/local/test_up.py": "stack",
    "tests/integration/processing/redrive/test_cli.py": "stack",
    "tests/integration/processing/redrive/test_full_redis.py": "stack",
    "tests/integration/processing/redrive/test_windows.py": "stack",
    "tests/integration/processing/test_formats.py": "stack",
    "tests/integration/processing/test_odd_errors.py": "stack",
    "tests/integration/wheels/": "wheels",
}
"""Tests that share a stack or a host, or of which one follows up another, by the beginning of their
names."""
_LONG = ("tests/e2e/", "tests/chaos/", "tests/browser/")
_SINGLY = (
    *_LONG,
    "tests/chain/test_matrix.py",
    "tests/integration/",
    "tests/contract/local/event_hubs/",
    "tests/model/",
)
_SPREAD = 0.8


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Deals out groups of tests, each to the next process that is free."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling:
    config.option.loadscopereorder = False  # they come in the right order already
    return _Scheduling(config, log)


def sort(items: list[pytest.Item]) -> None:
    """Put the tests into the order in which they are to be dealt out, group by group."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(group_of(item.nodeid), []).append(item)
    long = [name for name, members in groups.items() if members[0].nodeid.startswith(_LONG)]
    long.sort(key=lambda name: -len(groups[name]))
    units = [name for name in groups if name.startswith("tests/unit/")]
    waiting = [name for name in groups if name not in {*long, *units}]
    together = set(_TOGETHER.values())  # these take long, so that none may come last
    waiting.sort(key=lambda name: (name != "stack", name not in together))
    places = {name: place / len(units) for place, name in enumerate(units)}
    places |= {name: _SPREAD * place / len(waiting) for place, name in enumerate(waiting)}
    others = sorted(places, key=lambda name: (places[name], name != "stack"))
    step = 1 + _SPREAD * len(others) / (len(long) + 1)
    for place, name in enumerate(long):
        others.insert(round(place * step), name)
    items[:] = [item for name in others for item in groups[name]]


def group_of(nodeid: str) -> str:
    """Return the group of a test: its stack's, itself if it may be long, else its file."""
    for beginning, group in _TOGETHER.items():
        if nodeid.startswith(beginning):
            return group
    return nodeid if nodeid.startswith(_SINGLY) else nodeid.partition("::")[0]

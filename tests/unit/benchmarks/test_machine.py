"""The CPU time of other programs is the total CPU time less ours."""

from __future__ import annotations

import pytest

from benchmarks.machine import CpuClock


def test_cores_of_others_exclude_our_cpu_time() -> None:
    before = CpuClock(at=100.0, everybody=50.0, ours=10.0)
    after = CpuClock(at=110.0, everybody=68.0, ours=13.0)
    assert after.others_since(before) == pytest.approx(1.5)


def test_cores_of_others_are_never_negative() -> None:
    before = CpuClock(at=0.0, everybody=0.0, ours=0.0)
    assert CpuClock(at=1.0, everybody=0.98, ours=1.0).others_since(before) == 0
    assert before.others_since(before) == 0


def test_cpu_clock_advances() -> None:
    earlier = CpuClock.read()
    sum(range(1_000_000))
    later = CpuClock.read()
    assert later.at > earlier.at
    assert later.ours >= earlier.ours
    assert later.everybody >= earlier.everybody

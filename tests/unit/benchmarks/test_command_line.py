"""The command line `python -m benchmarks` and its errors."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import command as command_line
from benchmarks.__main__ import main
from benchmarks.commands import without_ours
from benchmarks.context import Context
from benchmarks.events import batches, new_source
from benchmarks.p2_lanes import Sleeper
from benchmarks.result import Check, Result


@pytest.fixture(autouse=True)
def _root_logger() -> Any:
    before = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = before


def test_list_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [
        "P1",
        "P2",
        "P3",
        "P4",
        "P5",
        "P6",
        "P7",
        "P8",
        "P9",
        "P10",
        "P11",
        "P12",
        "P13",
        "P14",
        "ENDPOINT",
    ]


def test_unknown_name_is_refused_with_the_known_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["P99"]) == 2
    assert (
        "'P99' is not one of P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, ENDPOINT"
        in capsys.readouterr().err
    )


def test_run_without_names_leaves_out_long_benchmarks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = {
        "P1": command_line.Benchmark("P1", _met),
        "P7": command_line.Benchmark("P7", _missed, only_when_named=True),
    }
    monkeypatch.setattr(command_line, "BENCHMARKS", made)
    file = tmp_path / "out.json"
    main(["--json", str(file)])
    assert list(json.loads(file.read_text())) == ["P1"]
    main(["P7", "--json", str(file)])
    assert list(json.loads(file.read_text())) == ["P7"]


def test_slow_benchmarks_run_only_when_named() -> None:
    """A million events, outages longer than a window and minutes of failing events take long."""
    named = [name for name, each in command_line.BENCHMARKS.items() if each.only_when_named]
    assert named == ["P7", "P12", "P13", "P14"]


async def _met(context: Context) -> Result:
    context.expect(1)
    context.advance()
    return Result("P1", "met", (Check("it", 1, "≤", 1),), {"it": 1.0})


async def _missed(context: Context) -> Result:
    return Result("P2", "missed", (Check("it", 2, "≤", 1),), {"it": 2.0})


async def _broken(context: Context) -> Result:
    (context.directory / "made").write_text("the directory exists and is empty")
    raise OSError("no such server")


def run(
    monkeypatch: pytest.MonkeyPatch, file: Path, runs: dict[str, Any], *arguments: str
) -> tuple[int, dict[str, Any]]:
    made = {name: command_line.Benchmark(name, each) for name, each in runs.items()}
    monkeypatch.setattr(command_line, "BENCHMARKS", made)
    code = main([*arguments, "--json", str(file)])
    return code, json.loads(file.read_text())


def test_missed_goal_fails_only_with_fail_if_missed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = {"P1": _met, "P2": _missed}
    code, written = run(monkeypatch, tmp_path / "out.json", runs)
    assert code == 0
    assert {name: each["holds"] for name, each in written.items()} == {"P1": True, "P2": False}
    assert run(monkeypatch, tmp_path / "out.json", runs, "--fail-if-missed")[0] == 1
    assert run(monkeypatch, tmp_path / "out.json", {"P1": _met}, "--fail-if-missed")[0] == 0


def test_failed_benchmark_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code, written = run(monkeypatch, tmp_path / "out.json", {"P5": _broken, "P1": _met})
    assert code == 1
    assert written["P5"]["error"] == "OSError: no such server"
    assert written["P1"]["holds"] is True
    assert "P5 failed" in caplog.text


def test_children_of_a_run_in_the_background_can_be_interrupted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A shell's background run ignores Ctrl-C, and P12 would wait for the end of its child."""

    async def interrupts(context: Context) -> Result:
        code = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stderr=asyncio.subprocess.DEVNULL
        )
        return Result("P1", "code", (Check("code", await child.wait(), "≤", -1),), {"it": 1.0})

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _, written = run(monkeypatch, tmp_path / "out.json", {"P1": interrupts})
    finally:
        signal.signal(signal.SIGINT, before)
    assert written["P1"]["holds"] is True


def test_names_select_benchmarks_in_any_letter_case(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, written = run(monkeypatch, tmp_path / "out.json", {"P1": _met, "P2": _missed}, "p2")
    assert list(written) == ["P2"]


def test_quick_run_uses_the_quick_size(tmp_path: Path) -> None:
    assert Context(False, tmp_path).scaled(100, 1) == 100
    assert Context(True, tmp_path).scaled(100, 1) == 1


def test_batches_have_every_event_once_and_rotate_the_keys() -> None:
    source = new_source()
    made = list(batches(source, 25, size=10, keys=4))
    events = [event for batch in made for event in batch.events]
    assert [len(batch.events) for batch in made] == [10, 10, 5]
    assert [event.sequence_number for event in events] == list(range(25))
    assert [event.key for event in events[:5]] == [
        "key-0000",
        "key-0001",
        "key-0002",
        "key-0003",
        "key-0000",
    ]
    of_one_key = [event.properties["counter"] for event in events if event.key == "key-0000"]
    assert of_one_key == [1, 2, 3, 4, 5, 6, 7]
    assert new_source() != source


def test_commands_of_the_counter_are_not_counted() -> None:
    assert without_ours(Counter(get=3, info=2, echo=1, client=4)) == Counter(get=3)


async def test_sleeping_handler_counts_events_out_of_order() -> None:
    sleeper = Sleeper(4)
    sleeper.seconds = [0.0] * 4
    made = next(batches(new_source(), 4, size=4, keys=2))
    for event in made.events:
        await sleeper(event)
    assert (sleeper.handled, sleeper.disordered) == (4, 0)
    await sleeper(made.events[0])
    assert sleeper.disordered == 1


def test_missing_peers_are_an_error_before_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.peers.breakers.PACKAGES", ("redis", "no-such-package"))
    assert main(["P3"]) == 2
    assert "missing packages: no-such-package; install them with `make bench`" in " ".join(
        capsys.readouterr().err.split()
    )

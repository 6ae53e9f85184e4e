"""Run benchmarks, print their results and write them as JSON.

`python -m benchmarks compare BASE.json NEW.json` compares two JSON files of results.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from benchmarks import (
    comparison,
    endpoint,
    p1_processor,
    p2_lanes,
    p3_healthy_call,
    p4_recorded_failure,
    p5_end_to_end,
    p6_opening,
    p7_growth,
    p8_fan_out,
    p9_decoding,
    p10_cold_start,
    p12_poison_queue,
    p13_outage,
    p14_deferring,
)
from benchmarks.context import Context
from benchmarks.machine import BUSY_CORES, CpuClock
from benchmarks.peers.breakers import PeersMissingError, versions
from benchmarks.result import Broken, Result, show, write_json

_log = logging.getLogger("benchmarks")
DEFAULT_JSON = Path("out/benchmarks.json")
_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark.

    Attributes:
        title: the title in the progress bar and the list.
        run: the function that measures.
        needs_peers: whether requirements-bench.txt must be installed.
        new_loop: the factory of the event loop; None for asyncio's default.
        only_when_named: whether a run without names leaves the benchmark out, because it is long.
    """

    title: str
    run: Callable[[Context], Awaitable[Result]]
    needs_peers: bool = False
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
    only_when_named: bool = False


BENCHMARKS: dict[str, Benchmark] = {
    "P1": Benchmark("processor against the original's loop", p1_processor.run),
    "P2": Benchmark("lanes against sequential and ideal", p2_lanes.run, new_loop=p2_lanes.new_loop),
    "P3": Benchmark("breaker, healthy call", p3_healthy_call.run, needs_peers=True),
    "P4": Benchmark("breaker, recorded failure", p4_recorded_failure.run, needs_peers=True),
    "P5": Benchmark("end to end against the bare SDK", p5_end_to_end.run),
    "P6": Benchmark("opening seen by other processes", p6_opening.run),
    "P7": Benchmark("growth to a million events", p7_growth.run, only_when_named=True),
    "P8": Benchmark("the console's fan-out to browsers", p8_fan_out.run),
    "P9": Benchmark("decoding against azure-functions", p9_decoding.run),
    "P10": Benchmark("cold start against azure.functions", p10_cold_start.run),
    "P12": Benchmark("a large poison queue", p12_poison_queue.run, only_when_named=True),
    "P13": Benchmark("from an outage to the opening", p13_outage.run, only_when_named=True),
    "P14": Benchmark("others beside failing keys", p14_deferring.run, only_when_named=True),
    "ENDPOINT": Benchmark("a million events through the local endpoint", endpoint.run),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named benchmarks, or compare two results; return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] == "compare":
        return comparison.main(arguments[1:])
    args = _parser().parse_args(arguments)
    # An opening circuit logs a warning, and the benchmarks open circuits on purpose.
    logging.basicConfig(level=logging.ERROR)
    console, errors = Console(), Console(stderr=True)
    if args.list:
        for name, benchmark in BENCHMARKS.items():
            when = " (only when named)" if benchmark.only_when_named else ""
            console.print(f"{name}  {benchmark.title}{when}", highlight=False)
        return 0
    by_default = [name for name, each in BENCHMARKS.items() if not each.only_when_named]
    chosen = {name: BENCHMARKS[name] for name in args.names or by_default}
    try:
        if any(benchmark.needs_peers for benchmark in chosen.values()):
            versions()
    except PeersMissingError as error:
        errors.print(f"benchmarks: {error}", style="red", markup=False, highlight=False)
        return _USAGE
    try:
        results = _run_all(chosen, args.quick, console)
    except KeyboardInterrupt:
        errors.print("benchmarks: interrupted; every process that the run started has stopped")
        return _INTERRUPTED
    show(results, console)
    write_json(results, args.json)
    console.print(f"results written to {args.json}", highlight=False)
    if args.quick:
        console.print("Quick runs are too short for meaningful figures.", style="yellow")
    failed = any(isinstance(result, Broken) for result in results.values())
    missed = any(not result.holds for result in results.values())
    return _FAILED if failed or (missed and args.fail_if_missed) else 0


def _run_all(
    chosen: dict[str, Benchmark], quick: bool, console: Console
) -> dict[str, Result | Broken]:
    results: dict[str, Result | Broken] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch,
        Progress(*columns, console=console, refresh_per_second=4) as progress,
    ):
        for name, benchmark in chosen.items():
            task = progress.add_task(f"{name}  {benchmark.title}", total=None)
            directory = Path(scratch, name)
            directory.mkdir()
            context = Context(
                quick, directory, partial(_expect, progress, task), partial(progress.advance, task)
            )
            before = CpuClock.read()
            try:
                with asyncio.Runner(loop_factory=benchmark.new_loop) as runner:
                    result = runner.run(_as_coroutine(benchmark.run(context)))
                others = CpuClock.read().others_since(before)
                results[name] = replace(
                    result,
                    details={**result.details, "quick": quick, "cores_used_by_others": others},
                )
                if others >= BUSY_CORES:
                    progress.console.print(
                        f"{name}: other programs used {others:.1f} of {os.cpu_count()} cores, "
                        "which distorts the figures",
                        style="yellow",
                        highlight=False,
                    )
            except Exception as error:  # the results of the other benchmarks are still useful
                _log.exception("%s failed", name)
                results[name] = Broken(f"{type(error).__name__}: {error}")
    return results


def _expect(progress: Progress, task: TaskID, steps: int) -> None:
    progress.update(task, total=steps)


async def _as_coroutine[T](awaitable: Awaitable[T]) -> T:
    return await awaitable


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        type=_name,
        metavar="NAME",
        help=f"benchmarks to run: {', '.join(BENCHMARKS)} "
        "(default: all but those that --list marks as only when named)",
    )
    parser.add_argument(
        "--json", type=Path, default=DEFAULT_JSON, help=f"file to write (default: {DEFAULT_JSON})"
    )
    parser.add_argument("--quick", action="store_true", help="make short runs, to try things out")
    parser.add_argument(
        "--fail-if-missed",
        action="store_true",
        help="exit with 1 if a goal is missed, and not only if a benchmark fails",
    )
    parser.add_argument("--list", action="store_true", help="list the benchmarks and exit")
    return parser


def _name(text: str) -> str:
    if text.upper() not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(BENCHMARKS)}")
    return text.upper()


if __name__ == "__main__":
    sys.exit(main())

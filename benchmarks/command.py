"""The command `bench`, which runs benchmarks or compares the results of two runs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click
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
    p11_lists,
    p12_poison_queue,
    p13_outage,
    p14_deferring,
)
from benchmarks.context import Context
from benchmarks.machine import BUSY_CORES, CpuClock
from benchmarks.peers.breakers import PeersMissingError, versions
from benchmarks.result import Broken, Result, show, write_json
from breaker.configuration.command_line import (
    DONE,
    EXIT_CODES,
    FAILED,
    INTERRUPTED,
    WRONG_ARGUMENT,
    CommandGroup,
    Refused,
    say_error,
)

_log = logging.getLogger("benchmarks")
DEFAULT_JSON = Path("out/benchmarks.json")


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
    "P11": Benchmark("lists against one call per event", p11_lists.run),
    "P12": Benchmark("a large poison queue", p12_poison_queue.run, only_when_named=True),
    "P13": Benchmark("from an outage to the opening", p13_outage.run, only_when_named=True),
    "P14": Benchmark("others beside failing keys", p14_deferring.run, only_when_named=True),
    "ENDPOINT": Benchmark("a million events through the local endpoint", endpoint.run),
}


def _name(text: str) -> str:
    if text.upper() not in BENCHMARKS:
        raise click.BadParameter(f"{text!r} is not one of {', '.join(BENCHMARKS)}")
    return text.upper()


class _Bench(CommandGroup):
    """A group whose command `run` need not be named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args[:1] not in (["compare"], ["run"]):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.command("run", epilog=EXIT_CODES)
@click.argument("names", nargs=-1, type=_name, metavar="[NAME]...")
@click.option(
    "--json",
    "file",
    type=Path,
    default=DEFAULT_JSON,
    show_default=True,
    metavar="FILE",
    help="File to write.",
)
@click.option("--quick", is_flag=True, help="Make short runs, to try things out.")
@click.option(
    "--fail-if-missed",
    is_flag=True,
    help="Exit with 1 if a goal is missed, and not only if a benchmark fails.",
)
@click.option("--list", "lists", is_flag=True, help="List the benchmarks and exit.")
def run(
    *, names: tuple[str, ...], file: Path, quick: bool, fail_if_missed: bool, lists: bool
) -> int:
    """Run benchmarks, print their results and write them as JSON.

    Without a NAME all benchmarks run but those that --list marks as only when named. `compare`
    instead of names compares two files of results.
    """
    # An opening circuit logs a warning, and the benchmarks open circuits on purpose.
    logging.basicConfig(level=logging.ERROR)
    console = Console()
    if lists:
        for name, benchmark in BENCHMARKS.items():
            when = " (only when named)" if benchmark.only_when_named else ""
            console.print(f"{name}  {benchmark.title}{when}", highlight=False)
        return DONE
    by_default = [name for name, each in BENCHMARKS.items() if not each.only_when_named]
    chosen = {name: BENCHMARKS[name] for name in names or by_default}
    try:
        if any(benchmark.needs_peers for benchmark in chosen.values()):
            versions()
    except PeersMissingError as error:
        raise Refused(str(error), WRONG_ARGUMENT) from error
    # A run in the background of a script ignores Ctrl-C, and its children would inherit that: P12
    # interrupts one of them.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        results = _run_all(chosen, quick, console)
    except KeyboardInterrupt:
        say_error("interrupted; every process that the run started has stopped")
        return INTERRUPTED
    show(results, console)
    write_json(results, file)
    console.print(f"results written to {file}", highlight=False)
    if quick:
        console.print("Quick runs are too short for meaningful figures.", style="yellow")
    failed = any(isinstance(result, Broken) for result in results.values())
    missed = any(not result.holds for result in results.values())
    return FAILED if failed or (missed and fail_if_missed) else DONE


bench = _Bench("bench", commands=[run, comparison.command])


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

"""P12, redrives and lists of a large poison queue on Azurite.

With 2,000 messages, a redrive of all is measured against the bare SDK, which receives and deletes
the same messages with 16 calls side by side in the same run. With 20,000 messages, of which Azurite
alone needs minutes to receive and delete all, the tools are measured as an operator sees them: as
processes.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import secrets
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
from azure.storage.queue.aio import QueueClient

from benchmarks.context import Context
from benchmarks.measuring import interleaved, medians
from benchmarks.result import Check, Result
from benchmarks.services import child, services_for_storage
from local.services.ports import free_port
from processing.__main__ import main
from processing.errors import PoisonEventError
from processing.event import Event
from processing.handlers.retry import Failure, FailureKind
from processing.identity import Source
from processing.operations import open_redrive
from processing.poison.message import PoisonMessage
from processing.poison.side_by_side import AT_ONCE, side_by_side
from processing.poison.storage_queue import PAGE
from processing.redrive.selection import Selection
from processing.wiring import Wiring

ROUNDS = 2
FEW, QUICK_FEW = 2_000, 600
MANY, QUICK_MANY = 20_000, 1_600
PER_KEY = 4
BODY = bytes(1_000)
GOAL = 0.6
KEY_SECONDS, LIST_SECONDS, STOP_SECONDS = 5.0, 2.0, 2.0
FLAT = 1.25
"""Greatest ratio of the memory of a redrive of many messages to that of a few."""
RUN_SECONDS, QUICK_RUN_SECONDS = 40.0, 8.0
"""Time for which the redrive of many messages runs before Ctrl-C."""
_HELD = 300
_START_SECONDS = 60.0
_INTERRUPTED = 130


async def run(context: Context) -> Result:
    """Measure few messages in rounds, then many messages once."""
    few, many = context.scaled(FEW, QUICK_FEW), context.scaled(MANY, QUICK_MANY)
    rounds = context.scaled(ROUNDS, 1)
    context.expect(2 * rounds + 2)
    async with AsyncExitStack() as opened:
        settings = await opened.enter_async_context(
            services_for_storage(context.directory, "benchmarks.handlers:no_op")
        )
        queue = await opened.enter_async_context(_queue(settings))

        async def redrive() -> float:
            await _fill(settings, few)
            return few / await _seconds_of_redrive(settings, Selection(), few)

        async def bare() -> float:
            await _fill(settings, few)
            seconds = await _seconds_of_bare_sdk(queue, few)
            await _clear(settings, queue)
            return few / seconds

        measured = medians(
            await interleaved(
                {"redrive": redrive, "bare_sdk": bare}, rounds, context.advance, warm_up=False
            )
        )
        await _fill(settings, few)
        key_of_few = await _seconds_of_redrive(settings, Selection(key="key-7"), PER_KEY)
        memory_of_few, _ = await _redrive_until_stop(settings, context, "few", RUN_SECONDS)
        context.advance()
        await _clear(settings, queue)
        filled = time.perf_counter()
        await _fill(settings, many)
        filled = time.perf_counter() - filled
        listed = await _seconds_of_list(settings)
        first_console, console = await _seconds_of_console(settings, context)
        key_of_many = await _seconds_of_redrive(settings, Selection(key="key-7"), PER_KEY)
        seconds = context.scaled(int(RUN_SECONDS), int(QUICK_RUN_SECONDS))
        memory, stopped = await _redrive_until_stop(
            settings, context, "many", seconds, must_stop=True
        )
        context.advance()
    return Result(
        "P12",
        f"the poison queue: {few:,} and {many:,} messages on Azurite",
        (
            Check("redrive / bare SDK", measured["redrive"] / measured["bare_sdk"], "≥", GOAL, "x"),
            Check(f"one key of {few:,}", key_of_few, "≤", KEY_SECONDS, "s"),
            Check(f"one key of {many:,}", key_of_many, "≤", KEY_SECONDS, "s"),
            Check(f"first page of {many:,}", listed, "≤", LIST_SECONDS, "s"),
            Check(f"console's first page of {many:,}", console, "≤", LIST_SECONDS, "s"),
            Check("Ctrl-C", stopped, "≤", STOP_SECONDS, "s"),
            Check(f"memory, {many:,} / {few:,}", memory / memory_of_few, "≤", FLAT, "x"),
        ),
        {f"{name}_messages_per_second": value for name, value in measured.items()},
        {
            "body_bytes": len(BODY),
            "messages_of_a_key": PER_KEY,
            "calls_side_by_side": AT_ONCE,
            "fill_many_seconds": filled,
            "console_first_request_seconds": first_console,
            "memory_megabytes": {"few": memory_of_few / 1024, "many": memory / 1024},
        },
    )


@asynccontextmanager
async def _queue(settings: Mapping[str, str]) -> AsyncIterator[QueueClient]:
    """Open the poison queue, and compare its index with it, so that the index counts as whole."""
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened)
        queue = await wiring.queue()
        await queue.create_queue()
        await (await wiring.comparison()).ensure()
        yield queue


async def _fill(settings: Mapping[str, str], count: int) -> None:
    """Put messages into the queue as the app does."""
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened)
        poison = await wiring.poison()
        source = Source(wiring.connections.identity, "0")
        now = time.time()
        failure = Failure(FailureKind.POISON, PoisonEventError("refused"), 1, now, now)

        async def put(number: int) -> None:
            event = Event(
                body=BODY,
                key=f"key-{number % (count // PER_KEY)}",
                properties={},
                source=source,
                sequence_number=number,
                offset=str(number),
                enqueued_ms=int(now * 1000) + number,
            )
            await poison.put(
                PoisonMessage.from_failure(
                    event, failure, handler="no_op", circuit_generation=0, instance="benchmark"
                )
            )

        await side_by_side(range(count), put)


async def _clear(settings: Mapping[str, str], queue: QueueClient) -> None:
    """Remove all messages from the queue and from its index."""
    await queue.clear_messages()
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened)
        index = wiring.poison_index()
        while entries := (await index.page(most=1_000)).entries:
            await index.remove(entry.name for entry in entries)
        await (await wiring.comparison()).ensure(fresh=True)


async def _seconds_of_redrive(
    settings: Mapping[str, str], selection: Selection, expected: int
) -> float:
    started = time.perf_counter()
    async with open_redrive(settings) as redrive:
        summary = await redrive.run(selection)
    seconds = time.perf_counter() - started
    if summary.replayed != expected or not summary.complete:
        raise RuntimeError(f"{expected} events were expected, the redrive did {summary}")
    return seconds


async def _seconds_of_bare_sdk(queue: QueueClient, expected: int) -> float:
    """Receive and delete all messages with so many calls side by side."""
    deleted = 0

    async def work() -> None:
        nonlocal deleted
        while True:
            pages = queue.receive_messages(
                messages_per_page=PAGE, max_messages=PAGE, visibility_timeout=_HELD
            )
            found = [message async for message in pages]
            if not found:
                return
            for message in found:
                await queue.delete_message(message)
                deleted += 1

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    if deleted != expected:
        raise RuntimeError(f"{expected} messages were expected, the SDK deleted {deleted}")
    return time.perf_counter() - started


async def _seconds_of_list(settings: Mapping[str, str]) -> float:
    """Return the time of `poison list`, without the start of its interpreter."""
    with TemporaryDirectory() as directory:
        file = Path(directory) / "settings.json"
        file.write_text(json.dumps({"Values": dict(settings)}))
        started = time.perf_counter()
        with redirect_stdout(io.StringIO()):
            code = await asyncio.to_thread(main, ["poison", "list", "--settings", str(file)])
    if code:
        raise RuntimeError(f"poison list ended with {code}")
    return time.perf_counter() - started


async def _seconds_of_console(settings: Mapping[str, str], context: Context) -> tuple[float, float]:
    """Return the times of the console's first and second page; the first one loads the SDKs."""
    port, token = free_port(), secrets.token_hex(16)
    address, log = f"http://127.0.0.1:{port}", context.directory / "console.log"
    environment = {**os.environ, **settings, "CONSOLE_TOKEN": token}
    headers = {"Authorization": f"Bearer {token}"}
    command = ("-m", "console", "--port", str(port))
    async with (
        child(*command, log=log, answers=False, environment=environment),
        aiohttp.ClientSession(headers=headers) as session,
    ):
        async with asyncio.timeout(_START_SECONDS):
            while True:
                if await _answers(session, f"{address}/healthz"):
                    break
                await asyncio.sleep(0.05)
        seconds: list[float] = []
        for _ in range(2):
            started = time.perf_counter()
            async with session.get(f"{address}/api/poison") as answer:
                found = await answer.json()
            seconds.append(time.perf_counter() - started)
            if not answer.ok or not found["messages"]:
                raise RuntimeError(f"the console's list is {answer.status}: {str(found)[:500]}")
    return seconds[0], seconds[1]


async def _answers(session: aiohttp.ClientSession, address: str) -> bool:
    try:
        async with session.get(address) as answer:
            return answer.ok
    except aiohttp.ClientError:
        return False


async def _redrive_until_stop(
    settings: Mapping[str, str],
    context: Context,
    name: str,
    seconds: float,
    *,
    must_stop: bool = False,
) -> tuple[int, float]:
    """Run a redrive of all as a process, and stop it by Ctrl-C if it has not ended before.

    Args:
        settings: the app's settings.
        context: the run of the benchmark.
        name: the name of the log.
        seconds: time from the first replayed event to Ctrl-C.
        must_stop: whether a redrive that has ended before is an error.

    Returns:
        The greatest resident memory in KiB, and the seconds from Ctrl-C to the end of the process.

    Raises:
        RuntimeError: the redrive failed, replayed nothing, or ended before Ctrl-C.
    """
    log = context.directory / f"redrive-{name}.log"
    async with child(
        *("-m", "processing", "redrive", "--all"),
        log=log,
        answers=False,
        environment={**os.environ, **settings},
    ) as process:
        memory = 0
        until: float | None = None
        while process.returncode is None and (until is None or time.perf_counter() < until):
            if until is None and "tried" in log.read_text():
                until = time.perf_counter() + seconds
            memory = max(memory, _memory_of(process.pid))
            await asyncio.sleep(0.1)
        stopped = time.perf_counter()
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        code = await process.wait()
        ended = time.perf_counter()
        text = log.read_text()
        summary = re.search(r"^([\d,]+) replayed", text, re.MULTILINE)
        is_right = code == _INTERRUPTED or (code == 0 and not must_stop)
        if not is_right or summary is None or summary[1] == "0":
            raise RuntimeError(f"the redrive ended with {code}: {text[-500:]}")
        return memory, ended - stopped


def _memory_of(pid: int) -> int:
    """Return the greatest resident memory of a process so far, in KiB; 0 if it has ended."""
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0

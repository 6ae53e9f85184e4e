"""Retries, counts of outstanding work, and one partition's batches and checkpoints."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from breaker.configuration.host_options import EventHubsOptions
from local.functions_host.triggers.event_hubs.checkpoint import PartitionCheckpoint
from local.functions_host.triggers.event_hubs.event import ReceivedEvent
from local.functions_host.triggers.event_hubs.partition import PartitionProcessor
from local.functions_host.worker.cancellation import CancellationToken
from local.functions_host.worker.execution import Executor, Invocation
from local.functions_host.worker.functions import Function
from local.functions_host.worker.retry_policy import RetryPolicy
from local.functions_host.worker.worker import Datum, Result

OK = Result(ok=True, value=None, outputs={})
FAILED = Result(ok=False, value=None, outputs={}, error="E", traceback="T")
FOREVER = RetryPolicy("fixed_delay", -1)
TWICE = RetryPolicy("fixed_delay", 2)


@dataclass
class Script:
    """A worker with scripted results, which records its invocations."""

    results: list[Result] = field(default_factory=list)
    before: Callable[[int], Awaitable[None]] | None = None
    ids: list[str] = field(default_factory=list)
    retries: list[int] = field(default_factory=list)
    batches: list[list[int]] = field(default_factory=list)

    async def invoke(
        self,
        function: Function,
        invocation_id: str,
        inputs: list[tuple[str, Datum]],
        metadata: dict[str, Datum],
        *,
        retry: RetryPolicy | None = None,
        retry_count: int = 0,
    ) -> Result:
        self.ids.append(invocation_id)
        self.retries.append(retry_count)
        if "SequenceNumberArray" in metadata:
            self.batches.append(list(metadata["SequenceNumberArray"].value.sint64))
        elif "SequenceNumber" in metadata:
            self.batches.append([metadata["SequenceNumber"].value])
        number = len(self.ids) - 1
        if self.before is not None:
            await self.before(number)
        return self.results[number] if number < len(self.results) else OK


def function(retry: RetryPolicy | None = None, cardinality: str = "many") -> Function:
    trigger = {
        "type": "eventHubTrigger",
        "name": "events",
        "cardinality": cardinality,
        "dataType": "BINARY",
    }
    return Function("f", "id", trigger, (), retry)


def event(number: int) -> ReceivedEvent:
    annotations = {"x-opt-sequence-number": number, "x-opt-offset": str(number)}
    return ReceivedEvent(b"x", annotations)


def events(*numbers: int) -> list[ReceivedEvent]:
    return [event(number) for number in numbers]


INVOCATION = Invocation(Datum(b"", "bytes"), {}, "test")


@dataclass
class Partition:
    """A partition processor that writes its checkpoints to a list."""

    script: Script
    retry: RetryPolicy | None = None
    options: EventHubsOptions = field(default_factory=EventHubsOptions)
    cardinality: str = "many"
    now: float = 0.0
    checkpoints: list[int] = field(default_factory=list)
    fail_checkpoint: bool = False
    is_owner: bool = True

    def __post_init__(self) -> None:
        self.executor = Executor(self.script)
        self.processor = PartitionProcessor(
            function(self.retry, self.cardinality),
            self.executor,
            self.options,
            partition="0",
            context_json="{}",
            checkpoint=PartitionCheckpoint(self._write, self.options.batch_checkpoint_frequency),
            busy=asyncio.Lock(),
            is_owner=lambda: self.is_owner,
            clock=lambda: self.now,
        )

    async def _write(self, last: ReceivedEvent) -> None:
        if self.fail_checkpoint:
            raise OSError("storage is down")
        self.checkpoints.append(last.sequence_number)


async def test_success_is_not_retried() -> None:
    script = Script()
    result = await Executor(script).execute(function(FOREVER), INVOCATION, CancellationToken())
    assert result.ok
    assert script.retries == [0]


async def test_a_failure_without_a_policy_is_one_attempt() -> None:
    script = Script([FAILED])
    assert not (await Executor(script).execute(function(), INVOCATION, CancellationToken())).ok
    assert script.retries == [0]


async def test_retries_stop_after_the_first_success_and_each_has_its_own_id() -> None:
    script = Script([FAILED] * 5)
    executor = Executor(script)
    result = await executor.execute(function(FOREVER), INVOCATION, CancellationToken())
    assert result.ok
    assert script.retries == [0, 1, 2, 3, 4, 5]
    assert len(set(script.ids)) == 6
    assert executor.outstanding_retries == 0


async def test_failure_of_a_cancelled_invocation_is_one_line_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ctrl-C ends a batch with an error, which is expected and needs no traceback."""
    caplog.set_level(logging.INFO)
    token = CancellationToken()

    async def stop(_number: int) -> None:
        token.cancel()

    script = Script([FAILED], before=stop)
    assert not (await Executor(script).execute(function(FOREVER), INVOCATION, token)).ok
    started, ended = caplog.messages
    assert started.startswith("Executing 'Functions.f' ")
    assert ended.startswith("Executed 'Functions.f' (Failed after its cancellation, Id=")
    assert ended.endswith("ms): E")
    assert script.retries == [0]


async def test_lines_of_a_function_have_its_category(caplog: pytest.LogCaptureFixture) -> None:
    """As in Azure's host; host.json sets the level of one function, such as a timer's."""
    caplog.set_level(logging.INFO)
    await Executor(Script([FAILED])).execute(function(), INVOCATION, CancellationToken())
    assert {record.name for record in caplog.records} == {"Function.f"}
    assert "\nT" in caplog.messages[-1]
    caplog.clear()
    caplog.set_level(logging.WARNING, "Function.f")
    await Executor(Script()).execute(function(), INVOCATION, CancellationToken())
    assert caplog.messages == []


async def test_retries_stop_when_used_up() -> None:
    script = Script([FAILED] * 9)
    result = await Executor(script).execute(function(TWICE), INVOCATION, CancellationToken())
    assert not result.ok
    assert script.retries == [0, 1, 2]


async def test_a_cancelled_token_ends_the_wait_before_the_next_attempt() -> None:
    hour = RetryPolicy("fixed_delay", -1, delay=timedelta(hours=1))
    token = CancellationToken()
    script = Script([FAILED] * 9)
    executor = Executor(script)
    running = asyncio.create_task(executor.execute(function(hour), INVOCATION, token))
    while not executor.outstanding_retries:
        await asyncio.sleep(0)
    assert executor.outstanding_invocations == 0
    token.cancel()
    assert not (await running).ok
    assert script.retries == [0]
    assert executor.outstanding_retries == 0


async def test_running_invocations_are_counted_and_awaited() -> None:
    gate = asyncio.Event()
    script = Script(before=lambda number: gate.wait())  # type: ignore[arg-type, return-value]
    executor = Executor(script)
    work = executor.start(executor.execute(function(), INVOCATION, CancellationToken()))
    assert await executor.wait(0) == 1
    assert executor.outstanding_invocations == 1
    gate.set()
    assert await executor.wait(5) == 0
    assert (await work).ok
    assert executor.outstanding_invocations == 0


async def test_start_and_end_are_logged_with_the_invocation_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = Script([OK, FAILED])
    executor = Executor(script)
    with caplog.at_level(logging.INFO):
        await executor.execute(function(), INVOCATION, CancellationToken())
        await executor.execute(function(), INVOCATION, CancellationToken())
    first, second = script.ids
    assert caplog.messages[0] == f"Executing 'Functions.f' (Reason='test', Id={first})"
    assert caplog.messages[1].startswith(
        f"Executed 'Functions.f' (Succeeded, Id={first}, Duration="
    )
    assert caplog.messages[3].startswith(f"Executed 'Functions.f' (Failed, Id={second}, Duration=")
    assert caplog.messages[3].endswith("T")


async def test_the_last_event_is_checkpointed_after_success_and_after_failure() -> None:
    partition = Partition(Script([OK, FAILED]))
    await partition.processor.process(events(1, 2, 3))
    await partition.processor.process(events(4, 5))
    assert partition.checkpoints == [3, 5]
    assert partition.script.batches == [[1, 2, 3], [4, 5]]


async def test_a_pending_retry_holds_the_checkpoint() -> None:
    partition = Partition(Script([FAILED, FAILED]), FOREVER)

    async def not_yet(number: int) -> None:
        assert partition.checkpoints == []

    partition.script.before = not_yet
    await partition.processor.process(events(1))
    assert partition.checkpoints == [1]
    assert partition.script.retries == [0, 1, 2]


async def test_nothing_is_checkpointed_once_cancelled() -> None:
    """A success is not checkpointed either, because another host may own the partition."""
    partition = Partition(Script([OK]))

    async def lose(number: int) -> None:
        partition.processor.cancel()

    partition.script.before = lose
    await partition.processor.process(events(1))
    await partition.processor.process(events(2))
    assert partition.checkpoints == []
    assert partition.script.batches == [[1]]


async def test_retries_end_when_cancelled_without_a_checkpoint() -> None:
    partition = Partition(Script([FAILED] * 9), FOREVER)

    async def lose(number: int) -> None:
        if number == 2:
            partition.processor.cancel()

    partition.script.before = lose
    await partition.processor.process(events(1))
    assert partition.script.retries == [0, 1, 2]
    assert partition.checkpoints == []


@pytest.mark.parametrize("lost", [False, True])
async def test_without_a_certain_ownership_nothing_starts_and_nothing_is_checkpointed(
    *, lost: bool
) -> None:
    """A process that was paused in mid-batch waits until the ownership is certain or lost."""
    partition = Partition(Script())

    async def pause(number: int) -> None:
        partition.is_owner = number != 0

    partition.script.before = pause
    work = asyncio.create_task(partition.processor.process(events(1, 2)))
    behind = asyncio.create_task(partition.processor.process(events(3)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert partition.script.batches == [[1, 2]]
    assert partition.checkpoints == []
    if lost:
        partition.processor.cancel()
    partition.is_owner = True
    await asyncio.gather(work, behind)
    assert partition.script.batches == ([[1, 2]] if lost else [[1, 2], [3]])
    assert partition.checkpoints == ([] if lost else [2, 3])


async def test_a_retry_waits_for_a_certain_ownership() -> None:
    partition = Partition(Script(results=[FAILED]), retry=FOREVER)

    async def pause(number: int) -> None:
        partition.is_owner = number != 0

    partition.script.before = pause
    work = asyncio.create_task(partition.processor.process(events(1)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert partition.script.retries == [0]
    partition.is_owner = True
    await work
    assert (partition.script.retries, partition.checkpoints) == ([0, 1], [1])


async def test_every_nth_batch_is_checkpointed() -> None:
    options = EventHubsOptions(batch_checkpoint_frequency=3)
    partition = Partition(Script(), options=options)
    for number in range(7):
        await partition.processor.process(events(number))
    assert partition.checkpoints == [2, 5]


async def test_the_next_checkpoint_covers_a_failed_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    options = EventHubsOptions(batch_checkpoint_frequency=2)
    partition = Partition(Script(), options=options, fail_checkpoint=True)
    await partition.processor.process(events(1))
    await partition.processor.process(events(2))
    assert "partition 0: checkpoint at sequence number 2 not written" in caplog.text
    partition.fail_checkpoint = False
    await partition.processor.process(events(3))
    assert partition.checkpoints == [3]


async def test_batches_of_one_partition_never_overlap() -> None:
    """A partition that comes back while an invocation runs waits for that invocation."""
    running = 0

    async def alone(number: int) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running -= 1

    partition = Partition(Script(before=alone))
    await asyncio.gather(*(partition.processor.process(events(n)) for n in range(5)))
    assert partition.script.batches == [[0], [1], [2], [3], [4]]


async def test_a_batch_below_the_minimum_waits_for_more_and_is_not_checkpointed() -> None:
    options = EventHubsOptions(max_event_batch_size=5, min_event_batch_size=4)
    partition = Partition(Script(), options=options)
    await partition.processor.process(events(1, 2))
    await partition.processor.process(events(3))
    assert (partition.script.batches, partition.checkpoints) == ([], [])
    await partition.processor.process(events(4, 5, 6))
    assert partition.script.batches == [[1, 2, 3, 4, 5]]
    assert partition.checkpoints == [5]


async def test_a_batch_below_the_minimum_is_passed_on_after_the_maximum_wait() -> None:
    options = EventHubsOptions(min_event_batch_size=4, max_wait_time=timedelta(seconds=10))
    partition = Partition(Script(), options=options)
    await partition.processor.process(events(1))
    partition.now = 9.9
    await partition.processor.process([])
    assert partition.script.batches == []
    partition.now = 10
    await partition.processor.process([])
    assert partition.script.batches == [[1]]
    assert partition.checkpoints == [1]
    await partition.processor.process([])
    assert partition.script.batches == [[1]]


async def test_cardinality_one_is_an_invocation_for_each_event_in_order() -> None:
    partition = Partition(Script([OK, FAILED, OK]), cardinality="one")
    await partition.processor.process(events(1, 2, 3))
    assert partition.script.batches == [[1], [2], [3]]
    assert partition.checkpoints == [3]


async def test_cardinality_one_stops_in_mid_batch_when_cancelled() -> None:
    partition = Partition(Script(), cardinality="one")

    async def lose(number: int) -> None:
        if number == 1:
            partition.processor.cancel()

    partition.script.before = lose
    await partition.processor.process(events(1, 2, 3))
    assert partition.script.batches == [[1], [2]]
    assert partition.checkpoints == []

"""Queue outputs: values become messages, or the invocation fails."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient

from breaker.configuration.host_options import QueuesOptions
from local.functions_host.app_settings import AppSettings
from local.functions_host.errors import SettingsError
from local.functions_host.worker.functions import Function
from local.functions_host.worker.outputs import OutputWriter
from local.functions_host.worker.worker import Datum, Result
from local.services.ports import free_port


class _Worker:
    """A worker whose function ends with the given result."""

    def __init__(self, result: Result) -> None:
        self._result = result

    async def invoke(self, *inputs: Any, **retry: Any) -> Result:
        return self._result


@pytest.fixture
def queue(azurite: str) -> Iterator[QueueClient]:
    with QueueClient.from_connection_string(azurite, f"q{uuid.uuid4().hex[:12]}") as client:
        yield client


def _function(*, name: str = "msg") -> Function:
    binding = {"name": name, "type": "queue", "queueName": "%QUEUE%", "connection": "Storage"}
    trigger = {"type": "timerTrigger", "name": "timer"}
    return Function("writer", "id", trigger, (binding,), None)


async def _run(function: Function, result: Result, **settings: str) -> Result:
    writer = OutputWriter(_Worker(result), AppSettings(settings), QueuesOptions())
    try:
        return await writer.invoke(function, "id", [], {})
    finally:
        await writer.close()


def _taken(queue: QueueClient) -> list[bytes]:
    return [base64.b64decode(message.content) for message in queue.receive_messages()]


@pytest.mark.parametrize(
    ("datum", "messages"),
    [
        (Datum("text", "string"), [b"text"]),
        (Datum("", "string"), [b""]),
        (Datum(b"\xff\x00", "bytes"), [b"\xff\x00"]),
        (Datum('{"id": 1}', "string"), [b'{"id": 1}']),
        (Datum('["a", {"b": 1}]', "json"), [b"a", b'{"b": 1}']),
        (Datum("17", "string"), [b"17"]),
    ],
)
async def test_each_array_element_is_a_message_and_another_value_is_one(
    azurite: str, queue: QueueClient, datum: Datum, messages: list[bytes]
) -> None:
    result = Result(ok=True, value=None, outputs={"msg": datum})
    ended = await _run(_function(), result, Storage=azurite, QUEUE=queue.queue_name)
    assert ended is result
    assert sorted(_taken(queue)) == sorted(messages)


async def test_a_return_value_goes_to_its_queue(azurite: str, queue: QueueClient) -> None:
    result = Result(ok=True, value=Datum("returned", "string"), outputs={})
    await _run(_function(name="$return"), result, Storage=azurite, QUEUE=queue.queue_name)
    assert _taken(queue) == [b"returned"]


@pytest.mark.parametrize(
    "result",
    [
        Result(ok=True, value=None, outputs={}),
        Result(
            ok=False, value=None, outputs={"msg": Datum("x", "string")}, error="failed on request"
        ),
    ],
)
async def test_no_value_and_a_failed_function_write_nothing(
    azurite: str, queue: QueueClient, result: Result
) -> None:
    assert await _run(_function(), result, Storage=azurite, QUEUE=queue.queue_name) is result
    with pytest.raises(ResourceNotFoundError):  # the queue is not created either
        queue.get_queue_properties()


async def test_a_message_that_cannot_be_written_fails_the_invocation() -> None:
    silent = f"http://127.0.0.1:{free_port()}/a"
    storage = f"AccountName=a;AccountKey=YQ==;QueueEndpoint={silent};BlobEndpoint={silent};"
    result = Result(ok=True, value=None, outputs={"msg": Datum("x", "string")})
    ended = await _run(_function(), result, Storage=storage, QUEUE="q")
    assert not ended.ok
    assert "Error while handling parameter msg after function returned" in ended.error


def test_a_missing_setting_of_an_output_stops_the_start() -> None:
    result = Result(ok=True, value=None, outputs={})
    writer = OutputWriter(
        _Worker(result), AppSettings({"Storage": "AccountName=a"}), QueuesOptions()
    )
    with pytest.raises(SettingsError, match="function 'writer': app setting 'QUEUE'"):
        writer.check([_function()])

"""Inputs and outputs around one invocation: values are read and written, or it fails."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from breaker.configuration.host_options import HostJson
from local.event_hubs import EventHubsServer
from local.event_hubs.errors import ARGUMENT_ERROR, AmqpError
from local.functions_host.app_settings import AppSettings
from local.functions_host.bindings.invoker import BindingInvoker
from local.functions_host.errors import AppLoadError, SettingsError
from local.functions_host.worker.functions import Function
from local.functions_host.worker.worker import Datum, Result
from local.services.ports import free_port
from tests.support.event_hubs.client_helpers import HUB, bodies, hub, receive
from tests.support.event_hubs.sdk_leaks import sdk_leaks_collected


class _Worker:
    """A worker whose function ends with the given result, and that records its inputs."""

    def __init__(self, result: Result) -> None:
        self._result = result
        self.calls: list[dict[str, Datum]] = []

    async def invoke(
        self, function: Function, invocation_id: str, inputs: Any, *metadata: Any, **retry: Any
    ) -> Result:
        self.calls.append(dict(inputs))
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
    return await _call(_Worker(result), function, **settings)


async def _call(
    worker: _Worker, function: Function, trigger: Datum | None = None, **settings: str
) -> Result:
    invoker = BindingInvoker(worker, AppSettings(settings), HostJson())
    inputs = [] if trigger is None else [(function.parameter, trigger)]
    try:
        return await invoker.invoke(function, "id", inputs, {})
    finally:
        await invoker.close()


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
    with pytest.raises(SettingsError, match="function 'writer': app setting 'QUEUE'"):
        _check(_function(), Storage="AccountName=a")


def _check(function: Function, **settings: str) -> None:
    worker = _Worker(Result(ok=True, value=None, outputs={}))
    BindingInvoker(worker, AppSettings(settings), HostJson()).check([function])


def _with_blob(path: str, *, direction: str = "in", **binding: str) -> Function:
    blob = {"name": "blob", "type": "blob", "path": path, "connection": "Storage", **binding}
    trigger = {"type": "queueTrigger", "name": "message"}
    if direction == "in":
        return Function("reader", "id", trigger, (), None, (blob,))
    return Function("writer", "id", trigger, (blob,), None)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("orders", "the blob path 'orders' takes <container>/<blob>"),
        ("/name", "the blob path '/name' takes <container>/<blob>"),
        ("orders/{id", "'orders/{id' has an unbalanced {"),
        ("orders/{a b}", "has the expression {a b}; an expression is a name such as"),
        ("orders/{DateTime:MMM}", "the local host does not know 'MMM' in the format 'MMM'"),
        ("orders/{rand-guid:X}", "has the format 'X'; a GUID takes D, N, B, P"),
    ],
)
def test_a_wrong_path_stops_the_start(path: str, text: str) -> None:
    with pytest.raises(AppLoadError, match="function 'reader'") as caught:
        _check(_with_blob(path), Storage="AccountName=a")
    assert text in str(caught.value)


def test_an_unknown_data_type_of_a_blob_stops_the_start() -> None:
    with pytest.raises(AppLoadError, match="'stream'; the local host takes string or binary"):
        _check(_with_blob("orders/a", dataType="STREAM"), Storage="AccountName=a")


@pytest.fixture
def container(azurite: str) -> Iterator[ContainerClient]:
    name = f"c{uuid.uuid4().hex[:12]}"
    with ContainerClient.from_connection_string(azurite, name) as client:
        yield client


@pytest.mark.parametrize(
    ("content", "data_type", "datum"),
    [
        (b"\xffa", "BINARY", Datum(b"\xffa", "bytes")),
        ("aé".encode(), "", Datum("aé", "string")),
        (b"\xffa", "STRING", Datum("\ufffda", "string")),
        (b"\xef\xbb\xbfa", "", Datum("a", "string")),
        ("aé".encode("utf-16"), "", Datum("aé", "string")),
        (None, "", Datum(None, None)),
    ],
)
async def test_a_blob_has_the_binding_s_data_type(
    azurite: str, container: ContainerClient, content: bytes | None, data_type: str, datum: Datum
) -> None:
    if content is not None:
        container.create_container()
        container.upload_blob("order 1", content)
    worker = _Worker(Result(ok=True, value=None, outputs={}))
    function = _with_blob(f"{container.container_name}/order {{id}}", dataType=data_type)
    trigger = Datum('{"id": 1}', "string")
    assert (await _call(worker, function, trigger, Storage=azurite)).ok
    assert worker.calls == [{"message": trigger, "blob": datum}]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("c/{id}", "No value for named parameter 'id'."),
        ("{queueTrigger}/a", "is not <container>/<blob>"),
        ("No_Container/a", "InvalidResourceName"),
    ],
)
async def test_a_function_whose_input_cannot_be_read_is_not_called(
    azurite: str, path: str, text: str
) -> None:
    worker = _Worker(Result(ok=True, value=None, outputs={}))
    ended = await _call(worker, _with_blob(path), Datum("/", "string"), Storage=azurite)
    assert not ended.ok
    assert ended.error.startswith("Exception binding parameter 'blob'. ")
    assert text in ended.error
    assert worker.calls == []


@pytest.mark.parametrize(
    ("datum", "content"),
    [
        (Datum("text", "string"), b"text"),
        (Datum(b"\xff", "bytes"), b"\xff"),
        (Datum({"a": 1}, "dict"), b'{"a": 1}'),
    ],
)
async def test_a_blob_is_replaced_and_its_container_created(
    azurite: str, container: ContainerClient, datum: Datum, content: bytes
) -> None:
    function = _with_blob(f"{container.container_name}/{{queueTrigger}}", direction="out")
    for each in (Datum("before", "string"), datum):
        result = Result(ok=True, value=None, outputs={"blob": each})
        ended = await _call(_Worker(result), function, Datum("a", "string"), Storage=azurite)
        assert ended is result
    assert container.download_blob("a").readall() == content


async def test_a_value_that_no_blob_takes_fails_the_invocation(azurite: str) -> None:
    result = Result(ok=True, value=None, outputs={"blob": Datum(5, "int")})
    ended = await _run(_with_blob("c/a", direction="out"), result, Storage=azurite)
    assert ended.error == (
        "Error while handling parameter blob after function returned: a blob takes str, bytes, a "
        "list or a dict, not int"
    )


def _to_hub(**binding: str) -> Function:
    hub = {"name": "event", "type": "eventHub", "eventHubName": "%HUB%", "connection": "Hubs"}
    return Function("sender", "id", {"type": "timerTrigger", "name": "t"}, (hub | binding,), None)


async def test_events_larger_than_one_batch_are_sent_in_several_and_in_order() -> None:
    with sdk_leaks_collected():
        async with EventHubsServer(hub(1)) as server:
            texts = [str(number) * 400_000 for number in range(5)]
            result = Result(
                ok=True, value=None, outputs={"event": Datum(json.dumps(texts), "json")}
            )
            ended = await _run(_to_hub(), result, Hubs=server.connection_string, HUB=HUB)
            assert ended is result
            received = await receive(server, len(texts))
            assert bodies(received) == [text.encode() for text in texts]


async def test_an_event_that_no_hub_takes_fails_the_invocation() -> None:
    with sdk_leaks_collected():
        async with EventHubsServer(hub(1)) as server:
            connection = server.connection_string
            large = Result(ok=True, value=None, outputs={"event": Datum("x" * 2_000_000, "string")})
            ended = await _run(_to_hub(), large, Hubs=connection, HUB=HUB)
            assert "Event is too large. Event is approximately 2000000b" in ended.error
            refusal = AmqpError(ARGUMENT_ERROR, "refused on request")
            server.faults.refuse(HUB, 60, error=refusal)
            small = Result(ok=True, value=None, outputs={"event": Datum("x", "string")})
            ended = await _run(_to_hub(), small, Hubs=connection, HUB=HUB)
            assert ended.error.startswith(
                f"Error while handling parameter event after function returned: event hub '{HUB}': "
            )


async def test_a_hub_in_the_connection_replaces_the_hub_of_the_binding() -> None:
    with sdk_leaks_collected():
        async with EventHubsServer(hub(1)) as server:
            connection = f"{server.connection_string}EntityPath={HUB}"
            result = Result(ok=True, value=None, outputs={"event": Datum("x", "string")})
            assert await _run(_to_hub(), result, Hubs=connection, HUB="other") is result


def test_a_malformed_connection_of_an_event_hub_output_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="'Hubs' is not an Event Hubs connection string"):
        _check(_to_hub(), Hubs="nonsense", HUB="h")

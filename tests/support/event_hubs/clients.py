"""The stock client in all its forms, with the same asyncio interface for each form.

The synchronous forms run in threads. The endpoint runs in the test's own event loop.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from azure.eventhub import (
    EventData,
    EventDataBatch,
    EventHubConsumerClient,
    EventHubProducerClient,
    TransportType,
)
from azure.eventhub.aio import EventHubConsumerClient as AsyncConsumerClient
from azure.eventhub.aio import EventHubProducerClient as AsyncProducerClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from local.event_hubs import EventHubsServer
from tests.support.event_hubs.client_helpers import HUB, PATIENCE, Reader
from tests.support.event_hubs.prompt_clients import PROMPT, PROMPT_RECEIVER


def _fix_uamqp_producer() -> None:
    """Fix the producer on uamqp: this SDK release passes a list that uamqp does not accept."""
    from azure.eventhub._transport._uamqp_transport import UamqpTransport

    create = UamqpTransport.create_send_client

    def without_capabilities(**options: Any) -> Any:
        options.pop("desired_capabilities", None)
        return create(**options)

    UamqpTransport.create_send_client = staticmethod(without_capabilities)  # type: ignore[method-assign]


if find_spec("uamqp") is not None:
    _fix_uamqp_producer()


@dataclass(frozen=True)
class Form:
    """One form of the client.

    Attributes:
        name: name of the form in test names.
        synchronous: whether the client is the synchronous client.
        tls: whether the form requires TLS.
        options: further arguments of every client of this form.
    """

    name: str
    synchronous: bool = False
    tls: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, server: EventHubsServer, certificate: Path) -> dict[str, Any]:
        """Return the keyword arguments that connect a client of this form to the endpoint."""
        settings: dict[str, Any] = PROMPT | {"eventhub_name": HUB} | dict(self.options)
        if self.tls:
            del settings["ssl_context"]
            settings["connection_verify"] = str(certificate)
        if self.tls or "transport_type" in self.options:
            settings["custom_endpoint_address"] = f"sb://127.0.0.1:{server.port}"
        return settings


FORMS = [
    Form("async"),
    Form("sync", synchronous=True),
    Form("websocket", options={"transport_type": TransportType.AmqpOverWebsocket}),
    Form(
        "uamqp",
        synchronous=True,
        tls=True,
        options={"uamqp_transport": True, "transport_type": TransportType.Amqp},
    ),
]


def parameters() -> list[Any]:
    """Return the forms as pytest parameters; a form that is not installed is skipped."""
    missing = pytest.mark.skipif(find_spec("uamqp") is None, reason="uamqp is not installed")
    return [
        pytest.param(form, id=form.name, marks=[missing] if form.name == "uamqp" else [])
        for form in FORMS
    ]


def self_signed(file: Path) -> ssl.SSLContext:
    """Write a certificate for loopback with its key to a file; return a server's TLS context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(loopback, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


class Clients:
    """The clients of one form for one endpoint."""

    def __init__(self, form: Form, server: EventHubsServer, certificate: Path) -> None:
        self.form = form
        self.server = server
        self._settings = form.settings(server, certificate)

    def producer(self, **options: Any) -> Producer:
        """Return a producer."""
        kind = EventHubProducerClient if self.form.synchronous else AsyncProducerClient
        connection = options.pop("connection_string", self.server.connection_string)
        made = kind.from_connection_string(connection, **(self._settings | options))
        return Producer(made, self.form.synchronous)

    def consumer(self, group: str = "$Default", **options: Any) -> Any:
        """Return the SDK's consumer client."""
        kind = EventHubConsumerClient if self.form.synchronous else AsyncConsumerClient
        settings = self._settings | PROMPT_RECEIVER | options
        return kind.from_connection_string(
            self.server.connection_string, consumer_group=group, **settings
        )

    def reader(
        self, partition: str = "0", group: str = "$Default", position: Any = "-1", **options: Any
    ) -> Reader | SyncReader:
        """Return a background reader of one partition."""
        kind = SyncReader if self.form.synchronous else Reader
        return kind(self.server, partition, group, position, client=self.consumer(group), **options)

    async def receive(self, count: int, partition: str = "0", **options: Any) -> list[EventData]:
        """Receive `count` events of one partition."""
        async with self.reader(partition, **options) as reader:
            return await reader.receive(count)


class Producer:
    """A producer with only asynchronous methods."""

    def __init__(self, client: Any, synchronous: bool) -> None:
        self.client = client
        self._synchronous = synchronous

    async def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the client."""
        method = getattr(self.client, name)
        if self._synchronous:
            return await asyncio.to_thread(method, *arguments, **options)
        return await method(*arguments, **options)

    async def send_batch(self, bodies: Sequence[bytes], **where: Any) -> None:
        """Send bodies as one batch; `where` is a partition_key or partition_id."""
        batch: EventDataBatch = await self.call("create_batch", **where)
        for body in bodies:
            batch.add(EventData(body))
        await self.call("send_batch", batch)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.call("close")


class SyncReader(Reader):
    """A reader that receives in a thread instead of a task."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._stopping = threading.Event()
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        await asyncio.to_thread(self._thread.join, PATIENCE)
        await asyncio.to_thread(self._consumer.close)
        await asyncio.to_thread(self._client.close)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._consumer.receive(batch=True, max_batch_size=300)
            except Exception as error:
                self._put(error)
                return

    def _put(self, item: EventData | Exception) -> None:
        self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    def _callback(self) -> Callable[[list[EventData]], Any]:
        def on_events(events: list[EventData]) -> None:
            for event in events:
                self._put(event)

        return on_events

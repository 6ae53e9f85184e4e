"""The errors that real clients raise against real servers that fail, and what they mean.

Each client meets a closed port, a server that answers with an HTTP status, one that sends junk, one
that stops in the middle of an answer, or one that closes the connection.
"""

from __future__ import annotations

import asyncio
import errno
import http.client
import resource
import smtplib
import socket
import sqlite3
import ssl
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import elastic_transport
import httpcore
import httpx
import pika
import pymysql
import pytest
import redis
import requests
import urllib3
import websockets.sync.client
from azure.core import PipelineClient
from azure.core.rest import HttpRequest
from azure.storage.queue import QueueClient
from pymysql.err import raise_mysql_exception
from redis.backoff import NoBackoff
from redis.retry import Retry
from requests.adapters import HTTPAdapter

from processing.event import Event
from processing.handlers.retry import Failure, FailureKind, RetryPolicy
from tests.support.odd_servers import odd_servers
from tests.support.own_redis import Server
from tests.support.processing.events import event

DEPENDENCY, EXHAUSTED = FailureKind.DEPENDENCY, FailureKind.EXHAUSTED
NO_RETRY = urllib3.Retry(1, status_forcelist=[429, 503], respect_retry_after_header=False)

type Call = Callable[[str], object]


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    with odd_servers() as found:
        yield found


async def failure_of(call: Callable[[], object]) -> Failure:
    """Return the failure of a handler that makes this call."""

    async def handle(_event: Event) -> None:
        result = call()
        if isinstance(result, Awaitable):
            await result

    policy = RetryPolicy(max_attempts=1, initial_seconds=0, max_seconds=0)
    failure = await policy.run(handle, event(1))
    assert failure is not None, "the call raised no error"
    return failure


def by_httpx(url: str) -> None:
    httpx.get(url).raise_for_status()


def by_requests(url: str) -> None:
    requests.get(url, timeout=5).raise_for_status()


async def by_aiohttp(url: str) -> None:
    async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url):
        pass


def by_urllib(url: str) -> None:
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - the URL is the test's
    except urllib.error.HTTPError as error:
        error.close()
        raise


def by_azure_core(url: str) -> None:
    with PipelineClient[Any, Any](url, policies=[]) as client:
        client.send_request(HttpRequest("GET", url)).raise_for_status()


def by_urllib3(url: str) -> None:
    with urllib3.PoolManager() as pool:
        pool.request("GET", url, retries=NO_RETRY)


def by_urllib3_without_retries(url: str) -> None:
    with urllib3.PoolManager() as pool:
        pool.request("GET", url, retries=False)


def by_requests_adapter(url: str) -> None:
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=NO_RETRY))
        session.get(url, timeout=5)


def by_httpcore(url: str) -> None:
    httpcore.request("GET", url)


def by_http_client(url: str) -> None:
    parts = httpx.URL(url)
    with closing(http.client.HTTPConnection(parts.host, parts.port, timeout=5)) as connection:
        connection.request("GET", parts.path)
        connection.getresponse().read()


def by_websockets(url: str) -> None:
    websockets.sync.client.connect(url.replace("http", "ws"))


def by_elastic(url: str) -> None:
    node = elastic_transport.NodeConfig("http", "127.0.0.1", httpx.URL(url).port or 0)
    with closing(elastic_transport.Transport([node], max_retries=0)) as transport:
        transport.perform_request("GET", "/")


HTTP = [by_httpx, by_requests, by_aiohttp, by_urllib, by_azure_core]
STATUSES = {
    "429/7": (FailureKind.THROTTLED, 7),
    "429/-1": (FailureKind.THROTTLED, None),
    "503/7": (DEPENDENCY, 7),
    "503": (DEPENDENCY, None),
    "408": (DEPENDENCY, None),
    "500": (DEPENDENCY, None),
    "504": (DEPENDENCY, None),
    "400": (EXHAUSTED, None),
    "401": (EXHAUSTED, None),
    "403": (EXHAUSTED, None),
    "404": (EXHAUSTED, None),
    "409": (EXHAUSTED, None),
    "501": (EXHAUSTED, None),
    "505": (EXHAUSTED, None),
}


@pytest.mark.parametrize("client", HTTP, ids=lambda client: client.__name__)
async def test_http_status_decides(client: Call, ports: dict[str, int]) -> None:
    """Status 429 throttles; 408 and 5xx mean an outage, but not 501 and 505, which never heal."""
    meanings = {}
    for path in STATUSES:
        failure = await failure_of(partial(client, f"http://127.0.0.1:{ports['http']}/{path}"))
        meanings[path] = (failure.kind, failure.retry_after)
    assert meanings == STATUSES


@pytest.mark.parametrize(
    ("client", "path", "kind"),
    [
        (by_urllib3, "503", DEPENDENCY),
        (by_urllib3, "429", FailureKind.THROTTLED),
        (by_requests_adapter, "503", DEPENDENCY),
        (by_websockets, "503/7", DEPENDENCY),
        (by_websockets, "404", EXHAUSTED),
    ],
)
async def test_client_that_retries_or_upgrades_names_the_status(
    client: Call, path: str, kind: FailureKind, ports: dict[str, int]
) -> None:
    """urllib3 names the status in a text only."""
    failure = await failure_of(partial(client, f"http://127.0.0.1:{ports['http']}/{path}"))
    assert failure.kind is kind


async def test_html_answer_of_a_gateway_is_ordinary(ports: dict[str, int]) -> None:
    """The same types are poison when the event's own body raises them."""

    def parse() -> None:
        httpx.get(f"http://127.0.0.1:{ports['http']}/200").json()

    assert (await failure_of(parse)).kind is EXHAUSTED


def by_pymysql(port: int) -> None:
    pymysql.connect(host="127.0.0.1", port=port)


def by_pika(port: int) -> None:
    pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))


def by_smtp(port: int) -> None:
    smtplib.SMTP("127.0.0.1", port, timeout=5)


def by_redis(port: int) -> None:
    redis.Redis(port=port, retry=Retry(NoBackoff(), 0)).ping()


def by_azure_queue(port: int) -> None:
    account = f"AccountName=a;AccountKey=a2V5;QueueEndpoint=http://127.0.0.1:{port}/a"
    with QueueClient.from_connection_string(account, "q", retry_total=0) as client:
        client.send_message("x")


async def by_reader(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        await reader.readexactly(4)


def by_ssl(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as plain:
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


def by_url(client: Call, scheme: str = "http") -> Callable[[int], object]:
    return lambda port: client(f"{scheme}://127.0.0.1:{port}/")


DOWN: dict[str, tuple[Callable[[int], object], str]] = {
    "urllib, refused": (by_url(by_urllib), "closed"),
    "urllib, junk": (by_url(by_urllib), "junk"),
    "urllib, https": (by_url(by_urllib, "https"), "junk"),
    "urllib3, refused": (by_url(by_urllib3), "closed"),
    "urllib3, refused at once": (by_url(by_urllib3_without_retries), "closed"),
    "urllib3, hung up": (by_url(by_urllib3_without_retries), "hangs up"),
    "http.client, refused": (by_url(by_http_client), "closed"),
    "http.client, junk": (by_url(by_http_client), "junk"),
    "http.client, cut": (by_url(by_http_client), "cut"),
    "http.client, hung up": (by_url(by_http_client), "hangs up"),
    "httpcore, refused": (by_url(by_httpcore), "closed"),
    "httpcore, hung up": (by_url(by_httpcore), "hangs up"),
    "httpx, refused": (by_url(by_httpx), "closed"),
    "requests, refused": (by_url(by_requests), "closed"),
    "aiohttp, refused": (by_url(by_aiohttp), "closed"),
    "azure-core, refused": (by_url(by_azure_core), "closed"),
    "websockets, refused": (by_url(by_websockets), "closed"),
    "websockets, junk": (by_url(by_websockets), "junk"),
    "websockets, hung up": (by_url(by_websockets), "hangs up"),
    "elastic, refused": (by_url(by_elastic), "closed"),
    "elastic, hung up": (by_url(by_elastic), "hangs up"),
    "PyMySQL, refused": (by_pymysql, "closed"),
    "PyMySQL, hung up": (by_pymysql, "closes"),
    "pika, refused": (by_pika, "closed"),
    "pika, hung up": (by_pika, "closes"),
    "redis, refused": (by_redis, "closed"),
    "azure queue, refused": (by_azure_queue, "closed"),
    "smtplib, refused": (by_smtp, "closed"),
    "smtplib, busy": (by_smtp, "smtp"),
    "smtplib, hung up": (by_smtp, "closes"),
    "asyncio, end of the stream": (by_reader, "closes"),
    "ssl, no TLS": (by_ssl, "smtp"),
}


@pytest.mark.parametrize("case", DOWN)
async def test_server_that_cannot_be_used_keeps_the_event(case: str, ports: dict[str, int]) -> None:
    """The client's own error, or what stands behind it, says that the server is at fault."""
    call, server = DOWN[case]
    assert (await failure_of(partial(call, ports[server]))).kind is DEPENDENCY


async def test_host_with_several_addresses_keeps_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all addresses refuse, asyncio raises an OSError that has no errno and no cause."""

    async def addresses(*_args: object, **_named: object) -> list[Any]:
        tcp = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
        return [(*tcp, ("127.0.0.1", 1)), (*tcp, ("127.0.0.2", 1))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses)
    failure = await failure_of(partial(asyncio.open_connection, "bank", 1))
    assert failure.kind is DEPENDENCY


@pytest.mark.parametrize("url", ["http:///", "x://h/", "http://127.0.0.1:x"])
@pytest.mark.parametrize("client", [by_httpx, by_requests, by_aiohttp, by_urllib, by_urllib3])
async def test_address_that_no_server_has_is_ordinary(client: Call, url: str) -> None:
    """An event's data may contain the address."""
    assert (await failure_of(partial(client, url))).kind is EXHAUSTED


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        *((number, DEPENDENCY) for number in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EDQUOT)),
        *((number, EXHAUSTED) for number in (errno.ENOENT, errno.EACCES, errno.EINVAL)),
    ],
)
async def test_errno_decides(number: int, kind: FailureKind) -> None:
    """A file that does not exist may be the event's fault; a host without a route is not."""

    def fail() -> None:
        raise OSError(number, "x")

    assert (await failure_of(fail)).kind is kind


async def test_full_disk_keeps_the_event() -> None:
    """The device refuses each write as a full disk does."""

    def write() -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")

    assert (await failure_of(write)).kind is DEPENDENCY


async def test_process_without_free_files_keeps_the_event() -> None:
    """A handler that opens a file or a socket fails, whatever its event contains."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def exceed() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            socket.socket()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert (await failure_of(exceed)).kind is DEPENDENCY


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    own = Server(tmp_path)
    own.start()
    try:
        yield own
    finally:
        own.stop()


def by_pipeline(client: redis.Redis) -> None:
    pipeline = client.pipeline()
    pipeline.set("k", "v")
    pipeline.execute()


def by_script(client: redis.Redis) -> None:
    client.eval("return redis.call('SET', 'k', 'v')", 0)


def by_command(client: redis.Redis) -> None:
    client.set("k", "v")


async def test_redis_that_takes_no_writes_keeps_the_event(server: Server) -> None:
    """A replica, a full memory and missing replicas refuse writes of any event."""
    states: dict[str, Callable[[redis.Redis], object]] = {
        "out of memory": lambda client: client.config_set("maxmemory", 1),
        "no replicas": lambda client: (
            client.config_set("maxmemory", 0),
            client.config_set("min-replicas-to-write", 1),
        ),
        "read only": lambda client: (
            client.config_set("min-replicas-to-write", 0),
            client.replicaof("127.0.0.1", 1),
        ),
    }
    with redis.Redis(port=server.port) as client:
        kinds = {}
        for state, enter in states.items():
            enter(client)
            for write in (by_command, by_pipeline, by_script):
                failure = await failure_of(partial(write, client))
                kinds[state, write.__name__] = failure.kind
        assert set(kinds.values()) == {DEPENDENCY}, kinds


REDIS_ANSWERS = {
    "MISCONF Redis is configured to save RDB snapshots": DEPENDENCY,
    "MASTERDOWN Link with MASTER is down": DEPENDENCY,
    "CLUSTERDOWN The cluster is down": DEPENDENCY,
    "LOADING Redis is loading the dataset in memory": DEPENDENCY,
    "NOAUTH Authentication required.": DEPENDENCY,
    "WRONGTYPE Operation against a key": EXHAUSTED,
    "NOPERM this user has no permissions": EXHAUSTED,
    "ERR unknown command 'OOM x'": EXHAUSTED,
}


async def test_redis_answers_are_read_by_their_code(redis_url: str) -> None:
    """The client has an error class for some codes only."""
    with redis.Redis.from_url(redis_url) as client:
        kinds = {}
        for answer in REDIS_ANSWERS:
            script = "return redis.error_reply(ARGV[1])"
            failure = await failure_of(partial(client.eval, script, 0, answer))
            kinds[answer] = failure.kind
        assert kinds == REDIS_ANSWERS


MYSQL = {
    1021: DEPENDENCY,  # disk full
    1040: DEPENDENCY,  # too many connections
    1053: DEPENDENCY,  # shutdown
    1205: DEPENDENCY,  # lock wait timeout
    1290: DEPENDENCY,  # read only
    1836: DEPENDENCY,  # read only
    2013: DEPENDENCY,  # connection lost
    1045: EXHAUSTED,  # access denied
    1054: EXHAUSTED,  # unknown column
    1062: EXHAUSTED,  # duplicate key
    1064: EXHAUSTED,  # syntax
}


@pytest.mark.parametrize("code", MYSQL)
async def test_mysql_answers_are_read_by_their_code(code: int) -> None:
    """PyMySQL has one class for a lost connection and for an unknown column."""
    packet = b"\xff" + code.to_bytes(2, "little") + b"#HY000text"
    assert (await failure_of(partial(raise_mysql_exception, packet))).kind is MYSQL[code]


async def test_closed_mysql_connection_keeps_the_event() -> None:
    """PyMySQL then raises an InterfaceError with code 0."""
    connection = pymysql.connect(host="127.0.0.1", port=1, defer_connect=True)
    assert (await failure_of(partial(connection.query, "SELECT 1"))).kind is DEPENDENCY


async def test_sqlite_that_cannot_write_keeps_the_event(tmp_path: Path) -> None:
    """A wrong statement raises the same class and is ordinary."""
    path = tmp_path / "db"
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as first:
        first.execute("CREATE TABLE t (x)")
        first.execute("BEGIN IMMEDIATE")
        kinds = {}
        with closing(sqlite3.connect(path, timeout=0)) as second:
            kinds["locked"] = await failure_of(partial(second.execute, "INSERT INTO t VALUES (1)"))
            kinds["wrong"] = await failure_of(partial(second.execute, "INSERT INTO u VALUES (1)"))
        first.execute("ROLLBACK")
        uri = f"file:{path}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as reader:
            kinds["read only"] = await failure_of(
                partial(reader.execute, "INSERT INTO t VALUES (1)")
            )
        first.execute("PRAGMA max_page_count = 2")
        kinds["full"] = await failure_of(
            partial(first.execute, "INSERT INTO t VALUES (zeroblob(100000))")
        )
    assert {case: failure.kind for case, failure in kinds.items()} == {
        "locked": DEPENDENCY,
        "wrong": EXHAUSTED,
        "read only": DEPENDENCY,
        "full": DEPENDENCY,
    }

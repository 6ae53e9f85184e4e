"""Shared fixtures: real services, one of each per test session, on free loopback ports."""

from __future__ import annotations

import base64
import functools
import gc
import logging
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import certifi
import hypothesis
import pytest
import redis
import redis.utils

from local.services import ports
from local.services.azurite import (
    ACCOUNT,
    APP_ACCOUNT,
    azurite_service,
    storage_connection_string,
)
from local.services.event_hubs import Hub, event_hub_connection, event_hubs_service
from local.services.redis import redis_service
from local.services.redis import redis_url as url_of_port
from tests.support.console.skipped import pytest_terminal_summary  # noqa: F401 - a hook
from tests.support.importing import import_own_part
from tests.support.left_connections import pytest_runtest_teardown  # noqa: F401 - a hook
from tests.support.processes import running_service, running_stack
from tests.support.scheduling import pytest_xdist_make_scheduler, sort  # noqa: F401 - a hook
from tests.support.sides import mark_sides

# The worker library needs Python 3.13 (docs/adr/0014-python-versions.md).
NEED_WORKER = [
    "unit/processing/test_event.py",
    "unit/processing/test_real_host.py",
    "unit/processing/trigger/test_events.py",
]
collect_ignore = NEED_WORKER if sys.version_info < (3, 13) else []

# A slow machine is no failure: no test here asserts how long something takes. `make test-long` runs
# the property tests again, with --hypothesis-profile=long.
hypothesis.settings.register_profile("short", deadline=None, print_blob=True, max_examples=40)
hypothesis.settings.register_profile("long", deadline=None, print_blob=True, max_examples=250)
hypothesis.settings.load_profile("short")

# A run in the background of a script ignores Ctrl-C, and every process started here would inherit
# that: those that a test interrupts would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# redis-py reads its own version from disk for each connection, and tests open thousands of them.
vars(redis.utils)["get_lib_version"] = functools.cache(redis.utils.get_lib_version)


def pytest_configure(config: pytest.Config) -> None:
    """Have this process and its children trust one authority instead of all of the world's.

    Nothing here leaves the machine, but every HTTP client reads the whole list, for 20 to 40 ms.
    """
    first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----\n")
    directory = tempfile.TemporaryDirectory()
    config.add_cleanup(directory.cleanup)
    authority = Path(directory.name, "authority.pem")
    authority.write_text(first + end)
    os.environ["SSL_CERT_FILE"] = str(authority)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Keep the garbage collector away from what the collection builds, which lives until the end.

    The collector looked at these objects again and again, for several seconds in each process.
    """
    gc.disable()
    try:
        import_own_part(session.config)
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark the tests before pytest selects some of them by `-m`; sort what it has selected."""
    mark_sides(items)
    for item in items:
        if getattr(getattr(item, "function", None), "is_hypothesis_test", False):
            item.add_marker("property")
    yield
    sort(items)


@pytest.fixture(autouse=True)
def _logger_levels() -> Iterator[None]:
    """Restore the levels of all loggers; command lines that run in this process change them.

    Only those that differ: to set one level empties the caches of all loggers, some hundreds.
    """
    levels = {name: logging.getLogger(name).level for name in [None, *_our_loggers()]}
    yield
    for name in [None, *_our_loggers()]:
        logger = logging.getLogger(name)
        if logger.level != (before := levels.get(name, logging.NOTSET)):
            logger.setLevel(before)


def _our_loggers() -> list[str]:
    beginnings = ("breaker", "breakwater", "processing", "console", "local", "loadtest")
    return [name for name in logging.root.manager.loggerDict if name.startswith(beginnings)]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL, without a database number, of a real Redis server for the whole session."""
    directory: Path = tmp_path_factory.mktemp("redis")
    port = ports.free_port()
    with running_service(redis_service(port, directory), directory):
        yield url_of_port(port).removesuffix("/0")


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """Return the URL of an empty Redis database."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return f"{redis_server}/0"


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the connection string of a shared Azurite; tests use containers of their own."""
    directory: Path = tmp_path_factory.mktemp("azurite")
    chosen = ports.PortChoice({}, ephemeral=True).resolve()
    with running_service(azurite_service(chosen, directory), directory):
        yield storage_connection_string(chosen)


@pytest.fixture(scope="session")
def second_account(azurite: str) -> str:
    """Return the connection string of a second account in the shared Azurite."""
    return azurite.replace(ACCOUNT, APP_ACCOUNT)


@dataclass(frozen=True)
class EventHubsEndpoint:
    """A running Event Hubs endpoint."""

    connection_string: str = field(repr=False)
    hub: str
    partitions: int
    control_url: str


@pytest.fixture(scope="session")
def event_hubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventHubsEndpoint]:
    """Yield a shared Event Hubs endpoint with the hub "events" of 4 partitions."""
    directory: Path = tmp_path_factory.mktemp("event-hubs")
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    port = ports.free_port()
    control = ports.free_port(avoid=[port])
    service = event_hubs_service(
        port, control, directory / "config.json", hubs=(Hub("events", 4),), key=key
    )
    with running_service(service, directory):
        yield EventHubsEndpoint(
            event_hub_connection(port, key), "events", 4, f"http://127.0.0.1:{control}"
        )


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Yield the content of endpoints.json of a whole stack that the session shares."""
    with running_stack(tmp_path_factory.mktemp("stack")) as endpoints:
        yield endpoints

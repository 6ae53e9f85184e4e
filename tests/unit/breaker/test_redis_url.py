"""The parser of REDIS_URL, compared with redis-py's."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)

from breaker import SettingsError
from breaker.stores import redis_url
from breaker.stores.redis_url import check_url

CLASSES = {"redis": Connection, "rediss": SSLConnection, "unix": UnixDomainSocketConnection}
NO_TEXT = {
    "credential_provider",
    "driver_info",
    "encoder_class",
    "event_dispatcher",
    "himport_registry",
    "maint_notifications_config",
    "maint_notifications_pool_handler",
    "maintenance_notification_hash",
    "maintenance_state",
    "orig_host_address",
    "orig_socket_connect_timeout",
    "orig_socket_timeout",
    "oss_cluster_maint_notifications_handler",
    "parser_class",
    "redis_connect_func",
    "retry",
    "retry_on_error",
    "socket_keepalive_options",
    "socket_type",
}
"""Options whose values have no textual form, or that redis-py sets for itself."""
CHANGE_REPLIES = {"decode_responses", "encoding", "encoding_errors"}
"""Options with which the stores could not read the replies."""

VALUES = [
    *("0", "1", "2", "3", "-1", "-6379", "6379", "65536", "1.5", "1e3", "nan", "\uff11"),
    *("no", "F", "True", "none", "optional", "required", "REQUIRED", "x y", "%2F", "ü"),
    *("VERIFY_X509_STRICT", "[VERIFY_X509_STRICT, VERIFY_DEFAULT]", "VERIFY_NONE", "name"),
]
OPTIONS = sorted(
    {name for each in redis_url._OPTIONS.values() for name in each}
    | NO_TEXT
    | CHANGE_REPLIES
    | {"timeout", "connection_class"}
)
words = st.one_of(
    st.sampled_from(VALUES),
    st.sampled_from(["%", "a:b", "a@b", "[::1]", "[", "h\n", ";", "&", "=", "#"]),
    st.text(max_size=4),
)


@st.composite
def urls(draw: st.DrawFn) -> str:
    """Return texts that are addresses, or nearly."""
    scheme = draw(st.sampled_from(["redis", "rediss", "unix", "REDIS", "http", ""]))
    login = draw(st.one_of(st.just(""), st.builds("{}:{}@".format, words, words)))
    host = draw(st.one_of(st.just("127.0.0.1"), words))
    port = draw(st.one_of(st.just(""), st.builds(":{}".format, words)))
    path = draw(st.one_of(st.just(""), st.builds("/{}".format, words)))
    pairs = draw(
        st.lists(st.builds("{}={}".format, st.sampled_from(OPTIONS) | words, words), max_size=2)
    )
    return f"{scheme}://{login}{host}{port}{path}?{'&'.join(pairs)}"


def read_by_redis_py(url: str) -> dict[str, Any]:
    """Return the arguments of redis-py's connection; raise what redis-py raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # lib_name, lib_version
        ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
    return dict(parse_url(url))


@given(urls())
@example("rediss://u:p%40@h:1/2?ssl_cert_reqs=none&ssl_include_verify_flags=VERIFY_X509_STRICT")
@example("unix://u:p@/tmp/redis.sock?db=3&client_name=n")
@example("redis://h/4?db=5&socket_timeout=1.5&retry_on_timeout=no")
@example("redis://h/none")
def test_redis_py_reads_each_accepted_address_with_the_same_result(url: str) -> None:
    """An address that redis-py refuses is refused."""
    compare(url)


@pytest.mark.parametrize("scheme", CLASSES)
def test_redis_py_reads_each_option_with_the_same_result(scheme: str) -> None:
    """The parser knows which values redis-py takes for which option."""
    for option in OPTIONS:
        for value in VALUES:
            compare(f"{scheme}://h?{option}={value}")


def compare(url: str) -> None:
    """Check that redis-py reads the address with the same result, if the parser accepts it."""
    try:
        ours = redis_url.parse(url)
    except SettingsError:
        return
    theirs = read_by_redis_py(url)
    kind = theirs.pop("connection_class", Connection)
    assert repr(sorted(ours.items())) == repr(sorted(theirs.items()))  # NaN differs from NaN
    assert CLASSES[url.partition(":")[0].lower()] is kind


@given(
    st.builds(
        "{}://{}{}:{}/{}{}".format,
        st.sampled_from(["redis", "rediss"]),
        st.sampled_from(["", "u:p@", ":p%2F@"]),
        st.sampled_from(["h", "127.0.0.1", "[::1]", "a.redis.cache.windows.net"]),
        st.integers(1, 65535),
        st.integers(0, 15),
        st.sampled_from(["", "?max_connections=4", "?health_check_interval=5&protocol=3"]),
    )
)
def test_usual_addresses_are_accepted(url: str) -> None:
    """The parser is not too strict."""
    check_url(url)


@pytest.mark.parametrize("scheme", CLASSES)
def test_each_option_of_redis_py_is_known(scheme: str) -> None:
    """A new version of redis-py may have further options."""
    offered = {
        name
        for kind in CLASSES[scheme].__mro__
        if issubclass(kind, AbstractConnection)
        for name in inspect.signature(kind).parameters
    } - {"kwargs"}
    known = set(redis_url._OPTIONS[scheme]) - {"max_connections"}  # an option of the pool
    assert known <= offered
    assert offered - known <= NO_TEXT | CHANGE_REPLIES


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://:hush@h?ssl_ca_cert=hush", "it has no option 'ssl_ca_cert'"),
        ("redis://:hush@h?a%20b=hush", "it has no option of that name"),
        ("redis://:hush@h?decode_responses=1", "it has no option 'decode_responses'"),
        ("redis://:hush@h:port", r"it takes redis://\[user"),
        ("redis://:hush@h?max_connections=0", "max_connections is 0, .* it takes 4 or more"),
        ("redis://:hush@h?max_connections=3", "max_connections is 3, .* it takes 4 or more"),
        ("redis://:hush@h?protocol=4", r"it takes redis://\[user"),
        ("http://:hush@h", r"it takes redis://\[user"),
        ("hush", r"it takes redis://\[user"),
    ],
)
def test_message_omits_the_address(url: str, says: str) -> None:
    """The address may have a password."""
    with pytest.raises(SettingsError, match=f"REDIS_URL cannot be used: {says}") as caught:
        check_url(url)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None

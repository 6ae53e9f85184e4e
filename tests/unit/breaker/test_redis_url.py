"""The parser of REDIS_URL, compared with redis-py's."""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from contextlib import suppress
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

from breaker import BreakerSettings, RedisAuth, SettingsError
from breaker.stores import redis_url
from breaker.stores.redis import connect
from breaker.stores.redis_options import OPTIONS as OPTIONS_OF
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
    {name for each in OPTIONS_OF.values() for name in each}
    | NO_TEXT
    | CHANGE_REPLIES
    | {"timeout", "connection_class"}
)
CLUSTER = BreakerSettings(redis_cluster=True)
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


@pytest.mark.parametrize(
    ("url", "db"), [("redis://h:6379/0/", 0), ("redis://h/7/", 7), ("redis://h/", None)]
)
def test_final_slash_changes_nothing(url: str, db: int | None) -> None:
    compare(url)
    assert redis_url.parse(url).get("db") == db


def test_at_sign_in_an_option_is_accepted() -> None:
    compare(url := "redis://h?username=ann@x&password=a@b")
    assert redis_url.parse(url) == {"host": "h", "username": "ann@x", "password": "a@b"}


@given(urls())
@example("rediss://u:p%40@h:1/2?ssl_cert_reqs=none&ssl_include_verify_flags=VERIFY_X509_STRICT")
@example("unix://u:p@/tmp/redis.sock?db=3&client_name=n")
@example("redis://h/4?db=5&socket_timeout=1.5&retry_on_timeout=no")
@example("redis://h/none")
def test_redis_py_reads_each_accepted_address_with_the_same_result(url: str) -> None:
    """An address that redis-py refuses is refused; with each other address a client is built."""
    compare(url)
    build(url)


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


def build(url: str) -> None:
    """Build the clients of an address that the parser accepts."""
    for settings in (BreakerSettings(), CLUSTER):
        try:
            check_url(url, settings)
        except SettingsError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # lib_name, lib_version
            connect(url, settings)


@pytest.mark.parametrize("scheme", CLASSES)
def test_client_can_be_built_with_each_accepted_option(scheme: str) -> None:
    """An option that only one of the clients has is refused for the other."""
    for option in OPTIONS_OF[scheme]:
        for value in VALUES:
            url = f"{scheme}://{'' if scheme == 'unix' else 'h'}/?{option}={value}"
            with suppress(SettingsError):
                check_url(url)
                build(url)
                break


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
    known = set(OPTIONS_OF[scheme]) - {"max_connections"}  # an option of the pool
    assert known <= offered
    assert offered - known <= NO_TEXT | CHANGE_REPLIES


IT_TAKES = r"it takes redis://\[user:password@\]host:port/db or rediss://"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("rediss://:hush@h?ssl_ca_cert=hush", "it has no option 'ssl_ca_cert'"),
        ("redis://:hush@h?a%20b=hush", "it has no option of that name"),
        ("redis://:hush@h?decode_responses=1", "it has no option 'decode_responses'"),
        ("redis://:hush@h?encoding=latin-1", "it has no option 'encoding'"),
        ("redis://:hush@h?encoding_errors=ignore", "it has no option 'encoding_errors'"),
        ("redis://:hush@h?legacy_responses=no", "legacy_responses takes yes only"),
        ("redis://:hush@h?max_connections=0", "max_connections is 0, .* it takes 4 or more"),
        ("redis://:hush@h?max_connections=3", "max_connections is 3, .* it takes 4 or more"),
        ("redis://:hush@h?max_connections=hush", "option max_connections takes 4 or more"),
        ("redis://:hush@h?protocol=4", "option protocol takes 2 or 3"),
        ("redis://:hush@h?socket_timeout=0.00001", "option socket_timeout takes .* from 0.1 on"),
        ("redis://:hush@h?socket_timeout=0", "option socket_timeout takes a number of seconds"),
        ("redis://:hush@h?socket_timeout=nan", "option socket_timeout takes a number of seconds"),
        ("redis://:hush@h?socket_timeout=inf", "option socket_timeout takes a number of seconds"),
        ("redis://:hush@h?socket_connect_timeout=-1", "option socket_connect_timeout takes a num"),
        ("redis://:hush@h?client_name=hush%20b", "option client_name takes printable ASCII"),
        ("redis://:hush@h?client_name=hush%0A", "option client_name takes printable ASCII"),
        ("redis://:hush@h?health_check_interval=-1", "health_check_interval takes a whole number"),
        ("redis://:hush@h?socket_read_size=0", "socket_read_size takes a number of bytes, 1 or"),
        ("redis://:hush@h?socket_read_size=-1", "socket_read_size takes a number of bytes, 1 or"),
        ("redis://:hush@h?db=-1", "option db takes the number of a database, 0 or more"),
        ("redis://:hush@h?port=0", "option port takes a number from 1 to 65535"),
        ("redis://:hush@h/hush", "its database is no number"),
        ("redis://:hush@h/-1", "its database is no number"),
        ("redis://:hush@h/1.5", "its database is no number"),
        ("redis://:hush@h/0/1", "its database is no number"),
        ("redis://:hush@h/0//", "its database is no number"),
        ("redis://:hush@h//0", "its database is no number"),
        ("redis://u:12/hush@h", "its database is no number .a '/' in a password"),
        ("redis://u:12#hush@h", "it has a '#', which is written as %23"),
        ("redis://u:12?hush@h", "a '.' in a password is written as %3F"),
        ("redis://:a?hush=b@h:6379/0", "a '.' in a password is written as %3F"),
        ("redis://u:a?db=hush@h:6379/0", "a '.' in a password is written as %3F"),
        ("redis://u:a@b?hush=c@h:6379/0", "a '.' in a password is written as %3F"),
        ("redis://u:a?client_name=hush@h:6379/0", "a '.' in a password is written as %3F"),
        ("redis://:a?hush=b", "a '.' in a password is written as %3F"),
        ("redis://:hush@h:port", "its port is no number from 1 to 65535"),
        ("redis://:hush@h:0", "its port is no number from 1 to 65535"),
        ("redis://:hush@h:65536", "its port is no number from 1 to 65535"),
        ("redis://:hush@:6379", "it has no host"),
        ("redis://", "it has no host"),
        ("redis:hush", "it has no host"),
        ("redis://:hush@two words", "its host is no host name"),
        ("redis://:hush@<host>:6379", "its host is no host name"),
        ("redis://:hush@${HOST}:6379", "its host is no host name"),
        ("redis://:hush@h1,h2", "its host is no host name"),
        ("redis://:hush@[::1", "its host is no host name"),
        ("unix://", "it has no path of a socket"),
        ("unix://hush/redis.sock", "it has a host before the path"),
        ("rediss://:hush@h?ssl_ca_certs=/hush", "option ssl_ca_certs takes a file of cert"),
        ("rediss://:hush@h?ssl_ca_path=/hush", "option ssl_ca_path takes a folder of cert"),
        ("rediss://:hush@h?ssl_ca_data=hush", "option ssl_ca_data takes certificates in"),
        ("rediss://:hush@h?ssl_certfile=/hush", "option ssl_certfile takes a file"),
        ("rediss://:hush@h?ssl_keyfile=/hush", "option ssl_keyfile takes the file of the private"),
        ("rediss://:hush@h?ssl_ciphers=hush", "option ssl_ciphers takes a list of ciphers"),
        ("rediss://:hush@h?ssl_min_version=99", "option ssl_min_version takes a number"),
        ("rediss://:hush@h?ssl_cert_reqs=hush", "option ssl_cert_reqs takes none, optional or"),
        ("http://:hush@h", "it does not begin with redis://, rediss:// or unix://"),
        ("hush", "it does not begin with redis://, rediss:// or unix://"),
        ('"redis://:hush@h"', "it does not begin with redis://, rediss:// or unix://"),
        ("h:6380,password=hush,ssl=True", "it has the form of .NET clients, host:port,password="),
    ],
)
def test_address_that_no_connection_can_use_is_refused(url: str, says: str) -> None:
    """The message says what is wrong, and omits the address, which may have a password."""
    with pytest.raises(SettingsError, match=f"REDIS_URL cannot be used: .*{says}") as caught:
        check_url(url)
    assert "hush" not in str(caught.value)
    assert re.search(
        "it takes 4 or more" if "connections is" in says else IT_TAKES, str(caught.value)
    )
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "settings", "says"),
    [
        ("redis://h/1", CLUSTER, r"it names database 1, but a cluster \(BREAKER_REDIS_CLUSTER\)"),
        ("redis://h?db=7", CLUSTER, "it names database 7, but a cluster"),
        ("unix:///tmp/hush", CLUSTER, "it names a socket, but a cluster"),
        ("redis://h?retry_on_timeout=yes", CLUSTER, "it has the option retry_on_timeout, which a"),
        ("rediss://h?ssl_password=hush", CLUSTER, "it has the option ssl_password, which a"),
        ("redis://:hush@h", BreakerSettings(redis_auth=RedisAuth.ENTRA), "BREAKER_REDIS_AUTH is"),
        ("redis://hush@h", BreakerSettings(redis_auth=RedisAuth.ENTRA), "BREAKER_REDIS_AUTH is"),
    ],
)
def test_address_that_does_not_fit_the_settings_is_refused(
    url: str, settings: BreakerSettings, says: str
) -> None:
    """The message names the setting that the address does not fit."""
    check_url(url)
    with pytest.raises(SettingsError, match=f"REDIS_URL cannot be used: .*{says}") as caught:
        check_url(url, settings)
    assert "hush" not in str(caught.value)


def test_entra_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could sign in, although the address is right."""
    settings = BreakerSettings(redis_auth=RedisAuth.ENTRA)
    check_url("rediss://h", settings)
    monkeypatch.setitem(sys.modules, "redis_entraid", None)
    with pytest.raises(SettingsError, match="BREAKER_REDIS_AUTH is 'entra', but the package"):
        check_url("rediss://h", settings)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "REDIS://H:6379/",
        "rediss://user:p%40ss%2F%23@name_1.redis.cache.windows.net.:6380/0",
        "redis://:p@ss@h",
        "redis://[2001:db8::1]:6379/15",
        "redis://bücher.example",
        "redis://h?host=other&port=7000&db=&client_name=",
        "redis://h?client_name=app-1&socket_timeout=0.1&socket_connect_timeout=5&db=3",
        "unix:///run/redis.sock?db=2",
        "rediss://h?ssl_cert_reqs=none&ssl_check_hostname=yes&ssl_min_version=771",
    ],
)
def test_right_address_is_accepted(url: str) -> None:
    """Each form is one that redis-py documents."""
    check_url(url)
    connect(url)

"""A parser of REDIS_URL that checks an address without loading redis.

redis-py takes a quarter of a second to load, and the settings are checked before the app's first
use of Redis. A property test compares this parser with redis-py's: redis-py reads each accepted
address with the same result, and builds a client. The parser also refuses addresses that redis-py
reads differently than their author meant, such as a database that is no number.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from breaker.configuration.hosts import is_host
from breaker.configuration.references import unresolved
from breaker.errors import SettingsError
from breaker.settings import BreakerSettings, RedisAuth
from breaker.stores.redis_options import NOT_FOR_CLUSTERS, OPTIONS, unusable_tls

_TAKES = (
    "it takes redis://[user:password@]host:port/db or rediss://..., with redis-py's options, and "
    "with each other character of user and password written as %XX"
)


def check_url(url: str, settings: BreakerSettings | None = None) -> None:
    """Check an address for `breaker.stores.redis.connect` without connecting.

    Args:
        url: the address.
        settings: says whether the address is that of a cluster, and who signs in.

    Raises:
        SettingsError: the address is invalid; the message omits it, because it may have a password.
    """
    if problem := unresolved(url):
        raise SettingsError(f"REDIS_URL {problem}; {_TAKES}")
    found = parse(url)
    settings = settings or BreakerSettings()
    if settings.redis_cluster:
        _check_cluster(found)
    if settings.redis_auth is RedisAuth.ENTRA:
        _check_entra(found)


def parse(url: str) -> dict[str, object]:
    """Return the arguments of a connection to an address, without those that have defaults.

    Raises:
        SettingsError: see `check_url`.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        # Raised without its cause, which may quote a part of the password.
        raise _refusal("its host is no host name") from None
    if parts.scheme not in OPTIONS:
        problem = "it does not begin with redis://, rediss:// or unix://"
        if ",password=" in url.replace(" ", "").lower():
            problem = "it has the form of .NET clients, host:port,password=..."
        raise _refusal(problem)
    if parts.fragment or url.endswith("#"):
        raise _refusal("it has a '#', which is written as %23 in a password")
    try:
        return _parsed(parts)
    except SettingsError:
        if not _may_split_password(parts):
            raise
    # The refusal above may name what is a part of the password.
    raise _refusal("its '?' is not followed by options; a '?' in a password is written as %3F")


def _parsed(parts: SplitResult) -> dict[str, object]:
    found = _options(parts)
    found |= _socket(parts, found) if parts.scheme == "unix" else _server(parts, found)
    if parts.scheme == "rediss" and (name := unusable_tls(found)):
        raise _refusal(f"its option {name} takes {OPTIONS['rediss'][name].takes}")
    return found


def _may_split_password(parts: SplitResult) -> bool:
    """Return whether the `?` of an address may be a character of its password."""
    place = parts.netloc.rpartition("@")[2]
    return bool(parts.query) and ("@" in parts.query or place.startswith(":"))


def unusable() -> SettingsError:
    """Return the error for an address that redis-py refuses."""
    return SettingsError(f"REDIS_URL cannot be used: {_TAKES}")


def unknown_option(name: str) -> SettingsError:
    """Return the error for an address with an unknown option."""
    shown = repr(name) if name.isidentifier() else "of that name"
    return _refusal(f"it has no option {shown}")


def _refusal(problem: str) -> SettingsError:
    return SettingsError(f"REDIS_URL cannot be used: {problem}; {_TAKES}")


def _options(parts: SplitResult) -> dict[str, object]:
    """Return the options after the `?`; an empty value means the default, as in redis-py."""
    known = OPTIONS[parts.scheme]
    found: dict[str, object] = {}
    for name, values in parse_qs(parts.query, keep_blank_values=True).items():
        if name not in known:
            raise unknown_option(name)
        if text := next(filter(None, values), None):
            try:
                found[name] = known[name].parse(text)
            except SettingsError:
                raise
            except ValueError:
                raise _refusal(f"its option {name} takes {known[name].takes}") from None
    return found


def _login(parts: SplitResult) -> dict[str, object]:
    named = {"username": parts.username, "password": parts.password}
    return {name: unquote(value) for name, value in named.items() if value}


def _socket(parts: SplitResult, options: Mapping[str, object]) -> dict[str, object]:
    """Return login and path of a Unix socket."""
    if parts.hostname:
        raise _refusal("it has a host before the path; the path of a socket has three slashes")
    path = {"path": unquote(parts.path)} if parts.path else {}
    if not path and "path" not in options:
        raise _refusal("it has no path of a socket")
    return _login(parts) | path


def _server(parts: SplitResult, options: Mapping[str, object]) -> dict[str, object]:
    """Return login, server and database, which come before the options."""
    place = _login(parts)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise _refusal("its port is no number from 1 to 65535")
    if port:
        place["port"] = port
    if parts.hostname:
        place["host"] = unquote(parts.hostname)
    host = place.get("host", options.get("host"))
    if host is None:
        raise _refusal("it has no host")
    if not is_host(str(host)):
        raise _refusal("its host is no host name")
    if parts.path.strip("/") and "db" not in options:
        try:
            path = unquote(parts.path).removesuffix("/")
            place["db"] = OPTIONS[parts.scheme]["db"].parse(path[1:])
        except ValueError:
            raise _refusal(
                "its database is no number (a '/' in a password is written as %2F)"
            ) from None
    return place


def _check_entra(found: Mapping[str, object]) -> None:
    """Refuse another sign-in beside the token, and a missing package."""
    if {"username", "password"} & set(found):
        raise _refusal(
            "it has a user or a password, but BREAKER_REDIS_AUTH is 'entra', which signs in with a "
            "token"
        )
    if find_spec("redis_entraid") is None:
        raise no_entra()


def no_entra() -> SettingsError:
    """Return the error for a sign-in with Entra without its package."""
    return SettingsError(
        "BREAKER_REDIS_AUTH is 'entra', but the package redis-entraid is not installed: "
        "install it, or set BREAKER_REDIS_AUTH to 'url'"
    )


def _check_cluster(found: Mapping[str, object]) -> None:
    """Refuse what a cluster does not have."""
    cluster = "a cluster (BREAKER_REDIS_CLUSTER)"
    if found.get("db"):
        raise _refusal(f"it names database {found['db']}, but {cluster} has database 0 only")
    if "path" in found:
        raise _refusal(f"it names a socket, but {cluster} has a host and a port")
    for name in sorted(NOT_FOR_CLUSTERS & set(found)):
        raise _refusal(f"it has the option {name}, which {cluster} does not have")

"""A parser of REDIS_URL that checks an address without loading redis.

redis-py takes a quarter of a second to load, and the settings are checked before the app's first
use of Redis. A property test compares this parser with redis-py's: redis-py reads each accepted
address with the same result. The parser accepts every option that has a textual form, except
options that change the form of replies, which the stores cannot read.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from breaker.errors import SettingsError

type Parse = Callable[[str], object]

LEAST_CONNECTIONS = 4
"""Fewest connections of a client; with fewer, one slow command delays nearly all others."""
_FALSE = frozenset({"0", "F", "FALSE", "N", "NO"})


def check_url(url: str) -> None:
    """Check an address for `breaker.stores.redis.connect` without connecting.

    Raises:
        SettingsError: the address is invalid; the message omits it, because it may have a password.
    """
    parse(url)


def parse(url: str) -> dict[str, object]:
    """Return the arguments of a connection to an address, without those that have defaults.

    Raises:
        SettingsError: see `check_url`.
    """
    try:
        parts = urlsplit(url)
        known = _OPTIONS.get(parts.scheme)
        if known is None:
            raise unusable()
        found = {
            name: _value(known, name, values[0]) for name, values in parse_qs(parts.query).items()
        }
        return found | _place(parts, found)
    except SettingsError:
        raise
    except ValueError:
        # Raised without its cause, which may quote a part of the password.
        raise unusable() from None


def unusable() -> SettingsError:
    """Return the error for an address that cannot be parsed."""
    return SettingsError(
        "REDIS_URL cannot be used: it takes redis://[user:password@]host:port/db or "
        "rediss://..., with redis-py's options"
    )


def unknown_option(name: str) -> SettingsError:
    """Return the error for an address with an unknown option."""
    shown = repr(name) if name.isidentifier() else "of that name"
    return SettingsError(f"REDIS_URL cannot be used: it has no option {shown}")


def _place(parts: SplitResult, options: Mapping[str, object]) -> dict[str, object]:
    """Return login, server and database, which come before the options."""
    place: dict[str, object] = {}
    if parts.username:
        place["username"] = unquote(parts.username)
    if parts.password:
        place["password"] = unquote(parts.password)
    if parts.scheme == "unix":
        if parts.path:
            place["path"] = unquote(parts.path)
        return place
    if parts.hostname:
        place["host"] = unquote(parts.hostname)
    if parts.port:
        place["port"] = parts.port
    if parts.path and "db" not in options:
        with suppress(ValueError):  # redis-py ignores a path that is no number
            place["db"] = int(unquote(parts.path).replace("/", ""))
    return place


def _value(known: Mapping[str, Parse], name: str, text: str) -> object:
    if name not in known:
        raise unknown_option(name)
    return known[name](text)


def _flag(text: str) -> bool:
    return text.upper() not in _FALSE


def _port(text: str) -> str:
    if not 0 <= int(text) <= 65535:
        raise ValueError(text)
    return text  # a connection converts the text


def _connections(text: str) -> int:
    if (number := int(text)) < LEAST_CONNECTIONS:
        raise SettingsError(
            f"REDIS_URL cannot be used: max_connections is {number}, which is too few for the "
            f"commands of one instance; it takes {LEAST_CONNECTIONS} or more (default: 100)"
        )
    return number


def _protocol(text: str) -> int:
    if (number := int(text)) not in {2, 3}:
        raise ValueError(text)
    return number


def _requirement(text: str) -> str:
    if text not in {"none", "optional", "required"}:
        raise ValueError(text)
    return text


def _verify_flags(text: str) -> list[ssl.VerifyFlags]:
    names = text.replace("[", "").replace("]", "").split(",")
    try:
        return [ssl.VerifyFlags[name.strip()] for name in names]
    except KeyError:
        raise ValueError(text) from None


_COMMON: dict[str, Parse] = {
    "client_name": str,
    "db": int,
    "health_check_interval": int,
    "legacy_responses": _flag,
    "lib_name": str,
    "lib_version": str,
    "max_connections": _connections,
    "password": str,
    "protocol": _protocol,
    "retry_on_timeout": _flag,
    "socket_connect_timeout": float,
    "socket_read_size": int,
    "socket_timeout": float,
    "username": str,
}
_TCP = _COMMON | {"host": str, "port": _port, "socket_keepalive": _flag}
_TLS = _TCP | {
    "ssl_ca_certs": str,
    "ssl_ca_data": str,
    "ssl_ca_path": str,
    "ssl_cert_reqs": _requirement,
    "ssl_certfile": str,
    "ssl_check_hostname": _flag,
    "ssl_ciphers": str,
    "ssl_exclude_verify_flags": _verify_flags,
    "ssl_include_verify_flags": _verify_flags,
    "ssl_keyfile": str,
    "ssl_min_version": int,
    "ssl_password": str,
}
_OPTIONS: Mapping[str, Mapping[str, Parse]] = MappingProxyType(
    {"redis": _TCP, "rediss": _TLS, "unix": _COMMON | {"path": str}}
)

"""The options of REDIS_URL, each with the values that a client can work with.

redis-py reads more values than it can work with: with a timeout of 10 µs or a client name with a
blank, each connection fails. An option that changes the form of replies, which the stores could not
read, is not accepted.
"""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from breaker.errors import SettingsError

LEAST_CONNECTIONS = 4
"""Fewest connections of a client; with fewer, one slow command delays nearly all others."""
LEAST_TIMEOUT = 0.1
"""Shortest timeout of a connection, in seconds; a connection with TLS needs several round trips."""

_FALSE = frozenset({"0", "F", "FALSE", "N", "NO"})
_NAME = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Option:
    """The reader of an option's text.

    `parse` raises ValueError for a text that the option does not take, or SettingsError with a
    whole message.

    Attributes:
        parse: returns the value as redis-py reads it.
        takes: the accepted texts, in words.
    """

    parse: Callable[[str], object]
    takes: str


def _flag(text: str) -> bool:
    return text.upper() not in _FALSE


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if (number := int(text)) < least:
            raise ValueError(text)
        return number

    return parse


def _connections(text: str) -> int:
    if (number := int(text)) < LEAST_CONNECTIONS:
        raise SettingsError(
            f"REDIS_URL cannot be used: max_connections is {number}, which is too few for the "
            f"commands of one instance; it takes {LEAST_CONNECTIONS} or more (default: 100)"
        )
    return number


def _legacy(text: str) -> bool:
    if not _flag(text):
        raise ValueError(text)  # the console could not read the replies of streams
    return True


def _seconds(text: str) -> float:
    seconds = float(text)
    if not LEAST_TIMEOUT <= seconds < math.inf:  # NaN is also out of bounds
        raise ValueError(text)
    return seconds


def _port(text: str) -> str:
    if not 1 <= int(text) <= 65535:
        raise ValueError(text)
    return text  # a connection converts the text


def _one_of[T](values: Mapping[str, T]) -> Callable[[str], T]:
    def parse(text: str) -> T:
        if text not in values:
            raise ValueError(text)
        return values[text]

    return parse


def _client_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(text)
    return text


def _protocol(text: str) -> int:
    if (number := int(text)) not in {2, 3}:
        raise ValueError(text)
    return number


def _tls_version(text: str) -> int:
    return int(ssl.TLSVersion(int(text)))


def _verify_flags(text: str) -> list[ssl.VerifyFlags]:
    names = text.replace("[", "").replace("]", "").split(",")
    try:
        return [ssl.VerifyFlags[name.strip()] for name in names]
    except KeyError:
        raise ValueError(text) from None


_TEXT = Option(str, "a text")
_YES_NO = Option(_flag, "yes or no")
_TIMEOUT = Option(_seconds, f"a number of seconds from {LEAST_TIMEOUT:g} on")
_FLAGS = Option(_verify_flags, "names of ssl.VerifyFlags, with commas")

_COMMON: dict[str, Option] = {
    "client_name": Option(_client_name, "printable ASCII characters without a blank"),
    "db": Option(_whole(0), "the number of a database, 0 or more"),
    "health_check_interval": Option(_whole(0), "a whole number of seconds, 0 or more"),
    "legacy_responses": Option(_legacy, "yes only, because no changes the form of replies"),
    "lib_name": _TEXT,
    "lib_version": _TEXT,
    "max_connections": Option(_connections, f"{LEAST_CONNECTIONS} or more (default: 100)"),
    "password": _TEXT,
    "protocol": Option(_protocol, "2 or 3"),
    "retry_on_timeout": _YES_NO,
    "socket_connect_timeout": _TIMEOUT,
    "socket_read_size": Option(_whole(1), "a number of bytes, 1 or more"),
    "socket_timeout": _TIMEOUT,
    "username": _TEXT,
}
_TCP = _COMMON | {
    "host": _TEXT,
    "port": Option(_port, "a number from 1 to 65535"),
    "socket_keepalive": _YES_NO,
}
_REQUIREMENTS = {name: name for name in ("none", "optional", "required")}
_TLS = _TCP | {
    "ssl_ca_certs": Option(str, "a file of certificates that can be read"),
    "ssl_ca_data": Option(str, "certificates in the form PEM"),
    "ssl_ca_path": Option(str, "a folder of certificates"),
    "ssl_cert_reqs": Option(_one_of(_REQUIREMENTS), "none, optional or required"),
    "ssl_certfile": Option(
        str, "a file with a certificate, and ssl_keyfile and ssl_password that fit"
    ),
    "ssl_check_hostname": _YES_NO,
    "ssl_ciphers": Option(str, "a list of ciphers that OpenSSL knows"),
    "ssl_exclude_verify_flags": _FLAGS,
    "ssl_include_verify_flags": _FLAGS,
    "ssl_keyfile": Option(str, "the file of the private key of ssl_certfile"),
    "ssl_min_version": Option(_tls_version, "a number of ssl.TLSVersion, such as 771 for TLS 1.2"),
    "ssl_password": _TEXT,
}
OPTIONS: Mapping[str, Mapping[str, Option]] = MappingProxyType(
    {"redis": _TCP, "rediss": _TLS, "unix": _COMMON | {"path": _TEXT}}
)
"""The options of each scheme."""
NOT_FOR_CLUSTERS = frozenset({"retry_on_timeout", "ssl_ca_path", "ssl_password"})
"""Options that redis-py's client of a cluster does not have."""


def _folder(path: str) -> str:
    if not Path(path).is_dir():
        raise ValueError(path)  # OpenSSL ignores such a path
    return path


def unusable_tls(found: Mapping[str, object]) -> str | None:
    """Return the option whose certificates, key or ciphers cannot be loaded; None if all can.

    redis-py loads them with the first connection. Then each connection would fail.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    text = {name: str(value) for name, value in found.items()}
    if "ssl_keyfile" in text and "ssl_certfile" not in text:
        return "ssl_keyfile"
    loads: dict[str, Callable[[str], None]] = {
        "ssl_ca_certs": lambda value: context.load_verify_locations(cafile=value),
        "ssl_ca_path": lambda value: context.load_verify_locations(capath=_folder(value)),
        "ssl_ca_data": lambda value: context.load_verify_locations(cadata=value),
        "ssl_ciphers": context.set_ciphers,
        "ssl_certfile": lambda value: context.load_cert_chain(
            # Without a password OpenSSL would ask for one on the terminal.
            *(value, text.get("ssl_keyfile"), text.get("ssl_password", "")),
        ),
    }
    for name, load in loads.items():
        if name in text:
            try:
                load(text[name])
            except (OSError, TypeError, ValueError):  # ssl.SSLError is an OSError
                return name
    return None

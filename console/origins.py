"""Web origins in one normal form.

Browsers, proxies and operators spell one origin in several ways: with or without the scheme's
default port, with capitals, with a trailing dot, with an international name in Unicode or in ASCII.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

import idna

DEFAULT_PORTS = {"http": 80, "https": 443}

_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<place>[^/?#@\s\\]+)", re.IGNORECASE)
_PLACE = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]@/?#\\\s]+)(?::(?P<port>\d{0,5}))?")
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_PORT_MAX = 65_535


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin; the text of an origin is its normal form, without a default port.

    Attributes:
        scheme: `http` or `https`.
        host: the host in lower case and in ASCII, without a trailing dot.
        port: the port, also if the text has none.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `http(s)://host[:port]`.

        Raises:
            ValueError: the text has another form.
        """
        match = _ORIGIN.fullmatch(text)
        if match is None:
            raise ValueError("https://host[:port]")
        scheme = match["scheme"].lower()
        host, port = _host_and_port(match["place"])
        return cls(scheme, host, DEFAULT_PORTS[scheme] if port is None else port)

    def __str__(self) -> str:
        """Return the normal form."""
        is_default = self.port == DEFAULT_PORTS[self.scheme]
        return f"{self.scheme}://{self.host}{'' if is_default else f':{self.port}'}"

    def is_at(self, place: str) -> bool:
        """Return whether a Host header names this origin's host and port.

        A proxy that ends TLS may add the port 443 or 80 to the Host header, although the address in
        the browser has no port. Both stand for the default port of the browser's scheme.
        """
        try:
            host, port = _host_and_port(place)
        except ValueError:
            return False
        accepted: set[int | None] = {self.port}
        if self.port == DEFAULT_PORTS[self.scheme]:
            accepted |= {None, *DEFAULT_PORTS.values()}
        return host == self.host and port in accepted


def _host_and_port(place: str) -> tuple[str, int | None]:
    """Return the host in its normal form, and the port; None for no port.

    Raises:
        ValueError: the text is not `host[:port]`.
    """
    match = _PLACE.fullmatch(place)
    if match is None:
        raise ValueError("host[:port]")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 1 <= port <= _PORT_MAX:
        raise ValueError("a port from 1 to 65535")
    return normal_host(match["host"]), port


def normal_host(host: str) -> str:
    """Return a host in lower case and in ASCII, without a trailing dot; `[...]` for IPv6.

    Raises:
        ValueError: the text is not a host's name or address.
    """
    if host.startswith("["):
        return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
    name = host.lower().removesuffix(".")
    if not name.isascii():
        # Browsers convert names by UTS 46, with which "ß" and "ss" are two names.
        name = idna.encode(name, uts46=True).decode().removesuffix(".")
    if not _NAME.fullmatch(name):
        raise ValueError("a host's name")
    return name

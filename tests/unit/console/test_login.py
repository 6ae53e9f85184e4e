"""Client address by which login attempts are counted."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from console.access.login import address_of


def request(client: str, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    return Request({"type": "http", "headers": headers, "client": (client, 1)})


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        ((), ("*",), "10.0.0.1"),
        (("203.0.113.9",), (), "10.0.0.1"),
        (("203.0.113.9",), ("*",), "203.0.113.9"),
        (("made-up, 198.51.100.7", "made-up, 203.0.113.9"), ("*",), "203.0.113.9"),
    ],
)
def test_client_cannot_forge_the_counted_address(
    forwarded: tuple[str, ...], proxies: tuple[str, ...], address: str
) -> None:
    """The nearest load balancer writes the last address of the header."""
    assert address_of(request("10.0.0.1", *forwarded), proxies) == address

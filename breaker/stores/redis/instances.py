"""The Redis keys of registered instances, and a search for the circuits that have some."""

from __future__ import annotations

from breaker.stores.redis.client import Client

_NAMES = 1_000
"""Keys that Redis looks at for each step of a search."""


def instance_keys(prefix: str) -> tuple[bytes, bytes]:
    """Return the keys of registered instances and of their settings, see register.lua."""
    return f"{prefix}instances".encode(), f"{prefix}settings".encode()


async def find_names(client: Client) -> frozenset[str]:
    """Return the names of the apps' own circuits that have registered instances.

    Redis has no list of them, because one script cannot write keys of two hash tags. So each key of
    the database is looked at, which takes about a second for a million keys.
    """
    found = set()
    async for key in client.scan_iter(match="breaker:{*}:instances", count=_NAMES):
        text = key.decode("utf-8", "replace") if isinstance(key, bytes) else key
        found.add(text.removeprefix("breaker:{").removesuffix("}:instances"))
    return frozenset(found)

"""The choice of the Redis server for the local stack and the tests."""

from __future__ import annotations

import sys

import pytest

from local.services.redis import find_redis_server


def test_another_server_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong name raises an error, so that no test silently uses the default server."""
    monkeypatch.setenv("REDIS_SERVER", sys.executable)
    assert find_redis_server() == sys.executable
    monkeypatch.setenv("REDIS_SERVER", "/nowhere/valkey-server")
    with pytest.raises(FileNotFoundError, match="REDIS_SERVER is '/nowhere/valkey-server'"):
        find_redis_server()

"""Which Redis the local stack and the tests start."""

from __future__ import annotations

import sys

import pytest

from local.services.redis import find_redis_server


def test_another_server_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests against other versions; a wrong name must not quietly test the usual one."""
    monkeypatch.setenv("REDIS_SERVER", sys.executable)
    assert find_redis_server() == sys.executable
    monkeypatch.setenv("REDIS_SERVER", "/nowhere/valkey-server")
    with pytest.raises(FileNotFoundError, match="REDIS_SERVER is '/nowhere/valkey-server'"):
        find_redis_server()

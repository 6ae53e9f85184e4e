"""Commands that hold or stop an app ask first."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from breaker import BreakerSettings, CircuitBreaker, CircuitState, RedisCircuitStore
from breaker.__main__ import main as breaker_main
from breakwater.__main__ import main
from processing.__main__ import main as processing_main
from tests.support.arm import Arm
from tests.support.patience import STORE_SECONDS

ISOLATE = ["isolate", "--reason", "release 12", "--by", "ann"]


@pytest.fixture
def redis(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a Redis in the environment, with a circuit that an instance has registered."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("BREAKER_NAME", "c")
    monkeypatch.setenv("BREAKER_STORE_TIMEOUT_SECONDS", f"{STORE_SECONDS}")

    async def poll() -> None:
        async with breaker(redis_url):
            pass

    asyncio.run(poll())
    return redis_url


def breaker(redis_url: str) -> CircuitBreaker:
    store = RedisCircuitStore(redis_url, "c", timeout_seconds=STORE_SECONDS)
    return CircuitBreaker(store, BreakerSettings(name="c"), instance="app:1")


def state(redis_url: str) -> CircuitState:
    """Return the state of the circuit."""

    async def read() -> CircuitState:
        async with breaker(redis_url) as circuit:
            return circuit.circuit.state

    return asyncio.run(read())


@contextmanager
def terminal(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let standard input be a terminal on which an operator has typed an answer."""
    ours, theirs = os.openpty()
    try:
        os.write(ours, answer)
        with os.fdopen(theirs, closefd=False) as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", stream)
            yield
    finally:
        os.close(ours)
        os.close(theirs)


def test_isolate_asks_on_a_terminal(
    redis: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The question names the circuit; only a yes isolates."""
    with terminal(b"\n", monkeypatch):
        assert main(ISOLATE) == 1
    asked = "Hold all events of c? [y/N] Nothing was changed\n"
    assert capsys.readouterr() == ("", asked)
    assert state(redis) is CircuitState.CLOSED
    with terminal(b"y\n", monkeypatch):
        assert main(ISOLATE) == 0
    assert state(redis) is CircuitState.ISOLATED


def test_isolate_without_a_terminal_needs_a_yes(
    redis: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts that call the older name are not asked, as before."""
    assert main(ISOLATE) == 2
    assert "nothing was changed; --yes confirms without a terminal" in capsys.readouterr().err
    assert state(redis) is CircuitState.CLOSED
    assert main([*ISOLATE, "--yes"]) == 0
    assert breaker_main(ISOLATE) == 0
    assert state(redis) is CircuitState.ISOLATED


def test_circuit_is_isolated_before_its_first_instance(
    redis: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A first deployment begins with all events held; a mistyped name is seen in the warning."""
    unknown = "breakwater: no instance has registered a circuit 'new' in this Redis; "
    monkeypatch.setenv("BREAKER_NAME", "new")
    assert main(ISOLATE) == 2
    assert "nothing was changed; --yes confirms" in capsys.readouterr().err
    with terminal(b"n\n", monkeypatch):
        assert main(ISOLATE) == 1
    asked = capsys.readouterr().err
    assert asked.startswith(f"{unknown}known circuits: c. ")
    assert asked.endswith("Hold all events of new? [y/N] Nothing was changed\n")
    assert breaker_main(ISOLATE) == 0  # without a terminal, as in version 0.1
    out, err = capsys.readouterr()
    assert err.startswith(unknown)
    assert "new: isolated, generation 1" in out
    monkeypatch.setenv("BREAKER_NAME", "newer")
    assert main([*ISOLATE, "--yes"]) == 0
    assert "newer: isolated, generation 1" in capsys.readouterr().out
    monkeypatch.setenv("BREAKER_NAME", "c")
    assert state(redis) is CircuitState.CLOSED


async def test_stop_without_a_terminal_needs_a_yes(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stop holds the whole app, as an isolation does."""
    async with Arm().running() as arm:
        for name, value in {"REDIS_URL": redis_url, "FUNCTION_APP_URL": arm.url}.items():
            monkeypatch.setenv(name, value)
        assert await asyncio.to_thread(main, ["stop", "--by", "ann"]) == 2
        assert "--yes confirms without a terminal" in capsys.readouterr().err
        assert arm.state == "Running"
        assert await asyncio.to_thread(main, ["stop", "--by", "ann", "--yes"]) == 0
        assert arm.state == "Stopped"
        assert await asyncio.to_thread(main, ["start", "--by", "ann"]) == 0
        assert await asyncio.to_thread(processing_main, ["app", "stop", "--by", "ann"]) == 0
        assert arm.state == "Stopped"

"""The breaker's examples in docs/examples, and the package's imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


OPENED = (
    "circuit 'shop' is open (generation 1): 3 failures within 30 s (threshold 3); "
    "last error: no route to the shop"
)
NO_PRICES = "".join(f"no price of article {number}\n" for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("breaker_alone", f"{OPENED}\n"),
        ("breaker_decorator", f"{NO_PRICES}{OPENED} for article 3\n"),
        ("breaker_sync", f"{NO_PRICES}open\n"),
    ],
)
@pytest.mark.parametrize("with_redis", [False, True])
def test_example_runs_in_memory_and_on_redis(
    redis_url: str, name: str, printed: str, with_redis: bool
) -> None:
    """The example prints the refusal, with either store."""
    script = ROOT / "docs" / "examples" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), *([redis_url] if with_redis else [])],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == printed


_IN_MEMORY = """
import asyncio, sys
from breaker import BreakerSettings, CircuitBreaker, CircuitOpenError, MemoryCircuitStore

breaker = CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c", failure_threshold=1))

@breaker.protect
def fail():
    raise OSError

with breaker:
    for expected in (OSError, CircuitOpenError):
        try:
            fail()
        except expected:
            pass

async def main():
    async with breaker:
        await breaker.isolate("ann", "maintenance")
        await breaker.deliver_alerts()

asyncio.run(main())
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"aiohttp", "redis", "azure", "processing", "click"}))
"""


def test_breaker_in_memory_loads_no_client() -> None:
    """A program that shares no circuit needs neither aiohttp nor Redis' client."""
    done = subprocess.run(
        [sys.executable, "-c", _IN_MEMORY], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_breaker_loads_no_azure_sdk_or_other_package() -> None:
    """The package can be used without the rest of the project."""
    code = (
        "import sys, breaker\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'azure', 'processing', 'console', 'local', 'loadtest'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True
    )
    assert done.stdout == "[]\n"

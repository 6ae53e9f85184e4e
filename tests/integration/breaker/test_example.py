"""The example in docs/examples, and the package's imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("with_redis", [False, True])
def test_example_runs_in_memory_and_on_redis(redis_url: str, with_redis: bool) -> None:
    """The example prints the refusal, with either store."""
    script = ROOT / "docs" / "examples" / "breaker_alone.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), *([redis_url] if with_redis else [])],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == (
        "circuit 'shop' is open (generation 1): 3 failures within 30 s (threshold 3); "
        "last error: no route to the shop\n"
    )


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

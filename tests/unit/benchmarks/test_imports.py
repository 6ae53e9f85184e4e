"""The modules that a benchmark's processes load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from local.services.child import REPOSITORY


@pytest.mark.parametrize("module", ["benchmarks.subject", "benchmarks.children.observer"])
def test_process_measured_by_p6_loads_no_azure_sdk(module: str) -> None:
    """Garbage collection of the SDKs' many objects would pause the process while P6 measures."""
    program = (
        f"import sys, {module}\n"
        "print(*[name for name in sys.modules if name.partition('.')[0] == 'azure'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == []

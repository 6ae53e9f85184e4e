"""The warning that the largest batch may not fit into the memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from processing.monitoring.batch_memory import (
    EVENT_BYTES,
    batch_memory_warning,
    memory_bytes,
)


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Return settings whose host.json has batches of 1,000 events."""
    (tmp_path / "host.json").write_text(
        '{"version": "2.0", "extensions": {"eventHubs": {"maxEventBatchSize": 1000}}}'
    )
    return {"AzureWebJobsScriptRoot": str(tmp_path)}


def test_batch_above_half_of_the_memory_is_a_warning(settings: dict[str, str]) -> None:
    """The warning says which value fits."""
    assert batch_memory_warning(settings, 2000 * EVENT_BYTES) is None
    warning = batch_memory_warning(settings, 1998 * EVENT_BYTES)
    assert warning is not None
    assert "maxEventBatchSize is 1000" in warning
    assert "(1998 MB)" in warning
    assert "to 999 or less" in warning


def test_limit_of_the_container_is_the_memory(tmp_path: Path) -> None:
    """Without a limit the machine's memory counts."""
    limit = tmp_path / "memory.max"
    machine = memory_bytes(limit)
    limit.write_text("1048576\n")
    assert memory_bytes(limit) == 1048576
    limit.write_text("max\n")
    assert memory_bytes(limit) == machine


def test_batches_of_all_pipelines_count(settings: dict[str, str]) -> None:
    """Each pipeline may have a batch in memory at the same time."""
    assert batch_memory_warning(settings, 4000 * EVENT_BYTES, pipelines=2) is None
    warning = batch_memory_warning(settings, 3998 * EVENT_BYTES, pipelines=2)
    assert warning is not None
    assert "one batch of each of 2 pipelines" in warning
    assert "needs 2000 MB" in warning
    assert "to 999 or less" in warning

"""The check at the start that the largest batch fits into the memory of the instance."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from processing.monitoring.host_options import batch_size

EVENT_BYTES = 1_048_576
"""Greatest size of one event (1 MB)."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def memory_bytes(limit: Path = CGROUP_LIMIT) -> int:
    """Return the memory that this instance may use: its cgroup's limit, or the machine's memory."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(limit.read_text()))
    except (OSError, ValueError):  # no cgroup, or "max"
        return machine


def batch_memory_warning(
    settings: Mapping[str, str], memory: int, pipelines: int = 1
) -> str | None:
    """Return a warning if the largest batches may need more than half of the memory.

    Args:
        settings: the app settings.
        memory: the instance's memory in bytes.
        pipelines: the number of pipelines, each of which receives batches.
    """
    events = batch_size(settings)
    needed = events * pipelines
    if needed * EVENT_BYTES <= memory / 2:
        return None
    fits = max(1, memory // 2 // EVENT_BYTES // pipelines)
    subject = "a batch" if pipelines == 1 else f"one batch of each of {pipelines} pipelines, full"
    return (
        f"maxEventBatchSize is {events}: {subject} of such events of 1 MB needs {needed} MB, more "
        f"than half of this instance's memory ({memory // EVENT_BYTES} MB). If events are large, "
        f"set extensions.eventHubs.maxEventBatchSize in host.json to {fits} or less, or use larger "
        "instances"
    )

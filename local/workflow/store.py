"""The store of runs in a file, so that runs survive a restart as in a Logic App."""

from __future__ import annotations

from pathlib import Path

from local.files import read_json, write_json
from local.workflow.run import Run

KEPT_RUNS = 200


class RunStore:
    """Runs in order of their start; finished runs beyond `KEPT_RUNS` are removed.

    Args:
        path: the file, which contains the callbacks' secrets; None keeps the runs only in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        record = read_json(path) if path is not None else None
        runs = [Run.from_record(item) for item in (record or {"runs": []})["runs"]]
        self._runs = {run.id: run for run in runs}

    def all(self) -> list[Run]:
        """Return all runs, oldest first."""
        return list(self._runs.values())

    def get(self, run_id: str) -> Run | None:
        """Return the run with this id, or None."""
        return self._runs.get(run_id)

    def of_circuit(self, circuit: str) -> list[Run]:
        """Return the runs of a circuit, oldest first."""
        return [run for run in self._runs.values() if run.circuit == circuit]

    def save(self, run: Run) -> None:
        """Add or update a run."""
        self._runs[run.id] = run
        finished = [known.id for known in self._runs.values() if known.state.is_final]
        for run_id in finished[: max(0, len(self._runs) - KEPT_RUNS)]:
            del self._runs[run_id]
        if self._path is not None:
            write_json(self._path, {"runs": [known.as_record() for known in self._runs.values()]})

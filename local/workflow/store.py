"""The runs, kept in a file: like a Logic App's, they outlive the process that runs them."""

from __future__ import annotations

from pathlib import Path

from local.files import read_json, write_json
from local.workflow.run import Run

KEPT_RUNS = 200


class RunStore:
    """Runs in the order they began; finished ones beyond `KEPT_RUNS` are forgotten.

    Args:
        path: the file, which holds the callbacks' secrets; None keeps the runs in memory only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        record = read_json(path) if path is not None else None
        runs = [Run.from_record(item) for item in (record or {"runs": []})["runs"]]
        self._runs = {run.id: run for run in runs}

    def all(self) -> list[Run]:
        """Every run, oldest first."""
        return list(self._runs.values())

    def get(self, run_id: str) -> Run | None:
        """The run of that id."""
        return self._runs.get(run_id)

    def of_circuit(self, circuit: str) -> list[Run]:
        """Its runs, oldest first."""
        return [run for run in self._runs.values() if run.circuit == circuit]

    def save(self, run: Run) -> None:
        """Add a run, or keep what has changed in it."""
        self._runs[run.id] = run
        finished = [known.id for known in self._runs.values() if known.state.is_final]
        for run_id in finished[: max(0, len(self._runs) - KEPT_RUNS)]:
            del self._runs[run_id]
        if self._path is not None:
            write_json(self._path, {"runs": [known.as_record() for known in self._runs.values()]})

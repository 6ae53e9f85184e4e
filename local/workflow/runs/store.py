"""The store of runs in files, so that runs survive a restart as in a Logic App."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.files import read_json, write_json
from local.workflow.runs.record import RunRecord

KEPT_RUNS = 200


class RunStore:
    """Runs in order of their start, and the definitions with which they began.

    Finished runs beyond `KEPT_RUNS` are removed.

    Args:
        directory: the directory with one file for each run and definition. The files contain the
            secrets of callbacks. None keeps the runs only in memory.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._definitions = {path.stem: value for path, value in self._read("definitions")}
        runs = [RunRecord.from_json(value) for _, value in self._read("runs")]
        self._runs = {run.id: run for run in sorted(runs, key=lambda run: run.started)}

    def add_definition(self, document: Mapping[str, Any]) -> str:
        """Store a definition; return its digest."""
        text = json.dumps(document, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        if digest not in self._definitions:
            self._definitions[digest] = dict(document)
            self._write("definitions", digest, document)
        return digest

    def definition(self, digest: str) -> dict[str, Any]:
        """Return a stored definition.

        Raises:
            KeyError: the definition is not stored.
        """
        return self._definitions[digest]

    def all(self) -> list[RunRecord]:
        """Return all runs, oldest first."""
        return list(self._runs.values())

    def get(self, run_id: str) -> RunRecord | None:
        """Return the run with this id, or None."""
        return self._runs.get(run_id)

    def save(self, run: RunRecord) -> None:
        """Add or update a run."""
        self._runs[run.id] = run
        if self._directory is not None:
            self._write("runs", run.id, run.as_json())
        if len(self._runs) <= KEPT_RUNS:
            return
        finished = [known.id for known in self._runs.values() if known.status.is_final]
        for run_id in finished[: len(self._runs) - KEPT_RUNS]:
            del self._runs[run_id]
            if self._directory is not None:
                (self._directory / "runs" / f"{run_id}.json").unlink(missing_ok=True)

    def _read(self, folder: str) -> list[tuple[Path, dict[str, Any]]]:
        if self._directory is None:
            return []
        files = (self._directory / folder).glob("[!.]*.json")
        return [(file, value) for file in files if (value := read_json(file)) is not None]

    def _write(self, folder: str, name: str, value: Mapping[str, Any]) -> None:
        if self._directory is not None:
            write_json(self._directory / folder / f"{name}.json", value)

"""The command `python -m scripts.check_infra`, which exits with 1 if there are problems."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.check_infra.bicep import load
from scripts.check_infra.host_json import host_json_problems
from scripts.check_infra.rules import EXPECTED, bicep_problems
from scripts.check_infra.workflow import workflow_problems

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Check the Bicep files, the workflow and host.json, and return the exit code."""
    files = load(ROOT / "infra")
    problems = [
        *bicep_problems(files, ROOT / "infra" / "main.parameters.json"),
        *workflow_problems(ROOT / "infra" / "workflow.json"),
        *host_json_problems(ROOT / "host.json"),
    ]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 1
    resources = sum(sum(types.values()) for types in EXPECTED.values())
    print(f"infra: {len(files)} Bicep files with {resources} resources, workflow.json, host.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())

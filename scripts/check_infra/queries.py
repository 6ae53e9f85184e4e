"""The command `python -m scripts.check_infra.queries`, which prints the alarms' queries as JSON.

scripts/check_kql.mjs reads this output.
"""

from __future__ import annotations

import json
from pathlib import Path

from scripts.check_infra.alarms import read_queries, read_split_queries

ALERTS = Path(__file__).parents[2] / "infra" / "modules" / "alerts.bicep"


if __name__ == "__main__":
    print(json.dumps(read_queries(ALERTS) | read_split_queries(ALERTS)))

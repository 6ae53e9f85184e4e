"""The templates that the matrix reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

INFRA = Path(__file__).parents[2] / "infra"
DEFINITION: dict[str, Any] = json.loads((INFRA / "workflow.json").read_text())

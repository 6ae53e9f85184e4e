"""Where the project lies: the directory in which `python -m local` and the others run."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

"""The handler of docs/examples/sql_sink.py in a process that dies at one place of the call."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

sys.path.append(str(Path(__file__).parents[3] / "docs" / "examples"))
_sql_sink: Any = importlib.import_module("sql_sink")
_Balances = _sql_sink.Balances
Payment = _sql_sink.Payment
Charges: Any = importlib.import_module("http_sink").Charges


class Balances(_Balances):  # type: ignore[misc, valid-type]
    """The handler; its process dies before or after the commit of its transaction.

    The setting DIES is "inside", "after" or "".
    """

    dies = ""

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """Return the handler, with the place at which its process dies."""
        built: Self = super().from_settings(settings)
        built.dies = settings.get("DIES", "")
        return built

    def __call__(self, payment: Payment, event: Any) -> None:  # type: ignore[valid-type]
        """Handle the event, and die after the commit."""
        super().__call__(payment, event)
        self._die("after")

    def pay(self, database: Any, payment: Any) -> None:
        """Do the work, and die before the commit."""
        super().pay(database, payment)
        self._die("inside")

    def _die(self, place: str) -> None:
        if self.dies == place:
            os.kill(os.getpid(), signal.SIGKILL)

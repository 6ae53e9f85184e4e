"""Log lines like those of `func start`."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

_QUIET = ("azure", "uamqp", "uvicorn", "asyncio", "urllib3", "aiohttp")
_CATEGORIES = ("Function", "Host")


class _Formatter(logging.Formatter):
    """A formatter for `[2026-01-31T12:00:00.000Z] message`, with the instance's label in front."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = f"{label} " if label else ""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname}: {text}"
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return f"{self._label}[{moment.replace('+00:00', 'Z')}] {text}"


def _is_not_worker_report(record: logging.LogRecord) -> bool:
    """Return False for the worker library's report of a failure; the host logs the failure."""
    return record.getMessage() not in ("Native invocation failed", "Native sync invocation failed")


def configure_logging(label: str = "", *, verbose: bool = False) -> None:
    """Log to standard output, line by line; the Azure SDKs log only warnings and errors."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Into a file or a pipe, lines that the app prints would otherwise wait for a full block.
        sys.stdout.reconfigure(line_buffering=True)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Formatter(label))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("azure.functions").addFilter(_is_not_worker_report)


def apply_log_levels(levels: Mapping[str, int]) -> None:
    """Apply host.json's `logging.logLevel`: `default`, and categories such as `Host.Triggers`."""
    for category, level in levels.items():
        if category.lower() == "default":
            logging.getLogger().setLevel(level)
        elif category.partition(".")[0] in _CATEGORIES:
            logging.getLogger(category).setLevel(level)

"""Sentences about a restart that claim only what was seen."""

from __future__ import annotations

from processing.site.restart import RestartReport
from processing.site.statement import RUN_START


def restart_line(report: RestartReport, *, source: str, how_to_start: str = RUN_START) -> str:
    """Return the sentence that says what became of the app.

    Args:
        report: the report of the restart.
        source: the name of the service that stops and starts the app.
        how_to_start: the sentence that says how to start the app.
    """
    if report.was_stopped:
        return "The app was stopped before, and stays stopped."
    if report.stop is None:
        return "No stop was asked for; the app is as it was."
    if not report.stop.accepted and report.start is None and not report.left_stopped:
        return "The stop was refused; the app still runs."
    if report.left_stopped:
        return f"The app is left stopped: {report.left_stopped}. {how_to_start}"
    if not report.start_seen:
        return f"The start was accepted, but {source} has not said yet that the app runs."
    return f"The app is started; {source} says: running."


def has_failed(report: RestartReport) -> bool:
    """Return whether the action needs the operator's attention."""
    return bool(report.error or report.left_stopped or report.interrupted or not report.acted)

"""The files of one run: the report, its page and its picture."""

from __future__ import annotations

from pathlib import Path

from loadtest.plan.settings import Settings
from loadtest.report.report import Report, write_json


def write(report: Report, settings: Settings) -> dict[str, Path]:
    """Write the JSON and, unless only that is wanted, a page and a picture; return their paths."""
    file = settings.report
    write_json(report, file)
    if settings.json_only:
        return {"report": file}
    from loadtest.report.page import write_page  # noqa: PLC0415 - matplotlib is slow to import
    from loadtest.report.timeline import write_png  # noqa: PLC0415

    page, picture = file.with_suffix(".html"), file.with_suffix(".png")
    write_page(report, page)
    write_png(report, picture)
    return {"report": file, "page": page, "picture": picture}

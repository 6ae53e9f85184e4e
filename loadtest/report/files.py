"""The files of one run: the report, its page and its picture."""

from __future__ import annotations

from pathlib import Path

from loadtest.plan.settings import Settings
from loadtest.report.pipelines import PipelinesReport
from loadtest.report.report import Report, write_json


def write(report: Report | PipelinesReport, settings: Settings) -> dict[str, Path]:
    """Write the JSON and, unless only that is wanted, a page and pictures; return their paths.

    A run with several pipelines has a picture for each.
    """
    file = settings.report
    write_json(report.to_dict(), file)
    if settings.json_only:
        return {"report": file}
    from loadtest.report.page import write_page  # noqa: PLC0415 - matplotlib is slow to import
    from loadtest.report.timeline import write_png  # noqa: PLC0415

    page = file.with_suffix(".html")
    write_page(report, page)
    written = {"report": file, "page": page}
    for part in report.parts.values() if isinstance(report, PipelinesReport) else (report,):
        name = f"-{part.pipeline}" if part.pipeline else ""
        picture = file.with_name(f"{file.stem}{name}.png")
        write_png(part, picture)
        written[f"picture{name}"] = picture
    return written

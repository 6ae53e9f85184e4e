"""The command `python -m tests.chain`, which writes docs/fault-matrix.md."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.chain.matrix import parts, try_alone
from tests.chain.table import PAGE, render_page


def main() -> int:
    """Try all cells, print the broken ones, and write the page; return the exit code."""
    began = time.monotonic()
    cells_of = parts()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        verdicts = dict(zip(cells_of, pool.map(try_alone, cells_of.values()), strict=True))
    cells = [each for part in verdicts.values() for each in part]
    broken = [(cell, verdict) for cell, verdict in cells if verdict.problems]
    for cell, verdict in broken:
        print(f"{cell} [early callbacks: {cell.accepts_early}]: {'; '.join(verdict.problems)}")
    PAGE.write_text(render_page(verdicts))
    seconds = time.monotonic() - began
    print(f"{len(cells)} cells in {seconds:.0f} s, {len(broken)} broken; wrote {PAGE.name}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

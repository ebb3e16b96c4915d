"""How soon, and how wrongly, decisions come, of the canary and of the drift detectors:

    python -m tests.bench.decisions [--runs N] [--jobs N] [--texts FOLDER] [--only canary|drift]

Units are sessions with a reward, both arms together; delays of drift are exchanges. Every bar has a line with its
figure, its 95 % interval and held or missed; lines without a bar are there to compare. The last line counts the bars.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from multiprocessing import Pool
from multiprocessing.pool import AsyncResult
from multiprocessing.pool import Pool as Workers
from pathlib import Path

from tests.bench import drift
from tests.bench.canary.cells import cells, measure
from tests.bench.canary.lines import HEADER
from tests.bench.drift_parts.bars import Bars

Printed = tuple[str, int, int]
"""(what a section printed, bars held, bars missed)."""


def printed(section: drift.Section, options: drift.Options) -> Printed:
    """One section of the drift table, in a worker."""
    bars, out = Bars(), io.StringIO()
    with contextlib.redirect_stdout(out):
        drift.table(section, bars, options)
    return out.getvalue(), bars.held, bars.missed


def canary(pool: Workers, runs: int) -> tuple[int, int]:
    """Print the canary's lines as they come; (held, missed)."""
    print(HEADER)
    held: list[bool] = []
    for found in pool.imap(measure, cells(runs)):
        for line in found:
            print(line, flush=True)
        held += [line.held for line in found if line.held is not None]
    return sum(held), len(held) - sum(held)


def main() -> None:
    """Print every line, then how many bars were held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="runs of the production code a cell (default 200)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--texts", type=Path, help="folder with clinc150 and banking77")
    parser.add_argument("--only", choices=("canary", "drift"), help="one table")
    given = parser.parse_args()
    began, held, missed = time.monotonic(), 0, 0
    options = drift.Options(given.texts, max(given.runs // 5, 2), max(given.runs // 2, 2))
    with Pool(given.jobs) as pool:
        sections: list[AsyncResult[Printed]] = []
        if given.only != "canary":  # first to begin, last to print: the longest cells must not be left for the end
            sections = [pool.apply_async(printed, (section, options)) for section in drift.SECTIONS]
        if given.only != "drift":
            held, missed = canary(pool, given.runs)
        for section in sections:
            said, kept, fell = section.get()
            print(said, end="", flush=True)
            held, missed = held + kept, missed + fell
    print(f"{time.monotonic() - began:.0f} s, {given.jobs} processes")
    print(f"bars: {held} held, {missed} missed")


if __name__ == "__main__":
    main()

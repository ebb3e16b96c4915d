"""How soon, and how wrongly, drift is told: python -m tests.bench.drift [--texts FOLDER] [--runs N] [--streams N]

Thresholds are set to a measured number of events between false alarms, then delays are measured: of the input
detectors on text streams (CLINC150 and banking77, where --texts names a folder with clinc150/data_full.json,
clinc150/domains.json and banking77/train.csv), of the whole watch on the project's own world, of falling rewards, and
of answers that change while the questions stay. One line a bar; the last line counts them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tests.bench.drift_parts.bars import Bars
from tests.bench.drift_parts.texts import read_pools

Section = Literal["texts", "rewards", "world"]
SECTIONS: Final[tuple[Section, ...]] = ("texts", "world", "rewards")
MEAN_EVENTS: Final = 5_000.0
"""Measured events between false alarms at which delays are compared."""
REFERENCE: Final = 1_500
"""Prompts of the reference: the default of the watch."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure with."""

    texts: Path | None
    runs: int = 40
    """Runs a row."""
    streams: int = 100
    """Quiet streams that thresholds are set on."""


def table(section: Section, bars: Bars, options: Options) -> None:
    """Print one section."""
    match section:
        case "texts":
            _texts(bars, options)
        case "rewards":
            from tests.bench.drift_parts import rewards

            rewards.table(bars, MEAN_EVENTS, 2 * options.streams, 3 * options.runs)
        case "world":
            from tests.bench.drift_parts import whole_watch

            whole_watch.table(bars, max(options.runs // 8, 2))


def main() -> None:
    """Print all sections."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", type=Path, help="folder with clinc150 and banking77")
    parser.add_argument("--runs", type=int, default=40, help="runs a row")
    parser.add_argument("--streams", type=int, default=100, help="quiet streams")
    parser.add_argument("--only", choices=SECTIONS, help="one section")
    given = parser.parse_args()
    bars = Bars()
    for section in SECTIONS:
        if given.only in (None, section):
            table(section, bars, Options(given.texts, given.runs, given.streams))
    bars.total()


def _texts(bars: Bars, options: Options) -> None:
    pools = read_pools(options.texts, REFERENCE, seed=0) if options.texts else None
    if pools is None:
        print(f"text streams: skipped, {options.texts or '--texts'} names no folder with clinc150 and banking77")
        return
    from tests.bench.drift_parts import text_streams

    text_streams.table(bars, pools, MEAN_EVENTS, options.streams, options.runs)


if __name__ == "__main__":
    main()

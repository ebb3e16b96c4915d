"""How soon, and how wrongly, drift is told: python -m tests.bench.drift [--texts FOLDER] [--runs N] [--streams N]

Thresholds are set to a measured number of events between false alarms, then delays are measured: of the input
detectors on text streams (CLINC150 and banking77, where --texts or HOMEOSTAT_BENCH_TEXTS names a folder with
clinc150/data_full.json, clinc150/domains.json and banking77/train.csv), of the whole watch on the project's own world,
of falling rewards, and of answers that change while the questions stay. One line a bar; the last line counts them.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tests.bench.drift_parts.bars import Bars
from tests.bench.drift_parts.texts import read_pools

MEAN_EVENTS = 5_000.0
"""Measured events between false alarms at which delays are compared."""
REFERENCE = 1_500
"""Prompts of the reference: the default of the watch."""


def main() -> None:
    """Print all sections."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", type=Path, default=os.environ.get("HOMEOSTAT_BENCH_TEXTS"), help="folder of texts")
    parser.add_argument("--runs", type=int, default=40, help="runs a row")
    parser.add_argument("--streams", type=int, default=100, help="quiet streams")
    parser.add_argument("--only", choices=("texts", "rewards", "world"), help="one section")
    options = parser.parse_args()
    bars = Bars()
    if options.only in (None, "texts"):
        _texts(bars, options)
    if options.only in (None, "rewards"):
        from tests.bench.drift_parts import rewards

        rewards.table(bars, MEAN_EVENTS, 2 * options.streams, 3 * options.runs)
    if options.only in (None, "world"):
        from tests.bench.drift_parts import whole_watch

        whole_watch.table(bars, max(options.runs // 8, 2))
    bars.total()


def _texts(bars: Bars, options: argparse.Namespace) -> None:
    pools = read_pools(Path(options.texts), REFERENCE, seed=0) if options.texts else None
    if pools is None:
        print("text streams: skipped, --texts or HOMEOSTAT_BENCH_TEXTS names no folder with clinc150 and banking77")
        return
    from tests.bench.drift_parts import text_streams

    text_streams.table(bars, pools, MEAN_EVENTS, options.streams, options.runs)


if __name__ == "__main__":
    main()

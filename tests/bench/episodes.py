"""How soon seeded episodes of several lengths find each planted bug: finds in a CPU-second, and episodes in one.

    python -m tests.bench.episodes [SECONDS]    CPU-seconds for each bug and length (default 10)

A bug that many short lives find sooner than few long ones speaks for short ones, and the other way round; what none
finds within the time counts as a third of a find.
"""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Sequence
from typing import Final

import pytest

from daemon.invariants import INVARIANTS
from tests.episodes.episode import LENGTHS, Episode
from tests.episodes.planted import PLANTED
from tests.episodes.stage import stage

COMPARED: Final[dict[str, Sequence[int]]] = {
    "30": (30,),
    "60": (60,),
    "120": (120,),
    "/".join(map(str, LENGTHS)): LENGTHS,
}
FIRST: Final = 7_000_000
"""Seeds that no test plays."""
ENOUGH: Final = 40
"""Finds after which a bug is not looked for any more."""


def found(bug: str, lengths: Sequence[int], most_s: float) -> tuple[int, int, float]:
    """(finds, episodes, CPU-seconds) of one bug."""
    name, put = PLANTED[bug]
    invariants = tuple(one for one in INVARIANTS if one.name == name)
    finds = played = 0
    with stage(), pytest.MonkeyPatch.context() as patch:
        put(patch)
        began = time.process_time()
        while finds < ENOUGH and (spent := time.process_time() - began) < most_s:
            episode = Episode(FIRST + played, invariants=invariants)
            failure = episode.play(lengths[played % len(lengths)])
            finds += failure is not None and failure.broken.name == name
            played += 1
            episode.let_go()
        spent = time.process_time() - began
    return finds, played, spent


def main() -> None:
    """Print the table."""
    most_s = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    gc.freeze()
    gc.disable()
    print(f"{'finds per CPU-second':62s}" + "".join(f"{name:>14s}" for name in COMPARED))
    logs: dict[str, list[float]] = {name: [] for name in COMPARED}
    speed: dict[str, list[float]] = {name: [] for name in COMPARED}
    for bug, (invariant, _) in PLANTED.items():
        cells: list[str] = []
        for name, lengths in COMPARED.items():
            finds, played, spent = found(bug, lengths, most_s)
            gc.collect()
            logs[name].append(math.log(max(finds, 1 / 3) / spent))
            speed[name].append(played / spent)
            cells.append(f"{finds / spent:7.2f} ({finds:3d})")
        print(f"{invariant} {bug:59s}" + "".join(f"{cell:>14s}" for cell in cells), flush=True)
    rows = {
        "geometric mean": [math.exp(sum(of) / len(of)) for of in logs.values()],
        "slowest found": [math.exp(min(of)) for of in logs.values()],
        "episodes per CPU-second, median": [sorted(of)[len(of) // 2] for of in speed.values()],
    }
    for label, row in rows.items():
        print(f"{label:62s}" + "".join(f"{figure:14.2f}" for figure in row))


if __name__ == "__main__":
    main()

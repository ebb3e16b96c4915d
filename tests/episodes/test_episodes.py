"""Seeded episodes: a deployment's life at random, faults included, with the invariants of the design after each step.

HOMEOSTAT_SEED=7 pytest tests/episodes    plays one seed
make soak ARGS=tests/episodes             plays a million on every core
HOMEOSTAT_EPISODES=50000 HOMEOSTAT_FIRST=2000000 make soak ARGS=tests/episodes
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from typing import Final

import pytest

from tests.episodes.episode import play
from tests.episodes.failure import Failure

EPISODES: Final = 5_000
SOAK: Final = 1_000_000
PIECE: Final = 500
"""Episodes that a process plays at a time."""
MOST_FAILURES: Final = 20
TOLD_S: Final = 30.0
"""Seconds between two lines of progress."""


def seeds(count: int) -> range:
    """The seeds from 0, or the one that the environment names."""
    one = os.environ.get("HOMEOSTAT_SEED")
    return range(count) if one is None else range(int(one), int(one) + 1)


@pytest.mark.slow
def test_every_invariant_holds_in_every_episode() -> None:
    _, failures = play(seeds(EPISODES))
    assert not failures, str(failures[0])


@pytest.mark.soak
def test_every_invariant_holds_in_a_million_episodes(capfd: pytest.CaptureFixture[str]) -> None:
    """Failures are told as they come, and the count goes on: rare ones would cost an hour each otherwise."""
    count, first = int(os.environ.get("HOMEOSTAT_EPISODES", SOAK)), int(os.environ.get("HOMEOSTAT_FIRST", 0))
    last = first + count
    pieces = [range(start, min(start + PIECE, last)) for start in range(first, last, PIECE)]
    cores = len(os.sched_getaffinity(0))
    began = told = time.monotonic()
    done, found = 0, list[Failure]()
    with ProcessPoolExecutor(cores) as pool:
        try:
            for played, failures in pool.map(play, pieces, repeat(False)):
                found += failures
                done += played
                now = time.monotonic()
                with capfd.disabled():
                    for failure in failures:
                        print(f"\n{failure}", end="", flush=True)
                    if now - told >= TOLD_S or done == count:
                        told, rate = now, done / (now - began)
                        left = (count - done) / rate / 60.0
                        broke = f", {len(found)} failed" if found else ""
                        line = f"{done} of {count} episodes, {rate:.0f}/s on {cores} cores{broke}, {left:.0f} min left"
                        print(f"\n{line}", end="", flush=True)
                assert len(found) < MOST_FAILURES
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # what ends this is told now, not after the last piece
    assert not found, f"{len(found)} of {count} episodes failed"

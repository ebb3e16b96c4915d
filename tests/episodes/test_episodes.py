"""Seeded episodes: a deployment's life at random, faults included, with the invariants of the design after each step.

``HOMEOSTAT_SEED=7 pytest tests/episodes`` plays one seed; the soak plays a million, or ``HOMEOSTAT_EPISODES``.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import pytest

from tests.episodes.episode import play

EPISODES: Final = 5_000
SOAK: Final = 1_000_000
PIECE: Final = 1_000
"""Episodes that a process plays at a time."""


def seeds(count: int) -> range:
    """The seeds from 0, or the one that the environment names."""
    one = os.environ.get("HOMEOSTAT_SEED")
    return range(count) if one is None else range(int(one), int(one) + 1)


@pytest.mark.slow
def test_every_invariant_holds_in_every_episode() -> None:
    _, failures = play(seeds(EPISODES))
    assert not failures, str(failures[0])


@pytest.mark.soak
def test_every_invariant_holds_in_a_million_episodes() -> None:
    count = int(os.environ.get("HOMEOSTAT_EPISODES", SOAK))
    cores = len(os.sched_getaffinity(0))
    pieces = [range(start, min(start + PIECE, count)) for start in range(0, count, PIECE)]
    with ProcessPoolExecutor(cores) as pool:
        for done, (_, failures) in enumerate(pool.map(play, pieces), start=1):
            assert not failures, str(failures[0])
            if done % 20 == 0:
                print(f"{done * PIECE} episodes", flush=True)

"""Seeded episodes: a deployment's life at random, faults included, with the invariants of the design after each step.

``HOMEOSTAT_SEED=7 pytest tests/episodes`` plays one seed; ``HOMEOSTAT_SOAK`` is how many the soak plays (1,000,000).
"""

from __future__ import annotations

import os
from typing import Final

import pytest

from tests.episodes.episode import play

EPISODES: Final = 5_000
SOAK: Final = 1_000_000


def seeds(count: int) -> range:
    """The seeds from 0, or the one that the environment names."""
    one = os.environ.get("HOMEOSTAT_SEED")
    return range(count) if one is None else range(int(one), int(one) + 1)


@pytest.mark.slow
def test_every_invariant_holds_in_every_episode() -> None:
    _, failures = play(seeds(EPISODES))
    assert not failures, str(failures[0])

"""Each invariant has a planted bug that it catches."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from daemon.invariants import HELD_ELSEWHERE, INVARIANTS
from tests.episodes.episode import Episode
from tests.episodes.planted import PLANTED
from tests.episodes.stage import stage

MOST: Final = 1500
"""Seeds within which a bug must show."""
DESIGN: Final = frozenset(
    ("E1", "E2", "E3", "E4", "A1", "A2", "A3", "R1", "R2", "R3", "R4", "R5", "R6", "T1", "L1", "L2")
)
"""Every invariant that the design names."""


def test_every_invariant_of_the_design_is_checked_here_or_held_by_tests_that_are_there() -> None:
    checked = {one.name for one in INVARIANTS}
    assert checked | HELD_ELSEWHERE.keys() == DESIGN and not checked & HELD_ELSEWHERE.keys()
    for one in HELD_ELSEWHERE.values():
        for place in one.tests:
            path, _, name = place.partition("::")
            assert f"def {name}(" in (Path(__file__).parents[2] / path).read_text(encoding="utf-8"), place


def test_every_invariant_has_a_planted_bug() -> None:
    assert {name for name, _ in PLANTED.values()} == {one.name for one in INVARIANTS}


@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_caught_by_its_invariant(bug: str) -> None:
    name, put = PLANTED[bug]
    invariant = tuple(one for one in INVARIANTS if one.name == name)
    with stage(), pytest.MonkeyPatch.context() as patch:  # taken back before the stage is
        put(patch)
        for seed in range(MOST):
            found = Episode(seed, invariants=invariant).play()
            if found is not None and found.broken.name == name:
                print(f"{bug}: {name} at seed {seed}, step {found.step}: {found.broken.detail}")
                return
    pytest.fail(f"{MOST} episodes and {name} saw nothing of: {bug}")

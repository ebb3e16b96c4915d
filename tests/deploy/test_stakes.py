"""What evidence was bet with is compared part by part, and an older form by what its writers are known to have had."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.stakes import STAKES, changed
from monitors import bets, owner, ratio

EVERY: dict[str, Any] = dict(STAKES)


def test_what_this_release_froze_is_its_own() -> None:
    assert changed(EVERY) == ()
    assert changed(None) == ()


@pytest.mark.parametrize("part", STAKES)
def test_each_part_that_differs_is_named(part: str) -> None:
    assert changed({**EVERY, part: "1.0:1.0"}) == (part,)
    assert changed({name: value for name, value in EVERY.items() if name != part}) == (part,), "and one that is missing"


def test_a_part_that_this_release_does_not_know_is_another_release() -> None:
    assert changed({**EVERY, "of_tomorrow": "1"}) == ("of_tomorrow",)


def test_of_a_writer_that_froze_the_stakes_on_rewards_alone_nothing_else_is_known() -> None:
    assert changed(bets.PRIOR) == tuple(sorted(STAKES.keys() - {"reward"}))
    assert changed("0.5:1.0") == tuple(sorted(STAKES))


def test_every_number_that_moves_a_wealth_is_in_a_part() -> None:
    """Each module-level number of the three bets: a new one must be named here, and so be thought of."""
    numbers = {
        bets: {
            "STAKES",
            "STAKE_WEIGHTS",
            "LOG_WEIGHTS",
            "CAUTION",
            "LEAST_CHANCE",
            "RENEWAL_UNITS",
            "RENEWAL_SHARE",
            "PRIOR_UNITS",
            "VARIANCE_MIN",
            "VARIANCE_MAX",
        },
        owner: {"EXCESS", "EXCESS_WEIGHTS", "LOG_WEIGHTS"},
        ratio: {"ODDS_FACTORS"},
    }
    for module, known in numbers.items():
        found = {n for n, v in vars(module).items() if n.isupper() and isinstance(v, (int, float, tuple))}
        assert found == known, module.__name__

"""The yearly budget of wrong promotions."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from deploy.alpha_budget import LEAST, YEAR_S, Spent, alpha_for_next, config_for_next, rationed_as, spends
from deploy.rollout import FINAL, LIVE, MAY_PROMOTE, TABLE, Phase
from deploy.rollout_config import RolloutConfig

CONFIG = RolloutConfig()
DAY = 86400.0


def spend(days: list[float]) -> list[Spent]:
    """Rollouts on these days, each with what the rule gave it."""
    spent: list[Spent] = []
    for day in sorted(days):
        spent.append(Spent(day * DAY, alpha_for_next(spent, day * DAY, CONFIG)))
    return spent


def test_the_first_ten_of_a_year_pay_nothing_and_later_ones_more_and_more() -> None:
    alphas = [s.alpha for s in spend([float(d) for d in range(40)])]
    assert alphas[:10] == [0.05] * 10
    assert all(later < earlier for earlier, later in itertools.pairwise(alphas[11:]))


@given(st.lists(st.floats(0.0, 1500.0), max_size=60))
def test_no_year_spends_more_than_its_budget(days: list[float]) -> None:
    spent = spend(days)
    for end in spent:
        year = sum(s.alpha for s in spent if end.at - YEAR_S < s.at <= end.at)
        assert year <= CONFIG.wrong_promotions_a_year + len(spent) * LEAST


def test_what_is_older_than_a_year_is_forgiven() -> None:
    old = [Spent(0.0, 0.05)] * 20
    assert alpha_for_next(old, YEAR_S + 1.0, CONFIG) == 0.05
    assert alpha_for_next(old, YEAR_S - 1.0, CONFIG) == LEAST


def test_every_move_into_an_end_says_whether_alpha_was_spent() -> None:
    """By the table: it was where the candidate met users and might have been promoted, and nowhere else."""
    for (before, _), after in TABLE.items():
        if after in FINAL:
            assert spends(after, before) is (before in LIVE and before in MAY_PROMOTE), (before, after)
            assert spends(after, None) or after in (Phase.DENIED, Phase.KEPT), after
    assert all(spends(phase, None) is (phase in MAY_PROMOTE) for phase in Phase if phase not in FINAL)


def test_a_rollout_of_the_past_keeps_what_the_budget_lowered_and_nothing_else() -> None:
    lowered = config_for_next([Spent(0.0, 0.05)] * 16, 1.0, CONFIG)
    whole = config_for_next([], 1.0, CONFIG)
    lax, strict = RolloutConfig(alpha=0.2), RolloutConfig(alpha=0.001)
    assert rationed_as(lowered, CONFIG).promotion_alpha == lowered.promotion_alpha < 0.05
    assert rationed_as(lowered, lax).promotion_alpha == lowered.promotion_alpha
    assert rationed_as(lowered, strict).promotion_alpha == 0.001
    assert rationed_as(whole, lax) == lax
    assert rationed_as(CONFIG, CONFIG) == CONFIG

"""The shadow: pairs and blocks, the honesty of its null, what it may hold up and what it may end."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.rollout import LIVE, SHADOWED, TABLE, Phase, Signal
from deploy.rollout_config import SHADOW_SHARE, RolloutConfig
from deploy.shadow import REASONS, Judged, Score, Shadow, apply, before_traffic, fold, interval, numbers, plan
from deploy.shadow_config import ShadowConfig

CONFIG = RolloutConfig(shadow=ShadowConfig(share=1.0))
BOUND = math.log(CONFIG.shadow_threshold)
Blocks = list[tuple[bool, bool]]


def folded(blocks: Blocks) -> Shadow:
    state = Shadow()
    for lost, mended in blocks:
        state = apply(state, lost, mended)
    return state


def scores_of(blocks: Blocks) -> list[Score]:
    made: list[Score] = []
    for n, (lost, mended) in enumerate(blocks):
        made += [Score(n, f"c{n}", "a", False, not lost), Score(n, f"w{n}", "b", True, mended)]
    return made


def judged(number: int, corrected: bool, identity: str = "") -> Judged:
    return Judged(f"x{number}", identity or f"i{number}", corrected, float(number))


def fires(blocks: Blocks, bound: float = BOUND) -> bool:
    state = folded(blocks)
    return state.harm.max_log_e >= bound


# ------------------------------------------------------------------------------------------------ the null is honest


def independent(q: float) -> Callable[[random.Random], tuple[bool, bool]]:
    """Two stochastic repliers, right with the same chance whatever the other says."""
    return lambda rng: (rng.random() < q, rng.random() < q)


def opposite(q: float) -> Callable[[random.Random], tuple[bool, bool]]:
    """Equally good, and as seldom right together as that allows: the most that a candidate may lose without harm."""

    def draw(rng: random.Random) -> tuple[bool, bool]:
        place = rng.random()
        return place < q, place >= 1.0 - q

    return draw


def blocks_under(
    draw: Callable[[random.Random], tuple[bool, bool]], confirm: float, correct: float, rng: random.Random, count: int
) -> tuple[Blocks, list[float]]:
    """Blocks and single differences as users make them: they see the champion's reply and confirm or correct it."""
    waiting: tuple[list[bool], list[bool]] = ([], [])
    singles: list[float] = []
    blocks: Blocks = []
    while len(blocks) < count:
        champion, candidate = draw(rng)
        if rng.random() >= (confirm if champion else correct):
            continue
        singles.append(float(candidate) - float(champion))
        waiting[champion].append(candidate)
        if waiting[0] and waiting[1]:
            blocks.append((not waiting[1].pop(0), waiting[0].pop(0)))
    return blocks, singles


@pytest.mark.slow
@pytest.mark.parametrize(("confirm", "correct"), [(0.9, 0.1), (0.1, 0.9)])
@pytest.mark.parametrize("draw", [independent(0.5), independent(0.8), opposite(0.5), opposite(0.7)])
def test_equal_repliers_fire_no_more_often_than_its_alpha_whoever_praises_or_corrects(
    draw: Callable[[random.Random], tuple[bool, bool]], confirm: float, correct: float
) -> None:
    alpha, runs, rng = 0.05, 200, random.Random(11)
    wrong = sum(fires(blocks_under(draw, confirm, correct, rng, 60)[0], math.log(1.0 / alpha)) for _ in range(runs))
    assert wrong / runs <= alpha + 3.0 * math.sqrt(alpha * (1.0 - alpha) / runs)


def test_single_scores_would_call_an_equal_candidate_harmful() -> None:
    """Why there are blocks: users who praise more than they correct tilt the mean of single differences."""
    rng = random.Random(3)
    _, singles = blocks_under(independent(0.8), 0.9, 0.05, rng, 60)
    assert sum(singles) / len(singles) < -0.1
    _, singles = blocks_under(independent(0.8), 0.05, 0.9, rng, 60)
    assert sum(singles) / len(singles) > 0.1


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_a_block_does_not_raise_wealth_on_average_while_losses_are_no_likelier(
    one: float, other: float, before: Blocks
) -> None:
    """The supermartingale itself, from any state: b <= f."""
    lost, mended = min(one, other), max(one, other)
    state = folded(before)
    mean = sum(
        (lost if a else 1.0 - lost) * (mended if b else 1.0 - mended) * numbers(apply(state, a, b))["shadow_e"]
        for a in (False, True)
        for b in (False, True)
    )
    assert mean <= numbers(state)["shadow_e"] * (1.0 + 1e-9)


@pytest.mark.parametrize("only", [(True, True), (False, False)])
def test_losses_that_are_made_up_for_are_no_evidence(only: tuple[bool, bool]) -> None:
    assert numbers(folded([only] * 500))["shadow_e"] == 1.0


def test_a_candidate_that_loses_what_people_confirmed_is_found() -> None:
    rng = random.Random(2)
    blocks = [(rng.random() < 0.25, False) for _ in range(120)]
    assert fires(blocks)
    assert before_traffic(folded(blocks), CONFIG, 0.0, may_wait=True) == (Signal.HARM, "shadow_harm")


# ----------------------------------------------------------------------------------------------------- state and scores


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60), st.integers(0, 60))
def test_a_state_restored_midway_goes_on_bit_for_bit(blocks: Blocks, at: int) -> None:
    restored = Shadow.from_dict(json.loads(json.dumps(folded(blocks[:at]).to_dict())))
    for lost, mended in blocks[at:]:
        restored = apply(restored, lost, mended)
    assert restored == folded(blocks) == fold(scores_of(blocks))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=20), st.randoms(use_true_random=False))
def test_a_score_that_comes_again_changes_nothing(blocks: Blocks, rng: random.Random) -> None:
    scores = scores_of(blocks)
    again = [Score(99, s.exchange_id, s.identity, s.corrected, not s.right) for s in scores if rng.random() < 0.5]
    assert fold([*scores, *again, *scores]) == fold(scores)


def test_one_side_alone_is_no_block() -> None:
    for corrected in (False, True):
        alone = [Score(n, f"x{n}", "a", corrected, False) for n in range(100)]
        assert fold(alone) == Shadow()
        assert interval(alone, 0.05) == (-1.0, 1.0)
        assert plan("r", [judged(n, corrected) for n in range(100)], 0.9, [], 0, CONFIG) == []


def test_the_interval_is_of_mended_minus_lost() -> None:
    low, high = interval(scores_of([(False, True)] * 40 + [(True, False)] * 5), 0.05)
    assert 0.3 < low < 35 / 45 < high


# ------------------------------------------------------------------------------------------------------------- the plan


def test_blocks_are_made_in_order_of_arrival_within_every_bound() -> None:
    pool = [judged(n, n % 3 == 0) for n in range(60)]
    found = plan("r", reversed(pool), 0.7, [], 0, CONFIG)
    assert [(a.exchange_id, b.exchange_id) for a, b in found[:2]] == [("x1", "x0"), ("x2", "x3")]
    assert len(found) == 20
    few = RolloutConfig(shadow=ShadowConfig(share=1.0, max_per_minute=10, max_total=8))
    assert len(plan("r", pool, 0.7, [], 0, few)) == 4
    assert len(plan("r", pool, 0.7, [], 5, few)) == 2
    done = [Score(0, "x1", "i1", False, True), Score(0, "x0", "i0", True, True)]
    left = plan("r", pool, 0.7, done, 0, few)
    assert len(left) == 3
    assert not {"x0", "x1"} & {one.exchange_id for pair in left for one in pair}


@pytest.mark.parametrize("reward", [0.49, math.nan])
def test_no_block_where_the_champion_is_mostly_wrong_or_nothing_is_known(reward: float) -> None:
    assert plan("r", [judged(n, n % 2 == 0) for n in range(40)], reward, [], 0, CONFIG) == []


def test_an_identity_has_three_scores_in_a_rollout() -> None:
    pool = [judged(n, n % 2 == 0, "loud") for n in range(40)]
    assert len(plan("r", pool, 0.7, [], 0, CONFIG)) == 1
    done = [Score(0, f"y{n}", "loud", False, False) for n in range(2)]
    assert plan("r", pool, 0.7, done, 0, CONFIG) == []


def test_the_share_is_a_sample_of_exchanges_that_a_restart_draws_again() -> None:
    pool = [judged(n, n % 2 == 0) for n in range(2000)]
    config = RolloutConfig(shadow=ShadowConfig(share=0.25, max_per_minute=6000, max_total=20_000))
    found = plan("r", pool, 0.7, [], 0, config)
    assert found == plan("r", pool, 0.7, [], 0, config)
    assert 200 <= len(found) <= 280
    assert found != plan("another", pool, 0.7, [], 0, config)


# ------------------------------------------------------------------------------------------------- what it may decide


def test_it_waits_for_scores_so_long_and_never_leads_forward() -> None:
    few, many = folded([(False, True)] * 3), folded([(False, True)] * 100)
    assert before_traffic(few, CONFIG, 10.0, may_wait=True) == (None, "shadow_waits_for_scores")
    assert before_traffic(Shadow(), CONFIG, 10.0, may_wait=True) == (None, "shadow_waits_for_scores")
    for state, waited, may_wait in ((many, 10.0, True), (few, 600.0, True), (Shadow(), 600.0, True), (few, 0.0, False)):
        assert before_traffic(state, CONFIG, waited, may_wait=may_wait) is None


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=80),
    st.floats(0.0, 2000.0),
    st.booleans(),
)
def test_it_gives_no_signal_but_harm(blocks: Blocks, waited: float, may_wait: bool) -> None:
    found = before_traffic(folded(blocks), CONFIG, waited, may_wait=may_wait)
    assert found is None or found[0] in (None, Signal.HARM)
    assert found is None or found[1] in REASONS


def test_harm_before_traffic_denies_and_needs_a_proof_first() -> None:
    assert {p for (p, s), to in TABLE.items() if s is Signal.HARM and to is Phase.DENIED} == set(SHADOWED)
    assert {p for (p, s), to in TABLE.items() if s is Signal.HARM and to is Phase.ROLLED_BACK} == set(LIVE)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1])
def test_both_tests_of_harm_share_one_alpha(alpha: float) -> None:
    on, off = RolloutConfig(alpha=alpha, shadow=ShadowConfig(share=0.1)), RolloutConfig(alpha=alpha)
    assert 1.0 / on.harm_threshold + 1.0 / on.shadow_threshold == pytest.approx(alpha)
    assert off.harm_threshold == off.threshold == 1.0 / alpha
    assert 0.0 < SHADOW_SHARE < 1.0

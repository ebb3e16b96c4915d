"""The forecast of a rollout: its two steps, its waits, and that a hopeless one is seen as hopeless."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

import pytest

from deploy.many_rollouts import PHASES
from deploy.many_worlds import play
from deploy.power import Outlook, forecast, units_to_harm, units_to_verdict
from deploy.rollout import Phase
from deploy.rollout_config import PRESETS, Preset, RolloutConfig
from deploy.simulation import World, simulate

OUTLOOK = Outlook(0.1, 0.3, 0.3, 0.24, units_per_s=1.0)


# medians of a thousand simulated runs, control .6 (docs/decisions.md)
@pytest.mark.parametrize(("share", "units"), [(0.1, 5666), (0.5, 2099)])
def test_superiority_of_five_points_is_found_when_the_benchmark_finds_it(share: float, units: float) -> None:
    assert units_to_verdict(0.05, 0.24, share, 0.05) == pytest.approx(units, rel=0.1)


@pytest.mark.parametrize(
    ("loss", "share", "units"),
    [(0.05, 0.1, 7940), (0.05, 0.5, 2930), (0.1, 0.1, 2032), (0.1, 0.5, 752), (0.2, 0.1, 558), (0.2, 0.5, 212)],
)
def test_harm_is_found_when_the_benchmark_finds_it(loss: float, share: float, units: float) -> None:
    assert units_to_harm(loss, 0.24, share, RolloutConfig()) == pytest.approx(units, rel=0.1)


def test_no_effect_never_reaches_a_verdict() -> None:
    assert units_to_verdict(0.0, 0.24, 0.5, 0.05) == math.inf
    outlook = Outlook(0.0, 0.0, 0.3, 0.24, 10.0)
    assert not forecast(outlook, RolloutConfig()).reaches(1e12)
    assert forecast(replace(OUTLOOK, slice_share=0.0), RolloutConfig()).seconds == math.inf


def test_little_feedback_misses_the_deadline_and_much_makes_it() -> None:
    config = RolloutConfig(deadline_s=86400.0, maturity_s=60.0)
    good = Outlook(gain_overall=0.1, gain_in_slice=0.5, slice_share=0.3, reward_variance=0.24, units_per_s=1.0)
    assert forecast(good, config).reaches(config.deadline_s)
    assert not forecast(replace(good, units_per_s=1e-4), config).reaches(config.deadline_s)
    assert not forecast(replace(good, units_per_s=0.0), config).reaches(config.deadline_s)


def test_what_the_first_step_gathers_counts_in_the_second() -> None:
    quick = RolloutConfig(maturity_s=1.0, lateness_s=0.0)
    longer = quick.model_copy(update={"min_units_per_arm": 60})
    short, long = (forecast(OUTLOOK, config) for config in (quick, longer))
    assert long.units_small == 600.0 > short.units_small
    weight = 0.09 / 0.25
    assert short.units_half - long.units_half == pytest.approx(weight * (long.units_small - short.units_small))
    sure = forecast(replace(OUTLOOK, gain_overall=0.9), quick)  # so that the gain on the slice alone is waited for
    alone = units_to_verdict(0.3, 0.24, 0.5, 0.05) / 0.3
    assert sure.units_half == pytest.approx(alone - weight * (sure.units_small + 1.0), rel=0.01)


def test_units_that_mature_while_the_step_changes_may_be_enough() -> None:
    config = RolloutConfig()
    slow, busy = (forecast(replace(OUTLOOK, units_per_s=rate), config) for rate in (0.001, 1.0))
    assert slow.waits_s - slow.probation_s == pytest.approx(2.0 * 3605.0)
    assert busy.waits_s - busy.probation_s == pytest.approx(3605.0)
    assert busy.units_half < 3605.0
    assert busy.seconds == pytest.approx(busy.units_small + busy.units_half + busy.waits_s)


def test_a_little_more_feedback_never_takes_longer() -> None:
    config = RolloutConfig()
    seconds = [forecast(replace(OUTLOOK, units_per_s=1e-3 * 1.25**n), config).seconds for n in range(36)]
    assert seconds == sorted(seconds, reverse=True)


def test_probation_ends_by_its_units_or_its_hours() -> None:
    config = RolloutConfig()
    for sessions, seconds in ((0.0, 2000.0), (10.0, 200.0)):
        assert forecast(replace(OUTLOOK, sessions_per_s=sessions), config).probation_s == seconds
    assert forecast(replace(OUTLOOK, units_per_s=1e-3), config).probation_s == config.probation_s
    nobody = forecast(replace(OUTLOOK, units_per_s=1e-5), config)
    assert nobody.probation_s == pytest.approx(config.min_units_per_arm / 1e-5), "the hours alone promote nobody"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_first_step_has_its_units_and_a_loss_is_seen_sooner_at_the_second_share(preset: Preset) -> None:
    config = RolloutConfig(preset=preset)
    expected = forecast(OUTLOOK, config)
    assert config.min_units_per_arm / config.share_small <= expected.units_small < math.inf
    small, half = (units_to_harm(0.1, 0.24, share, config) for share in (config.share_small, config.share_half))
    assert half < small < math.inf
    assert units_to_verdict(0.1, 0.24, config.share_half, config.alpha) < half, "rewards carry the rest's weight"


def test_strict_takes_longest_and_a_rationed_alpha_asks_for_more_units() -> None:
    strict, balanced, fast = (forecast(OUTLOOK, RolloutConfig(preset=preset)).seconds for preset in PRESETS)
    assert strict > balanced > fast
    config = RolloutConfig(maturity_s=1.0)
    plain, rationed = (forecast(OUTLOOK, config.model_copy(update={"alpha_promote": alpha})) for alpha in (None, 0.001))
    assert rationed.units_small + rationed.units_half > 1.5 * (plain.units_small + plain.units_half)


# ---------------------------------------------------------------------------------------------- against whole rollouts


def moments(world: World, config: RolloutConfig, runs: int, units: int) -> tuple[float, float]:
    """Medians of the units assigned when the second step and probation began."""
    many = play(world, config, runs, units, seed=8)
    half, probation = (many.moved_at[PHASES.index(phase)] for phase in (Phase.CANARY_HALF, Phase.PROBATION))
    return median(half.tolist()), median(probation.tolist())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "gain", "part"),
    [("strict", 0.2, 0.5), ("balanced", 0.1, 0.5), ("balanced", 0.2, 0.5), ("balanced", 0.2, 0.3), ("fast", 0.2, 0.5)],
)
def test_steps_come_when_simulated_rollouts_take_them(preset: Preset, gain: float, part: float) -> None:
    """Rated at once, so that nothing matures; probation is let go on. With a slice of three tenths a gain on it and a
    loss ruled out over all are as hard to show: waiting for both takes a quarter longer than for either.
    """
    config = RolloutConfig(preset=preset, maturity_s=1e-6, lateness_s=0.0, probation_units=10**9)
    world = World(control=0.5, slice_share=part, effect_in_slice=gain)
    expected = forecast(Outlook(part * gain, gain, part, 0.25, 1.0), config)
    total = expected.units_small + expected.units_half
    half, probation = moments(world, config, 120, int(1.6 * total))
    assert half == pytest.approx(expected.units_small, rel=0.25)
    assert probation == pytest.approx(total, rel=0.18)


@pytest.mark.slow
def test_seconds_are_those_of_rollouts_whose_feedback_comes_late() -> None:
    """A third of the sessions is rated, up to minutes later: through the production code."""
    config = RolloutConfig(preset="fast", maturity_s=200.0, lateness_s=5.0, probation_units=200)
    world = World(control=0.4, effect=0.3, feedback=1 / 3, delay_good_s=40.0, delay_bad_s=20.0, sessions_per_s=2.0)
    expected = forecast(Outlook(0.3, 0.3, 1.0, 0.25, 2 / 3, sessions_per_s=2.0), config)
    found = [simulate(world, config, seed, 2400) for seed in range(11)]
    ends = [step.at if (step := course.reached(Phase.PROMOTED)) else math.inf for course in found]
    assert median(ends) == pytest.approx(expected.seconds, rel=0.25)


def test_out_of_reach_is_infinite_and_never_no_number() -> None:
    """The first step cannot be shown, though the slice gains."""
    found = forecast(Outlook(-0.1, 0.1, 1.0, 0.25, units_per_s=1.0), RolloutConfig())
    assert (found.units_small, found.units_half, found.seconds) == (math.inf, math.inf, math.inf)


def test_people_count_for_so_many_units_and_no_more() -> None:
    config = RolloutConfig()
    free = forecast(OUTLOOK, config)
    wanted = free.units_small + free.units_half
    for spare, reached in ((1.01, True), (0.99, False)):
        people = spare * wanted / config.identity_cap
        found = forecast(replace(OUTLOOK, people=people), config)
        assert found.reaches(math.inf) and math.isfinite(found.seconds) is reached
        assert found.most_units == pytest.approx(spare * wanted)
    rated = forecast(replace(OUTLOOK, people=wanted, sessions_per_s=10.0), config)
    assert rated.most_units == pytest.approx(0.3 * wanted), "a tenth of the sessions is rated"

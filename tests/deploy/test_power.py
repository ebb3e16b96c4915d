"""The forecast: its orders of magnitude, and that a hopeless rollout is seen as hopeless."""

import math
from statistics import median

import numpy as np
import pytest

from deploy.power import Outlook, Traffic, expected_verdicts, forecast, units_to_verdict
from deploy.rollout_config import PRESETS, Preset, RolloutConfig
from monitors.bets import ContrastSpec
from monitors.many import ManyContrasts


@pytest.mark.parametrize(("share", "units"), [(0.1, 7000), (0.5, 2550)])
def test_units_for_five_points_are_of_the_simulated_size(share: float, units: float) -> None:
    assert units_to_verdict(0.05, 0.24, share, 0.05) == pytest.approx(units, rel=0.15)


def test_no_effect_never_reaches_a_verdict() -> None:
    assert units_to_verdict(0.0, 0.24, 0.5, 0.05) == math.inf
    outlook = Outlook(0.0, 0.0, 0.3, 0.24, 10.0)
    assert not forecast(outlook, RolloutConfig()).reaches(1e12)


def test_little_feedback_misses_the_deadline_and_much_makes_it() -> None:
    config = RolloutConfig(deadline_s=86400.0, maturity_s=60.0)
    good = Outlook(gain_overall=0.1, gain_in_slice=0.5, slice_share=0.3, reward_variance=0.24, units_per_s=1.0)
    poor = Outlook(0.1, 0.5, 0.3, 0.24, units_per_s=1e-4)
    assert forecast(good, config).reaches(config.deadline_s)
    assert not forecast(poor, config).reaches(config.deadline_s)


def simulated(effect: float, share: float, runs: int = 150) -> float:
    """Median units until the e-value reaches 20, of the vectorised process."""
    rng, many = np.random.default_rng(3), ManyContrasts(runs, ContrastSpec("promote"))
    found = np.full(runs, np.inf)
    for unit in range(1, 4000):
        canary = rng.random(runs) < share
        reward = (rng.random(runs) < 0.5 + effect * (canary - share)).astype(np.float64)
        many.update(canary, np.full(runs, share), reward)
        found = np.where(many.log_e() >= math.log(20.0), np.minimum(found, unit), found)
        if np.isfinite(found).mean() > 0.5:
            break
    return median(found.tolist())


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "share"), [(0.3, 0.1), (0.2, 0.1), (0.2, 0.5), (0.1, 0.5)])
def test_the_formula_agrees_with_the_simulated_process(effect: float, share: float) -> None:
    assert units_to_verdict(effect, 0.25, share, 0.05) == pytest.approx(simulated(effect, share), rel=0.35)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_an_operator_may_expect(preset: Preset) -> None:
    config = RolloutConfig(preset=preset)
    gain = {e.verdict: e for e in expected_verdicts(Traffic(2000.0, 0.1, 0.05, 0.4, 0.3), config)}
    assert math.isinf(gain["harm_small"].units) and gain["harm_small"].underpowered
    assert gain["first_step"].units < gain["promotion"].units < math.inf
    assert gain["first_step"].units >= config.min_units_per_arm / config.share_small
    assert gain["promotion"].hours > gain["promotion"].units / 200.0, "the maturity windows come on top"
    loss = {e.verdict: e for e in expected_verdicts(Traffic(2000.0, 0.1, -0.1), config)}
    assert loss["harm_half"].units < loss["harm_small"].units < math.inf
    assert math.isinf(loss["promotion"].units)


def test_too_little_traffic_is_called_underpowered() -> None:
    config = RolloutConfig()
    few = {e.verdict: e.underpowered for e in expected_verdicts(Traffic(20.0, 0.05, 0.02, 0.1, 0.2), config)}
    many = {e.verdict: e.underpowered for e in expected_verdicts(Traffic(2e5, 0.05, 0.02, 0.1, 0.2), config)}
    assert few["promotion"] and not many["promotion"]


def test_a_rationed_alpha_asks_for_more_units() -> None:
    outlook = Outlook(0.1, 0.3, 0.3, 0.24, 1.0)
    plain, rationed = (forecast(outlook, RolloutConfig(alpha_promote=a)) for a in (None, 0.001))
    assert rationed.units_half > 1.5 * plain.units_half

"""The forecast: its orders of magnitude, and that a hopeless rollout is seen as hopeless."""

import math

import pytest

from deploy.power import Outlook, forecast, units_to_verdict
from deploy.rollout import RolloutConfig


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

"""Traffic rates from recorded events, and the forecast table they lead to."""

from __future__ import annotations

import pytest

from daemon.power_table import Assumed, assumed, power_table, under
from daemon.stored_rewards import Rewards
from daemon.traffic_rates import Rates, rates
from deploy.power import units_to_verdict
from deploy.rollout import RolloutConfig
from deploy.rollout_config import PRESETS, Preset
from streams.events import Trust
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said


def test_rates_count_sessions_not_exchanges_and_trusted_feedback_alone() -> None:
    recent = [
        exchange(0),
        exchange(1, session="s0"),
        exchange(2),
        exchange(3),
    ]
    spoken = {
        "x0": [said(0, "x0", value=True)],
        "x1": [said(1, "x1", value=False)],
        "x2": [said(2, "x2", value=True)],
        "x3": [said(3, "x3", value=False, trust=Trust.BARE)],
    }
    found = rates(recent, Rewards(spoken), now=1000.0 + 7200.0)
    assert found is not None
    assert (found.sessions, found.sessions_per_hour) == (3, 1.5)
    assert found.feedback_rate == pytest.approx(2 / 3)
    assert found.reward_variance == pytest.approx((2.5 + 0.125) / 11.0), "of 0.5 and 1, and of ten throws of a coin"
    assert rates([], Rewards({}), 1.0) is None


def test_what_is_given_wins_and_missing_traffic_is_no_basis() -> None:
    seen = Rates(100.0, 0.5, 0.1, 50, 1800.0)
    both = assumed(10.0, 0.2, 1.0, None)
    assert both is not None and (both.units_per_hour, both.reward_variance, both.source) == (2.0, 0.25, "given")
    half = assumed(None, 0.2, 1.0, seen)
    assert half is not None and (half.units_per_hour, half.reward_variance) == (20.0, 0.1)
    assert half.source == "recent_traffic"
    assert assumed(None, 0.2, 1.0, None) is None


def test_larger_effects_are_found_sooner_and_harm_needs_its_weight() -> None:
    config = RolloutConfig()
    rows = power_table(Assumed(1000.0, 0.3), (), (), config)["rows"]
    for name in ("units_small", "units_half", "hours_promoted", "units_harm", "units_harm_half"):
        values = [row[name] for row in rows]
        assert values == sorted(values, reverse=True), name
    first = rows[0]
    assert first["units_harm"] > units_to_verdict(0.02, 0.25, config.share_small, config.alpha)
    assert first["hours_small"] == pytest.approx(first["units_small"] / 300.0 + 3605.0 / 3600.0)
    assert all(row["units_harm_half"] < row["units_harm"] for row in rows), "half of the sessions decide sooner"
    assert first["hours_harm_half"] == pytest.approx(first["units_harm_half"] / 300.0)
    probation_h = (first["hours_promoted"] - first["hours_small"] - first["hours_half"]) * 1000.0
    assert probation_h == pytest.approx(config.probation_units), "probation counts all sessions, rated or not"
    larger = power_table(Assumed(1000.0, 0.3), (0.05,), (0.05, 0.3), config)["rows"]
    assert [row["share_small"] for row in larger] == [0.05, 0.3]
    assert larger[0]["units_small"] > larger[1]["units_small"]


def test_without_feedback_nothing_is_in_reach() -> None:
    row = power_table(Assumed(1000.0, 0.0), (0.1,), (), RolloutConfig())["rows"][0]
    assert (row["hours_promoted"], row["hours_half"], row["reaches_deadline"]) == (None, None, False)
    assert (row["hours_harm"], row["hours_harm_half"]) == (None, None)
    assert row["units_small"] > 0


def test_a_slice_that_few_sessions_meet_takes_longer() -> None:
    whole, part = (
        power_table(Assumed(1000.0, 0.3, slice_share=share), (0.1,), (), RolloutConfig())["rows"][0]
        for share in (1.0, 0.2)
    )
    assert part["hours_promoted"] > whole["hours_promoted"]


@pytest.mark.parametrize("preset", PRESETS)
def test_another_preset_changes_what_the_config_left_to_its_own(preset: Preset) -> None:
    config = RolloutConfig(preset="strict", margin_half=0.03, maturity_s=60.0)
    changed = under(config, preset)
    assert changed == RolloutConfig(preset=preset, margin_half=0.03, maturity_s=60.0)
    assert under(config, None) == config == under(config, "strict")
    policy = power_table(Assumed(1000.0, 0.3), (), (), changed)["policy"]
    assert (policy["preset"], policy["alpha"], policy["margin_half"]) == (preset, changed.alpha, 0.03)


def test_a_preset_keeps_what_the_year_has_left() -> None:
    assert under(RolloutConfig(alpha_promote=0.001), "fast").promotion_alpha == 0.001


def test_no_hours_are_negative_and_people_are_a_limit() -> None:
    config = RolloutConfig()
    (row,) = power_table(Assumed(100.0, 0.3), (0.5,), (), config)["rows"]
    assert row["hours_half"] == 0.0 and row["most_units"] is None
    found = power_table(Assumed(1000.0, 0.3, people=20.0), (0.2,), (), config)
    (row,) = found["rows"]
    assert found["assumed"]["people"] == 20.0 and found["policy"]["identity_cap"] == 3
    assert row["most_units"] == pytest.approx(18.0) and row["units_small"] > 18.0
    assert (row["hours_promoted"], row["reaches_deadline"]) == (None, False)

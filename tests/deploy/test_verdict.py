"""Every reason a verdict can give, and that missing or broken numbers never promote."""

from __future__ import annotations

import math
import random

import pytest

from deploy.evidence import Kill
from deploy.fleet import FLEET_REASONS
from deploy.guards import GUARDS
from deploy.processes import Processes, apply
from deploy.rollout import LIVE, Phase, RolloutConfig, Signal
from deploy.shadow_config import ShadowConfig
from deploy.unit_events import Path, UnitEvent
from deploy.verdict import PROMOTING, REASONS, VOIDS, judge, needs, numbers

CONFIG = RolloutConfig(probation_units=50, probation_s=100.0)


def evidence(
    *, canary: float, control: float, units: int = 2000, path: Path = Path.PROMOTE, share: float = 0.5, seed: int = 1
) -> Processes:
    """Units on one path whose value is 1 with the given chance; for rare events the chance that there is one."""
    rng, state = random.Random(seed), Processes()
    for i in range(units):
        arm = rng.random() < share
        hit = rng.random() < (canary if arm else control)
        if path in GUARDS and not hit:
            continue
        event = UnitEvent(i, path, i, arm, share, float(hit), True, float(i))
        state = apply(state, event, CONFIG)
    return state


def signal(
    phase: Phase, state: Processes, kill: Kill | None = None, units: int = 0, seconds: float = 0.0
) -> tuple[Signal | None, str]:
    found = judge(phase, state, kill or Kill(), CONFIG, units, seconds)
    return found.signal, found.reason


def test_no_data_never_passes_any_step() -> None:
    for phase in (Phase.CANARY_SMALL, Phase.CANARY_HALF, Phase.AWAITING_PROMOTION):
        assert signal(phase, Processes())[0] is None


def test_the_first_step_needs_units_in_both_arms_and_evidence() -> None:
    good = evidence(canary=0.9, control=0.6)
    assert signal(Phase.CANARY_SMALL, good) == (Signal.STEP_PASSED, "non_inferior")
    few = evidence(canary=0.9, control=0.6, units=30)
    assert signal(Phase.CANARY_SMALL, few) == (None, "too_few_units")
    worse = evidence(canary=0.45, control=0.6, units=400)
    assert signal(Phase.CANARY_SMALL, worse) == (None, "not_yet_non_inferior")


def test_the_second_step_needs_superiority_in_the_slice_and_no_loss_over_all() -> None:
    better = evidence(canary=0.9, control=0.6)
    assert signal(Phase.CANARY_HALF, better) == (Signal.STEP_PASSED, "superior_in_slice_and_non_inferior")
    same = evidence(canary=0.6, control=0.6)
    assert signal(Phase.CANARY_HALF, same) == (None, "not_yet_superior_in_slice")


def test_superiority_in_the_slice_alone_is_not_enough() -> None:
    rng, state = random.Random(5), Processes()
    for i in range(3000):
        arm, inside = rng.random() < 0.5, rng.random() < 0.3
        chance = (0.9 if arm else 0.3) if inside else (0.4 if arm else 0.8)
        event = UnitEvent(i, Path.PROMOTE, i, arm, 0.5, float(rng.random() < chance), inside, float(i))
        state = apply(state, event, CONFIG)
    assert signal(Phase.CANARY_HALF, state) == (None, "not_yet_non_inferior")


@pytest.mark.parametrize(
    ("path", "canary", "control", "reason"),
    [
        (Path.HARM, 0.3, 0.7, "reward_harm"),
        (Path.ERROR, 0.2, 0.01, "more_errors"),
        (Path.FIRST_TOKEN, 0.3, 0.02, "slower_first_token"),
        (Path.PACE, 0.3, 0.02, "slower_tokens"),
        (Path.FLAG, 0.2, 0.01, "more_safety_flags"),
        (Path.REFUSAL, 0.3, 0.02, "more_refusals"),
        (Path.LENGTH, 0.6, 0.03, "longer_replies"),
        (Path.FORMAT, 0.4, 0.03, "broken_form"),
        (Path.AGREEMENT, 0.4, 0.03, "more_agreement"),
        (Path.QUESTION, 0.5, 0.03, "more_questions"),
    ],
)
def test_harm_of_each_kind_goes_back_from_every_live_phase(
    path: Path, canary: float, control: float, reason: str
) -> None:
    state = evidence(canary=canary, control=control, path=path)
    for phase in LIVE:
        assert signal(phase, state) == (Signal.HARM, reason)


def test_harm_is_looked_at_before_a_pass() -> None:
    state = evidence(canary=0.9, control=0.6)
    rng = random.Random(7)
    for i in range(600):
        arm = rng.random() < 0.5
        state = apply(state, UnitEvent(i, Path.HARM, i, arm, 0.5, float(not arm), True, 0.0), CONFIG)
    assert signal(Phase.CANARY_HALF, state)[0] is Signal.HARM


def test_the_kill_switch_needs_errors_from_several_sessions() -> None:
    many = frozenset(str(i) for i in range(CONFIG.kill_sessions))
    assert signal(Phase.CANARY_SMALL, Processes(), Kill(20, many)) == (Signal.KILL_SWITCH, "consecutive_server_errors")
    assert signal(Phase.CANARY_SMALL, Processes(), Kill(50, frozenset({"one"})))[0] is None


def test_a_wrong_sample_ratio_voids_the_canary() -> None:
    state = Processes()
    for i in range(300):
        state = apply(state, UnitEvent(i, Path.ASSIGNED, i, i % 10 < 3, 0.1, 1.0, True, 0.0), CONFIG)
    assert signal(Phase.CANARY_SMALL, state) == (Signal.VOID, "sample_ratio_mismatch")


def test_probation_without_units_promotes_nobody_however_long_it_lasts() -> None:
    few = CONFIG.min_units_per_arm - 1
    for units in (0, few):
        found = signal(Phase.PROBATION, Processes(), units=units, seconds=10.0 * CONFIG.probation_s)
        assert found == (None, "too_few_units_in_probation")


def test_probation_ends_by_units_or_by_time() -> None:
    assert signal(Phase.PROBATION, Processes(), units=49) == (None, "in_probation")
    assert signal(Phase.PROBATION, Processes(), units=50) == (Signal.NO_HARM, "no_harm_in_probation")
    least = CONFIG.min_units_per_arm
    assert signal(Phase.PROBATION, Processes(), units=least) == (None, "in_probation")
    assert signal(Phase.PROBATION, Processes(), units=least, seconds=100.0) == (
        Signal.NO_HARM,
        "no_harm_in_probation",
    )


def test_a_second_probation_ends_by_rated_units_or_by_time_and_never_without_both_arms() -> None:
    second, late = Phase.SECOND_PROBATION, 10.0 * CONFIG.probation_s
    rated = evidence(canary=0.6, control=0.6, units=400)
    enough = rated._replace(rewarded=CONFIG.probation_units)
    assert signal(second, rated, units=10_000) == (None, "in_second_probation"), "units that nobody rated say nothing"
    assert signal(second, enough) == (Signal.NO_HARM, "no_harm_in_second_probation")
    assert signal(second, rated, seconds=CONFIG.probation_s) == (Signal.NO_HARM, "no_harm_in_second_probation")
    one_arm = enough._replace(matured_control=CONFIG.min_units_per_arm - 1)
    assert signal(second, one_arm) == (None, "in_second_probation")
    assert signal(second, one_arm, seconds=late) == (None, "too_few_units_in_second_probation")
    assert signal(second, Processes(), seconds=late) == (None, "too_few_units_in_second_probation")


def test_outside_the_live_phases_evidence_says_nothing() -> None:
    assert signal(Phase.SOAKING, evidence(canary=0.0, control=1.0, path=Path.HARM)) == (None, "not_live")
    assert signal(Phase.AWAITING_PROMOTION, Processes()) == (None, "awaiting_approval")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("path", list(Path))
def test_values_that_are_not_finite_change_nothing(path: Path, value: float) -> None:
    assert apply(Processes(), UnitEvent(1, path, 0, True, 0.5, value, True, 0.0), CONFIG) == Processes()


def test_nothing_seen_is_no_harm() -> None:
    assert numbers(Processes())["e_harm"] == pytest.approx(1.0)


def rated_only_by(arm: bool, share: float = 0.5, units: int = 60) -> Processes:
    """Units of one arm are rated, those of the other never."""
    state = Processes()
    for i in range(units):
        state = apply(state, UnitEvent(i, Path.HARM, i, arm, share, 1.0, True, 0.0), CONFIG)
    return state


@pytest.mark.parametrize("arm", [True, False])
def test_feedback_from_one_arm_only_voids_the_canary(arm: bool) -> None:
    assert signal(Phase.CANARY_HALF, rated_only_by(arm)) == (Signal.VOID, "feedback_rate_differs")


def test_a_somewhat_different_feedback_rate_voids_nothing() -> None:
    rng, state = random.Random(8), Processes()
    for i in range(3000):
        arm = rng.random() < 0.5
        if rng.random() < (0.2 if arm else 0.3):
            state = apply(state, UnitEvent(i, Path.HARM, i, arm, 0.5, float(rng.random() < 0.6), True, 0.0), CONFIG)
    assert signal(Phase.CANARY_HALF, state)[0] is None


def test_trouble_of_the_whole_fleet_is_a_kill_switch() -> None:
    for reason in FLEET_REASONS:
        assert signal(Phase.PROBATION, Processes(), Kill(fleet=reason)) == (Signal.KILL_SWITCH, reason)


def test_the_users_own_query_is_a_kill_switch_in_every_live_phase_and_says_nothing_before() -> None:
    for phase in (Phase.CANARY_SMALL, Phase.CANARY_HALF, Phase.AWAITING_PROMOTION, Phase.PROBATION):
        assert signal(phase, evidence(canary=0.9, control=0.6), Kill(query="errors")) == (
            Signal.KILL_SWITCH,
            "user_query",
        )
    assert signal(Phase.PROVING, Processes(), Kill(query="errors")) == (None, "not_live")


def test_a_smaller_alpha_of_promotion_asks_more_of_promotion_alone() -> None:
    found = evidence(canary=0.62, control=0.6, units=900)
    rationed = CONFIG.model_copy(update={"alpha_promote": 1e-6})
    assert judge(Phase.CANARY_SMALL, found, Kill(), CONFIG, 0, 0.0).reason == "non_inferior"
    assert judge(Phase.CANARY_SMALL, found, Kill(), rationed, 0, 0.0).reason == "not_yet_non_inferior"
    harmful = evidence(canary=0.3, control=0.7, path=Path.HARM)
    assert judge(Phase.CANARY_SMALL, harmful, Kill(), rationed, 0, 0.0).signal is Signal.HARM


def test_each_process_decides_at_the_e_value_that_is_told_of_it() -> None:
    """A little less of it does nothing, whatever alpha is: what ``why`` compares with is what judged."""
    better = evidence(canary=0.62, control=0.6, units=900)
    unlike, silent, split = Processes(), Processes(), Processes()
    for i in range(60):
        unlike = apply(unlike, UnitEvent(i, Path.ASSIGNED, i, i % 10 < 3, 0.1, 1.0, True, 0.0), CONFIG)
        silent = apply(silent, UnitEvent(i, Path.HARM, i, i % 10 < 1, 0.5, 1.0, True, 0.0), CONFIG)
    rng = random.Random(5)
    for i in range(600):  # much better on the slice and somewhat worse elsewhere, so that the loss decides
        arm, inside = rng.random() < 0.5, rng.random() < 0.3
        chance = (0.9 if arm else 0.3) if inside else (0.5 if arm else 0.65)
        event = UnitEvent(i, Path.PROMOTE, i, arm, 0.5, float(rng.random() < chance), inside, float(i))
        split = apply(split, event, CONFIG)
    states = {
        "sample_ratio": (unlike, Phase.CANARY_SMALL, "sample_ratio_mismatch"),
        "feedback_rate": (silent, Phase.CANARY_SMALL, "feedback_rate_differs"),
        "harm": (evidence(canary=0.3, control=0.7, units=300, path=Path.HARM), Phase.CANARY_SMALL, "reward_harm"),
        "non_inferior_small": (better, Phase.CANARY_SMALL, "non_inferior"),
        "non_inferior_half": (split, Phase.CANARY_HALF, "superior_in_slice_and_non_inferior"),
        "superior_in_slice": (
            evidence(canary=0.66, control=0.6, units=900),
            Phase.CANARY_HALF,
            "superior_in_slice_and_non_inferior",
        ),
    }
    assert {*VOIDS, *PROMOTING, "harm"} == set(states)
    for process, (state, phase, reason) in states.items():
        e = numbers(state)[f"e_{process}"]
        at_alpha_1 = needs(process, CONFIG.model_copy(update={"alpha": 1.0}))
        for factor, decides in ((0.999, True), (1.001, False)):
            config = CONFIG.model_copy(update={"alpha": at_alpha_1 / (e * factor)})
            assert needs(process, config) == pytest.approx(e * factor)
            assert (judge(phase, state, Kill(), config, 0, 0.0).reason == reason) is decides, (process, factor)


def every_reason() -> set[str]:
    """The reasons that the states of this file lead to."""
    good, same = evidence(canary=0.9, control=0.6, units=400), evidence(canary=0.6, control=0.6, units=400)
    many = frozenset(str(i) for i in range(CONFIG.kill_sessions))
    skewed = Processes()
    for i in range(200):
        skewed = apply(skewed, UnitEvent(i, Path.ASSIGNED, i, i % 10 < 3, 0.1, 1.0, True, 0.0), CONFIG)
    small, half, probation = Phase.CANARY_SMALL, Phase.CANARY_HALF, Phase.PROBATION
    late = judge(probation, same, Kill(), CONFIG, 0, CONFIG.probation_s).reason
    second = {
        judge(Phase.SECOND_PROBATION, s, Kill(), CONFIG, 0, CONFIG.probation_s).reason for s in (same, Processes())
    }
    looks = [
        (Phase.SOAKING, good, Kill(), 0),
        (small, Processes(), Kill(), 0),
        (small, good, Kill(), 0),
        (small, evidence(canary=0.4, control=0.6, units=400), Kill(), 0),
        (half, good, Kill(), 0),
        (half, same, Kill(), 0),
        (probation, same, Kill(), 0),
        (probation, same, Kill(), CONFIG.probation_units),
        (Phase.SECOND_PROBATION, Processes(), Kill(), 0),
        (Phase.AWAITING_PROMOTION, good, Kill(), 0),
        (small, good, Kill(20, many), 0),
        *((small, good, Kill(fleet=reason), 0) for reason in FLEET_REASONS),
        (small, good, Kill(query="errors"), 0),
        (small, skewed, Kill(), 0),
        (half, rated_only_by(True), Kill(), 0),
        (half, evidence(canary=0.2, control=0.8, units=400, path=Path.HARM), Kill(), 0),
        *((half, evidence(canary=0.8, control=0.02, units=600, path=path), Kill(), 0) for path in GUARDS),
    ]
    return {
        late,
        *second,
        *(judge(phase, state, kill, CONFIG, units, 0.0).reason for phase, state, kill, units in looks),
    }


def test_every_reason_is_reached_and_none_is_missing_from_the_list() -> None:
    assert every_reason() == REASONS


def test_with_a_shadow_live_harm_needs_what_the_shadow_leaves_of_alpha() -> None:
    shadowed = CONFIG.model_copy(update={"shadow": ShadowConfig(share=0.5)})
    state, between = Processes(), 0
    for i in range(600):
        arm = i % 2 == 0
        reward = 0.45 if arm else 0.55
        state = apply(state, UnitEvent(i, Path.HARM, i, arm, 0.5, reward, True, 0.0), CONFIG)
        looks = [judge(Phase.CANARY_HALF, state, Kill(), c, 0, 0.0).signal is Signal.HARM for c in (CONFIG, shadowed)]
        e = judge(Phase.CANARY_HALF, state, Kill(), CONFIG, 0, 0.0).numbers["e_harm"]
        assert looks == [e >= CONFIG.threshold, e >= shadowed.harm_threshold]
        between += looks == [True, False]
    assert between, "no state lay between the two thresholds"

"""The rollout table: every move, its end, and what each phase wants of the world."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.rollout import (
    BEGINS,
    FINAL,
    LIVE,
    MAY_PROMOTE,
    SECONDS,
    STAYS,
    TABLE,
    IllegalMove,
    Phase,
    RolloutConfig,
    Signal,
    desired,
    move,
    replay,
)
from deploy.rollout_config import PRESETS, Preset

HAPPY = [
    Signal.CONTROL_READY,
    Signal.SOAKED,
    Signal.PROVED,
    Signal.STEP_PASSED,
    Signal.STEP_PASSED,
    Signal.NO_HARM,
]


def test_the_happy_path_promotes() -> None:
    assert replay(HAPPY) is Phase.PROMOTED


def test_a_person_in_between_does_not_change_the_end() -> None:
    path = [*HAPPY[:2], Signal.NEEDS_APPROVAL, Signal.APPROVED, Signal.STEP_PASSED]
    path += [Signal.NEEDS_APPROVAL, Signal.APPROVED, Signal.NO_HARM]
    assert replay(path) is Phase.PROMOTED


@pytest.mark.parametrize("phase", sorted(FINAL))
@pytest.mark.parametrize("signal", list(Signal))
def test_nothing_leaves_a_final_phase(phase: Phase, signal: Signal) -> None:
    with pytest.raises(IllegalMove, match="it is final"):
        move(phase, signal)


def test_every_phase_is_reached_and_every_open_phase_can_end() -> None:
    assert {*BEGINS.values(), *TABLE.values()} == set(Phase)
    for phase in set(Phase) - FINAL:
        ends = {TABLE[phase, s] for s in Signal if (phase, s) in TABLE}
        assert TABLE[phase, Signal.DEADLINE] in ends & {Phase.INCONCLUSIVE, Phase.KEPT}, f"{phase} has no deadline"
        assert ends & {Phase.ABORTED, Phase.ROLLED_BACK}, f"{phase} does not obey a person"


def test_a_second_probation_leads_back_or_leaves_everything_as_it_was() -> None:
    """Whatever happens in it: the champion is left for harm or by a person's rollback, and nothing is promoted."""
    second = {BEGINS[reason] for reason in SECONDS}
    assert second == {Phase.AWAITING_SECOND_PROBATION, Phase.SECOND_PROBATION}
    assert not second & MAY_PROMOTE and BEGINS["gate_passed"] in MAY_PROMOTE
    ends = {(s, to) for (p, s), to in TABLE.items() if p in second and to in FINAL}
    left = {s for s, to in ends if to is Phase.ROLLED_BACK}
    assert left == {Signal.HARM, Signal.KILL_SWITCH, Signal.PROOF_FAILED, Signal.ROLLBACK}
    assert {to for _, to in ends} == {Phase.ROLLED_BACK, Phase.KEPT}
    assert {p for (p, _), to in TABLE.items() if to is Phase.KEPT} == second


@given(st.lists(st.sampled_from(list(Signal)), max_size=8), st.sampled_from(sorted(SECONDS)))
def test_no_history_of_a_second_probation_promotes(signals: list[Signal], reason: str) -> None:
    phase = BEGINS[reason]
    for signal in signals:
        phase = TABLE.get((phase, signal), phase)
        assert phase not in MAY_PROMOTE
        wants = desired(phase, "d-old", "d-new", RolloutConfig())
        assert wants.control == "d-new" or wants.share is not None or phase is Phase.ROLLED_BACK


def test_no_signal_promotes_before_the_candidate_was_live() -> None:
    before = set(Phase) - set(LIVE)
    assert all(TABLE.get((p, s)) is not Phase.PROMOTED for p, s in itertools.product(before, Signal))


def test_a_share_only_while_live_and_promoted_serves_the_candidate() -> None:
    config = RolloutConfig()
    for phase in Phase:
        wants = desired(phase, "d-old", "d-new", config)
        assert (wants.share is not None) == (phase in LIVE)
        serves = phase in STAYS or phase is Phase.AWAITING_SECOND_PROBATION
        assert wants.control == ("d-new" if serves else "d-old")
        assert wants.control in wants.resident
    assert desired(Phase.STARTING, "d-old", "d-new", config).resident == ("d-old",)
    assert desired(Phase.PROBATION, "d-old", "d-new", config).share == config.share_probation
    assert desired(Phase.SECOND_PROBATION, "d-old", "d-new", config).share == 0.5


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_fills_what_is_not_given_and_survives_storage(preset: Preset) -> None:
    config = RolloutConfig(preset=preset)
    assert all(getattr(config, name) == value for name, value in PRESETS[preset].items())
    assert RolloutConfig.model_validate(config.model_dump(mode="json")) == config
    assert RolloutConfig(preset=preset, alpha=0.02).alpha == 0.02, "what is given wins"


def test_no_preset_decides_with_more_than_five_percent_error() -> None:
    assert all(RolloutConfig(preset=preset).alpha <= 0.05 for preset in PRESETS)
    assert RolloutConfig(alpha_promote=0.01).promote_threshold == pytest.approx(100.0)
    assert RolloutConfig(alpha_promote=0.2).promote_threshold == RolloutConfig().threshold, "never laxer than alpha"

"""What users decide, from seeds alone."""

from __future__ import annotations

import random
import statistics

import pytest

from daemon.demo.behaviour import UsersConfig, feedback_delay, honest, hostile
from daemon.demo.mix import Mix, even
from daemon.demo.places import Question

CONFIG = UsersConfig()
QUESTION = Question("where is my card?", "cards", "It is in the post.")
REPLIES = ["It is in the post.", "Call us.", "Wait a day."]


def test_delay_has_the_configured_median_and_99th_percentile() -> None:
    rng = random.Random(3)
    delays = sorted(feedback_delay(CONFIG, rng) for _ in range(20_000))
    assert statistics.median(delays) == pytest.approx(2.0, rel=0.05)
    assert delays[19_800] == pytest.approx(12.0, rel=0.12)


@pytest.mark.parametrize(("new_desk", "expected"), [(False, 0.0), (True, 0.25)])
def test_share_of_corrections(new_desk: bool, expected: float) -> None:
    rng = random.Random(5)
    said = [honest(QUESTION, "nonsense", new_desk, REPLIES, CONFIG, rng) for _ in range(8000)]
    corrected = sum(any(o.kind == "correction" for o in opinions) for opinions in said)
    assert corrected / 8000 == pytest.approx(expected, abs=0.02)


def test_honest_errors_are_a_tenth() -> None:
    rng = random.Random(6)
    said = [o for _ in range(8000) for o in honest(QUESTION, QUESTION.right, True, REPLIES, CONFIG, rng)]
    assert sum(o.wrong for o in said) / len(said) == pytest.approx(0.10, abs=0.02)
    assert all((o.correction != QUESTION.right) for o in said if o.correction is not None)


@pytest.mark.parametrize("reply", ["It is in the post.", "nonsense"])
def test_the_hostile_user_is_always_wrong(reply: str) -> None:
    thumb, correction = hostile(QUESTION, reply, REPLIES)
    assert thumb.value is not QUESTION.answered_by(reply)
    assert correction.correction == "Call us."


def test_exact_match_forgives_white_space_only() -> None:
    assert QUESTION.answered_by(" It is in the post.\n")
    assert not QUESTION.answered_by("it is in the post.")


def test_mix_shares_sum_to_one_and_silence_is_possible() -> None:
    mix = Mix({"a": 3.0, "b": 1.0, "c": 0.0})
    assert mix.shares == pytest.approx({"a": 0.75, "b": 0.25})
    rng = random.Random(1)
    assert {mix.pick(rng) for _ in range(200)} == {"a", "b"}
    assert sum(even(["x", "y", "z"], 0.5).values()) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="positive share"):
        mix.change({"a": 0.0})

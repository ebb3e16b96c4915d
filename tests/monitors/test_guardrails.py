"""Which exchanges are guardrail events, and that each session and identity counts once."""

from __future__ import annotations

import pytest

from monitors.guardrails import FirstEvents, GuardrailSpec, happened, seconds_per_token, tau_from
from streams.events import Attempt
from tests.monitors.traffic import exchange

PLAIN = exchange(1, "hi", "s", "u", latency=2.0)


def test_errors_include_those_that_the_champion_made_good() -> None:
    errors = GuardrailSpec("errors", "error")
    retried = PLAIN.model_copy(
        update={"attempts": (Attempt(version="c", status=503), Attempt(version="v", status=200))}
    )
    assert happened(errors, PLAIN.model_copy(update={"status": 502})) and happened(errors, retried)
    assert not happened(errors, PLAIN) and not happened(errors, PLAIN.model_copy(update={"status": 404}))


def test_first_token_and_pace_are_two_things() -> None:
    slow_start = PLAIN.model_copy(update={"first_token_s": 1.5, "completion_tokens": 11})
    assert seconds_per_token(slow_start) == pytest.approx(0.05)
    assert happened(GuardrailSpec("ttft", "slow_first_token", tau_s=1.0), slow_start)
    assert not happened(GuardrailSpec("pace", "slow_reply", tau_s=0.1), slow_start)
    assert seconds_per_token(PLAIN) is None
    assert seconds_per_token(PLAIN.model_copy(update={"completion_tokens": 4})) == pytest.approx(0.5)


def test_a_slow_guardrail_needs_its_bound() -> None:
    with pytest.raises(ValueError, match="tau_s"):
        GuardrailSpec("ttft", "slow_first_token")


def test_tau_is_the_95th_percentile_of_enough_values() -> None:
    values = [i / 100 for i in range(100)]
    assert tau_from(values, least=100) == pytest.approx(0.95)
    assert tau_from([*values, float("nan")], least=101) is None


def test_first_events_count_sessions_and_identities_once_and_stay_bounded() -> None:
    first, new = FirstEvents(most=2).admit("s1", "u1")
    assert new and not first.admit("s1", "u2")[1] and not first.admit("s2", "u1")[1]
    second, new = first.admit("s2", "u2")
    assert new and not second.admit("s3", "u3")[1]

"""The gate's decision: each reason, its bound, and that missing evidence never passes."""

from __future__ import annotations

import math
import random

import pytest

from monitors.gate import Behaviour, GateConfig, GateEvidence, GateReason, Nll, PairedCounts, ReplyMix, decide
from monitors.paired import lower_bound

CONFIG = GateConfig()
MIX = ReplyMix(n=1000, mean_length=40.0, empty=0, distinct=60)
GOOD = GateEvidence(
    cause="alarm",
    old=PairedCounts(both=950, champion_only=5, candidate_only=4, neither=41),
    new=PairedCounts(both=30, champion_only=2, candidate_only=230, neither=38),
    behaviour=Behaviour(champion=MIX, candidate=MIX),
    nll=Nll(champion=0.2, candidate=0.22),
)


def with_(**changes: object) -> GateEvidence:
    return GOOD.model_copy(update=changes)


def test_a_good_candidate_passes_with_every_check_listed() -> None:
    result = decide(GOOD, CONFIG)
    assert (result.verdict, result.reason) == ("pass", GateReason.PASSED)
    names = [c.name for c in result.checks]
    assert names == ["old", "new", "reply_length", "empty_replies", "distinct_replies", "nll"]


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"old": PairedCounts(both=900, champion_only=50, candidate_only=5, neither=45)}, "fail", "old_desks_worse"),
        (
            {"new": PairedCounts(both=100, champion_only=20, candidate_only=22, neither=158)},
            "fail",
            "new_desk_not_better",
        ),
        ({"new": PairedCounts(both=100, champion_only=60, neither=140), "cause": "manual"}, "fail", "new_desk_worse"),
        ({"old": PairedCounts(both=900)}, "inconclusive", "too_few_old"),
        ({"new": PairedCounts(candidate_only=200)}, "inconclusive", "too_few_new"),
        ({"old": None}, "inconclusive", "missing_evidence"),
        ({"new": PairedCounts()}, "inconclusive", "missing_evidence"),
        ({"behaviour": None}, "inconclusive", "missing_evidence"),
        ({"nll": None}, "inconclusive", "missing_evidence"),
        ({"nll": None, "trained": False}, "pass", "passed"),
        ({"nll": None, "trained": False, "behaviour": None}, "inconclusive", "missing_evidence"),
        ({"nll": Nll(champion=0.2, candidate=math.nan)}, "fail", "nll_not_finite"),
        ({"nll": Nll(champion=0.2, candidate=2.0)}, "fail", "nll_worse"),
        ({"old": PairedCounts(both=1100, champion_only=-1)}, "error", "invalid_evidence"),
        ({"old": PairedCounts(both=800, champion_only=90, neither=10), "nll": None}, "fail", "old_desks_worse"),
        ({"old": PairedCounts(both=890, champion_only=20, neither=10), "nll": None}, "inconclusive", "too_few_old"),
    ],
)
def test_each_reason(changes: dict[str, object], verdict: str, reason: str) -> None:
    result = decide(with_(**changes), CONFIG)
    assert (result.verdict, result.reason.value) == (verdict, reason)


@pytest.mark.parametrize(
    ("mix", "failing"),
    [
        (ReplyMix(n=1000, mean_length=120.0, empty=0, distinct=60), "reply_length"),
        (ReplyMix(n=1000, mean_length=10.0, empty=0, distinct=60), "reply_length"),
        (ReplyMix(n=1000, mean_length=40.0, empty=20, distinct=60), "empty_replies"),
        (ReplyMix(n=1000, mean_length=40.0, empty=0, distinct=7), "distinct_replies"),
    ],
)
def test_a_shift_of_behaviour_fails_and_names_itself(mix: ReplyMix, failing: str) -> None:
    result = decide(with_(behaviour=Behaviour(champion=MIX, candidate=mix)), CONFIG)
    assert (result.verdict, result.reason) == ("fail", GateReason.BEHAVIOUR_SHIFT)
    assert [c.name for c in result.checks if c.ok is False] == [failing]


def test_a_failure_is_named_before_a_lack() -> None:
    worse = PairedCounts(both=800, champion_only=300, neither=10)
    assert decide(with_(old=worse, new=None), CONFIG).reason is GateReason.OLD_DESKS_WORSE


def test_manual_needs_no_superiority() -> None:
    equal = PairedCounts(both=280, champion_only=1, candidate_only=1, neither=38)
    assert decide(with_(new=equal), CONFIG).verdict == "fail"
    assert decide(with_(new=equal, cause="manual"), CONFIG).verdict == "pass"


def test_no_evidence_at_all_is_inconclusive() -> None:
    result = decide(GateEvidence(cause="alarm"), CONFIG)
    assert (result.verdict, result.reason) == ("inconclusive", GateReason.MISSING_EVIDENCE)


def test_counts_and_mixes_from_raw_pairs() -> None:
    counts = PairedCounts.of([(True, True), (True, False), (False, True), (False, True), (False, False)])
    assert counts == PairedCounts(both=1, champion_only=1, candidate_only=2, neither=1)
    assert counts.difference == pytest.approx(0.2)
    assert ReplyMix.of(["a", "  ", "a", "bcd"]) == ReplyMix(n=4, mean_length=1.25, empty=1, distinct=3)
    assert ReplyMix.of([]).n == 0


def test_the_bound_agrees_with_the_closed_form_without_discordance() -> None:
    z2 = 1.6448536269514722**2
    for n in (50, 1000):
        assert lower_bound(n, 0, 0) == pytest.approx(-z2 / (n + z2), abs=1e-9)
    assert lower_bound(0, 0, 0) == -1.0


@pytest.mark.slow
def test_the_bound_covers_the_truth() -> None:
    """2,000 samples of 300 pairs: 5 % should miss; 7 % is four standard errors above that."""
    rng = random.Random(7)
    truth, missed = -0.02, 0
    for _ in range(2000):
        draws = [rng.random() for _ in range(300)]
        gained = sum(d < 0.03 for d in draws)
        lost = sum(0.03 <= d < 0.08 for d in draws)
        missed += lower_bound(300, gained, lost) > truth
    assert missed <= 140

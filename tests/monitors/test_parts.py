"""The small parts of the watch: hashes, features, chunks of prompts, the identity cap, thresholds, e-SR."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from monitors.alarms import SliceModel
from monitors.confirm import Seen
from monitors.detectors import classifier_bet, mewma
from monitors.detectors.blocks import Blocks
from monitors.detectors.esr import Esr
from monitors.detectors.nearest import NEIGHBOURS, Nearest
from monitors.detectors.rank_bets import log_gains, log_mean, one_log_gains, one_log_mean
from monitors.features import BUCKETS, Features
from monitors.grams import MAX_WORDS, bucket, hashed, hashed_array, words
from monitors.identity_cap import IdentityCap
from monitors.recent import Recent
from tests.monitors.traffic import desk, prompt


def test_hashes_are_the_same_everywhere_and_forgive_form() -> None:
    assert bucket("123456789", 1 << 16) == 0x3926  # the published check value of CRC-32 is CBF43926
    assert hashed("Reset my CARD, 1234!", 4096) == hashed("reset my card 99", 4096)
    assert hashed("?!", 4096) == [] and words("x " * 1000) == ["x"] * MAX_WORDS


def test_bets_one_by_one_are_the_bets_on_arrays() -> None:
    ranks = [0.0, 0.3, 0.79, 0.8, 0.85, 0.9, 0.96, 0.97, 0.999]
    together = log_gains(np.array(ranks))
    for column, rank in enumerate(ranks):
        assert one_log_gains(rank) == pytest.approx(together[:, column].tolist(), rel=1e-12)
    assert one_log_mean([0.5, -700.0, 3.0]) == pytest.approx(float(log_mean(np.array([0.5, -700.0, 3.0]))))


def test_novelty_is_the_cosine_to_the_nearest_prompts_of_other_sessions() -> None:
    rng = random.Random(2)
    texts = [prompt(rng.choice("abc"), rng) for _ in range(90)]
    sessions = [f"s{i // 2}" for i in range(90)]
    grams = [hashed_array(text, BUCKETS) for text in texts]
    found = Nearest(grams, sessions)
    frequency = np.bincount(np.concatenate(grams), minlength=BUCKETS)
    idf = np.log(91.0 / (1.0 + frequency)) + 1.0

    def score(text: str, session: str | None) -> float:
        own, cosines = set(hashed(text, BUCKETS)), list[float]()
        for other, name in zip(grams, sessions, strict=True):
            shared = sum(idf[g] ** 2 for g in own.intersection(other.tolist()))
            lengths = sum(idf[g] ** 2 for g in own) * sum(idf[g] ** 2 for g in other.tolist())
            cosines.append(shared / math.sqrt(lengths) if name != session else -1.0)
        return -sum(sorted(cosines)[-NEIGHBOURS:]) / NEIGHBOURS

    for at in (0, 41, 89):
        assert found.scores[at] == pytest.approx(score(texts[at], sessions[at]), abs=1e-5)
    for text in (prompt("a", rng), prompt("z", rng), "nothing alike at all"):
        assert found.score(hashed_array(text, BUCKETS)) == pytest.approx(score(text, None), abs=1e-5)


@pytest.mark.slow
def test_features_are_white_on_the_reference_and_restore_exactly() -> None:
    rng = random.Random(1)
    texts = [prompt(rng.choice("abcd"), rng) for _ in range(300)]
    features, vectors = Features.fit(texts, [1.0 + (i % 7) / 7 for i in range(300)])
    assert np.abs(vectors.mean(axis=0)).max() < 0.1
    again = Features.from_dict(json.loads(json.dumps(features.to_dict())))
    assert (again.transform(texts[0], 1.2) == features.transform(texts[0], 1.2)).all()
    assert not features.transform("").any()
    assert np.isfinite(features.transform("wholly unknown gibberish", math.nan)).all()


def test_recent_keeps_the_newest_and_restores() -> None:
    recent = Recent(300)
    for i in range(1000):
        recent.append(Seen(f"t{i}", f"s{i}"))
        if i % 97 == 0:
            recent = Recent.load_parts(300, recent.dump_parts())
    assert [s.text for s in recent.newest(300)] == [f"t{i}" for i in range(700, 1000)]
    assert recent.newest(0) == [] and len(recent.newest(10_000)) <= 300 + 256
    assert Recent.load_parts(300, recent.dump_parts()).newest(250) == recent.newest(250)


def test_recent_ignores_a_slot_of_an_older_round() -> None:
    recent, stored = Recent(200), dict[str, bytes]()
    for i in range(900):
        recent.append(Seen(f"t{i}", "s"))
        stored |= recent.dump_parts()  # a store that only ever overwrites
    assert Recent.load_parts(200, stored).newest(200) == recent.newest(200)


def test_the_cap_frees_places_with_time_and_restores() -> None:
    cap = IdentityCap(2, 10)
    assert [cap.admit("a", i) for i in (1, 2, 3)] == [True, True, False]
    again = IdentityCap(2, 10)
    again.load(json.loads(json.dumps(cap.dump())))
    assert not again.admit("a", 10) and again.admit("b", 10) and again.admit("a", 11)


def one_hour(sessions: Sequence[str]) -> Blocks:
    return Blocks(sessions, [0.0] * len(sessions))


def bets(seed: int, count: int = 800) -> classifier_bet.ClassifierBet:
    rng = random.Random(seed)
    texts = [prompt(rng.choice("abcdef"), rng) for _ in range(count)]
    return classifier_bet.ClassifierBet(texts, [f"s{i}" for i in range(count)])


@pytest.mark.slow
def test_the_words_that_moved_are_those_of_the_newest_prompts() -> None:
    detector, rng = bets(2, 300), random.Random(6)
    newest = [prompt("new", rng) for _ in range(classifier_bet.WINDOW)]
    assert detector.moved_words(newest) == [], "nothing came yet"
    for text in newest:
        detector.update(text)
    moved = {word for gram in detector.moved_words(newest) for word in words(gram)}
    known = {word for name in "abcdef" for pair in desk(name) for part in pair for word in part}
    assert moved and not moved & known and moved & {w for pair in desk("new") for part in pair for w in part}
    for text in (newest[0], newest[-1], prompt("a", rng)):
        assert detector.novelty_of(text) == detector.nearest.rank(hashed_array(text, BUCKETS)), "remembered or not"


@pytest.mark.slow
def test_thresholds_rise_with_the_time_between_false_suspicions_and_repeat() -> None:
    detector = bets(1, 300)
    blocks = one_hour(detector.nearest.sessions)
    low, high = (classifier_bet.calibrate(detector, blocks, events, 1) for events in (1000, 10_000))
    assert low < high and low == classifier_bet.calibrate(detector, blocks, 1000, 1)
    vectors = np.random.default_rng(0).normal(size=(400, 6))
    blocks = one_hour([f"s{i // 2}" for i in range(400)])
    low, high = (mewma.calibrate(vectors, blocks, events, 1) for events in (1000, 10_000))
    assert 6 <= low < high and low == mewma.calibrate(vectors, blocks, 1000, 1)


@pytest.mark.slow
def test_suspicions_without_drift_are_as_rare_as_asked() -> None:
    """Uniform traffic, threshold for one in 2,000: 12,000 events give 6 on average; 18 would be p < 1e-4."""
    rng = random.Random(3)
    detector = bets(4)
    detector.threshold = classifier_bet.calibrate(detector, one_hour(detector.nearest.sessions), 2000, 1)
    told = 0
    for _ in range(12_000):
        if detector.update(prompt(rng.choice("abcdef"), rng)):
            told += 1
            detector.reset()
    assert told < 18


@pytest.mark.slow
def test_esr_keeps_its_mean_time_to_a_false_alarm() -> None:
    """Threshold 200 on fair coins at p0: at least 200 on average; the mean of 200 runs has an error of about 15."""
    times: list[int] = []
    for seed in range(200):
        rng, detector, n = random.Random(seed), Esr("fall", 0.7, 200.0), 1
        while not detector.update(float(rng.random() < 0.7)):
            n += 1
        times.append(n)
    assert sum(times) / len(times) >= 160


def test_esr_restores_exactly_and_ignores_what_is_no_reward() -> None:
    detector = Esr("rise", 0.4, 1e6)
    for i in range(50):
        detector.update(i % 3 / 2)
    again = Esr.load(json.loads(json.dumps(detector.dump())))
    assert not again.update(math.nan) and not again.update(1.5)
    assert again.dump() == detector.dump()


def test_a_slice_is_a_pure_function_of_the_prompt() -> None:
    model = SliceModel(buckets=4096, weights={bucket("claim", 4096): 3.0}, bias=-0.5, threshold=0.0)
    assert model.contains("my claim") and not model.contains("my card") and not model.contains(" ")
    assert SliceModel.model_validate_json(model.model_dump_json()) == model
    with pytest.raises(ValueError, match="finite"):
        SliceModel(buckets=4096, weights={1: math.nan}, bias=0.0, threshold=0.0)

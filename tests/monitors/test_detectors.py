"""One suite over all detectors: restored in mid-stream they go on bit for bit, odd input never alarms nor crashes."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from monitors.detectors.classifier_bet import KEPT, ClassifierBet
from monitors.detectors.esr import Esr
from monitors.detectors.informers import Informer
from monitors.detectors.mewma import Mewma
from tests.monitors.traffic import prompt


@dataclass(frozen=True)
class Case:
    """A detector as the suite drives it."""

    make: Callable[[], Any]
    update: Callable[[Any, Any], object]
    load: Callable[[dict[str, Any], Sequence[Any]], Any]
    """From the stored state and the values so far."""
    usual: Callable[[random.Random], Any]
    strange: Callable[[random.Random], Any]
    odd: Sequence[Any]
    """Values that say nothing."""
    constant: Any
    made_for_constant: Callable[[], Any] | None = None
    """A detector whose reference is constant, too, where it has one."""


@lru_cache(maxsize=1)
def reference() -> tuple[tuple[str, ...], tuple[str, ...]]:
    rng = random.Random(0)
    return tuple(prompt(rng.choice("abcd"), rng) for _ in range(200)), tuple(f"s{i // 2}" for i in range(200))


def _prompt(desks: str) -> Callable[[random.Random], str]:
    return lambda rng: prompt(rng.choice(desks), rng)


def _vector(mean: float) -> Callable[[random.Random], Any]:
    return lambda rng: np.array([rng.gauss(mean, 1.0) for _ in range(5)])


def _coin(mean: float) -> Callable[[random.Random], float]:
    return lambda rng: float(rng.random() < mean)


CASES = {
    "mewma": Case(
        lambda: Mewma(5, 40.0),
        lambda d, x: d.update(x),
        lambda stored, _: Mewma.load(stored),
        _vector(0.0),
        _vector(1.5),
        [np.full(5, math.nan), np.full(5, math.inf), np.full(5, -math.inf)],
        np.zeros(5),
    ),
    "classifier_bet": Case(
        lambda: ClassifierBet(*reference(), 12.0),
        lambda d, x: d.update(x),
        lambda stored, seen: ClassifierBet.load(stored, *reference(), seen[-KEPT:]),
        _prompt("abcd"),
        _prompt("z"),
        ["", "   ", "?!", "…"],
        "always the same words",
        lambda: ClassifierBet(["always the same words"] * 200, reference()[1], 12.0),
    ),
    "esr_fall": Case(
        lambda: Esr("fall", 0.8, 5000.0),
        lambda d, x: d.update(x),
        lambda stored, _: Esr.load(stored),
        _coin(0.8),
        _coin(0.1),
        [math.nan, math.inf, -1.0, 2.0],
        0.8,
    ),
    "esr_rise": Case(
        lambda: Esr("rise", 0.1, 5000.0),
        lambda d, x: d.update(x),
        lambda stored, _: Esr.load(stored),
        _coin(0.1),
        _coin(0.9),
        [math.nan, math.inf, -1.0, 2.0],
        0.1,
    ),
    "informer": Case(
        lambda: Informer("x"),
        lambda d, x: d.update(x),
        lambda stored, _: Informer.load(stored),
        lambda rng: rng.gauss(0.0, 1.0),
        lambda rng: rng.gauss(5.0, 1.0),
        [math.nan, math.inf, -math.inf],
        0.0,
    ),
}
DETECTORS = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def stored(detector: Any) -> dict[str, Any]:
    return json.loads(json.dumps(detector.dump()))


def comparable(detector: Any) -> dict[str, Any]:
    """Without river's pickle, whose bytes may differ though it holds the same."""
    return {key: value for key, value in stored(detector).items() if key != "river"}


@pytest.mark.slow
@DETECTORS
def test_a_restore_in_mid_stream_changes_nothing(case: Case) -> None:
    rng = random.Random(1)
    values = [*(case.usual(rng) for _ in range(130)), *(case.strange(rng) for _ in range(50))]
    whole, parts = case.make(), case.make()
    for index, value in enumerate(values):
        assert case.update(parts, value) == case.update(whole, value)
        if index % 31 == 30:
            parts = case.load(stored(parts), values[: index + 1])
        assert comparable(parts) == comparable(whole)


@pytest.mark.slow
@DETECTORS
def test_a_change_is_told_and_quiet_is_not(case: Case) -> None:
    rng, detector = random.Random(2), case.make()
    quiet = [case.update(detector, case.usual(rng)) for _ in range(150)]
    told = [case.update(detector, case.strange(rng)) for _ in range(150)]
    assert not any(quiet) and any(told)


@pytest.mark.slow
@DETECTORS
def test_odd_values_leave_the_state_as_it_was(case: Case) -> None:
    rng, detector = random.Random(3), case.make()
    seen = [case.usual(rng) for _ in range(40)]
    for value in seen:
        case.update(detector, value)
    before = comparable(detector)
    for value in case.odd:
        assert not case.update(detector, value)
    assert comparable(detector) == before


@pytest.mark.slow
@DETECTORS
def test_only_odd_or_constant_values_never_alarm(case: Case) -> None:
    empty, constant = case.make(), (case.made_for_constant or case.make)()
    for value in case.odd:
        assert not any(bool(case.update(empty, value)) for _ in range(100))
    assert not any(bool(case.update(constant, case.constant)) for _ in range(600))

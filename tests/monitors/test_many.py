"""The vectorised twin against the scalar processes, unit by unit."""

from __future__ import annotations

import random

import numpy as np
import pytest

from monitors import bets, owner, ratio
from monitors.bets import ContrastSpec, ContrastState
from monitors.many import ManyContrasts, ManyDraws
from monitors.owner import OwnerSpec, OwnerState
from monitors.ratio import SampleRatioState

RUNS, UNITS = 5, 150


@pytest.mark.parametrize("spec", [ContrastSpec(d, m) for d in ("promote", "rollback") for m in (0.0, 0.1)])
@pytest.mark.parametrize("graded", [False, True])
def test_contrasts_agree_unit_by_unit(spec: ContrastSpec, graded: bool) -> None:
    rng = random.Random(7)
    many, each = ManyContrasts(RUNS, spec), [ContrastState() for _ in range(RUNS)]
    for _ in range(UNITS):
        canary = [rng.random() < 0.3 for _ in range(RUNS)]
        propensity = [rng.choice((0.05, 0.1, 0.5, 0.95)) for _ in range(RUNS)]
        reward = [rng.random() if graded else float(rng.random() < 0.7) for _ in range(RUNS)]
        take = [rng.random() < 0.8 for _ in range(RUNS)]
        many.update(np.array(canary), np.array(propensity), np.array(reward), np.array(take))
        for i in (i for i in range(RUNS) if take[i]):
            each[i] = bets.update(each[i], spec, canary[i], propensity[i], reward[i])
        assert many.log_e().tolist() == pytest.approx([bets.log_e(s) for s in each], rel=1e-9, abs=1e-11)
    rows = np.array([True, False, True, False, True])
    many.keep(rows)
    assert many.log_wealth.T.tolist() == [pytest.approx(s.log_wealth, rel=1e-9, abs=1e-11) for s in each[::2]]
    assert many.units.tolist() == [s.units for s in each[::2]]


@pytest.mark.parametrize("tolerated", [1.0, 2.0])
def test_owners_agree_event_by_event(tolerated: float) -> None:
    rng, spec = random.Random(8), OwnerSpec(tolerated)
    many, each = ManyDraws.owners(RUNS, spec), [OwnerState() for _ in range(RUNS)]
    for _ in range(UNITS):
        canary = [rng.random() < 0.4 for _ in range(RUNS)]
        propensity = [rng.choice((0.1, 0.5)) for _ in range(RUNS)]
        take = [rng.random() < 0.5 for _ in range(RUNS)]
        many.update(np.array(canary), np.array(propensity), np.array(take))
        for i in (i for i in range(RUNS) if take[i]):
            each[i] = owner.update(each[i], spec, canary[i], propensity[i])
        assert many.log_e().tolist() == pytest.approx([owner.log_e(s) for s in each], rel=1e-9, abs=1e-11)


def test_sample_ratios_agree_draw_by_draw() -> None:
    rng = random.Random(9)
    many, each = ManyDraws.sample_ratios(RUNS), [SampleRatioState() for _ in range(RUNS)]
    for _ in range(UNITS):
        canary = [rng.random() < 0.2 for _ in range(RUNS)]
        many.update(np.array(canary), np.full(RUNS, 0.1))
        each = [ratio.update(s, c, 0.1) for s, c in zip(each, canary, strict=True)]
        assert many.log_e().tolist() == pytest.approx([ratio.log_e(s) for s in each], rel=1e-9, abs=1e-11)
    many.keep(np.array([False, True, True, True, True]))
    assert many.log_wealth.shape == (len(ratio.ODDS_FACTORS), RUNS - 1)

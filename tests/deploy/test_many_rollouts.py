"""The vectorised rollouts against ``apply`` and ``judge``, event by event."""

from __future__ import annotations

import random

import numpy as np
import pytest

from deploy.evidence import Kill
from deploy.many_rollouts import PHASES, ManyRollouts
from deploy.processes import Processes, apply
from deploy.rollout import FINAL, Phase, desired, move
from deploy.rollout_config import RolloutConfig
from deploy.unit_events import Path, UnitEvent
from deploy.verdict import judge, numbers

GUARDS = (Path.ERROR, Path.FIRST_TOKEN)


class Scalar:
    """One rollout by the production code, one unit at a time."""

    def __init__(self, config: RolloutConfig) -> None:
        self.config, self.phase, self.state = config, Phase.CANARY_SMALL, Processes()
        self.since, self.moved_at = 0, dict[Phase, int]()

    def unit(self, canary: bool, reward: float, inside: bool, events: dict[Path, bool]) -> None:
        share = desired(self.phase, "a", "b", self.config).share
        assert share is not None
        paths = [Path.ASSIGNED, *(p for p, happened in events.items() if happened), Path.HARM, Path.PROMOTE]
        for path in paths:
            if self.phase in FINAL:
                return
            value = reward if path in (Path.HARM, Path.PROMOTE) else 1.0
            self.state = apply(self.state, UnitEvent(0, path, 0, canary, share, value, inside, 0.0), self.config)
            found = judge(self.phase, self.state, Kill(), self.config, self.state.assigned - self.since, 0.0)
            if found.signal is not None:
                self.phase = move(self.phase, found.signal)
                self.since = self.moved_at[self.phase] = self.state.assigned


@pytest.mark.slow
@pytest.mark.parametrize(
    ("effect", "errors", "fault", "ends"),
    [
        (0.35, 1.0, 1.0, {Phase.PROMOTED}),
        (-0.4, 1.0, 1.0, {Phase.ROLLED_BACK}),
        (0.0, 12.0, 1.0, {Phase.ROLLED_BACK}),
        (0.0, 1.0, 2.5, {Phase.INCONCLUSIVE}),
    ],
)
def test_phases_and_e_values_agree_unit_by_unit(effect: float, errors: float, fault: float, ends: set[Phase]) -> None:
    config, rng, runs = RolloutConfig(probation_units=40), random.Random(3), 4
    each = [Scalar(config) for _ in range(runs)]
    many = ManyRollouts(runs, config, GUARDS)
    for _ in range(420):
        shares = many.shares()
        assert [PHASES[p] for p in many.phase] == [s.phase for s in each]
        canary = [rng.random() < shares[i] * fault for i in range(runs)]
        inside = [rng.random() < 0.6 for _ in range(runs)]
        reward = [float(rng.random() < 0.5 + effect * canary[i]) for i in range(runs)]
        chance = [0.03 * (errors if canary[i] else 1.0) for i in range(runs)]
        events = {p: [rng.random() < chance[i] for i in range(runs)] for p in GUARDS}
        for i, one in enumerate(each):
            if one.phase not in FINAL:
                one.unit(canary[i], reward[i], inside[i], {p: events[p][i] for p in GUARDS})
        flags = {p: np.array(events[p]) for p in GUARDS}
        many.unit(np.array(canary), shares, np.array(reward), np.array(inside), flags)
        assert many.assigned.tolist() == [s.state.assigned for s in each]
        assert many.harm_e().tolist() == pytest.approx([numbers(s.state)["e_harm"] for s in each], rel=1e-8)
    assert {s.phase for s in each} == ends
    for i, one in enumerate(each):
        assert {p: many.moved_at[PHASES.index(p), i] for p in one.moved_at} == one.moved_at

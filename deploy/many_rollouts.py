"""The evidence and the verdicts of many rollouts at once: ``processes`` and ``verdict`` on numpy rows.

For simulations that need thousands of runs of plain traffic: one unit a step and run, rated at once, no caps and no
feedback that is missing. A test holds each run to ``apply`` and ``judge``, event by event. Production never comes here.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deploy.guards import GUARDS, HYPOTHESES, REWARD_WEIGHT
from deploy.processes import FEEDBACK
from deploy.rollout import Phase, desired
from deploy.rollout_config import RolloutConfig
from deploy.unit_events import Path
from monitors import bets
from monitors.many import Bools, Floats, ManyContrasts, ManyDraws

PHASES: Final = (
    Phase.CANARY_SMALL,
    Phase.CANARY_HALF,
    Phase.PROBATION,
    Phase.PROMOTED,
    Phase.ROLLED_BACK,
    Phase.INCONCLUSIVE,
)
"""What the numbers in ``phase`` mean; the first three are live."""
_SMALL, _HALF, _PROBATION, _PROMOTED, _ROLLED_BACK, _INCONCLUSIVE = range(len(PHASES))
_LIVE: Final = 3


class ManyRollouts:
    """``runs`` rollouts side by side. Shapes: (runs,)."""

    def __init__(self, runs: int, config: RolloutConfig, guards: tuple[Path, ...] = (), start: int = _SMALL) -> None:
        self._config = config
        self._void_bound, self._promote_bound = math.log(config.void_threshold), math.log(config.promote_threshold)
        shares = [desired(p, "control", "candidate", config).share for p in PHASES[:_LIVE]]
        self._shares = np.array([s for s in shares if s is not None] + [0.5] * (len(PHASES) - _LIVE))
        self.phase: NDArray[np.int64] = np.full(runs, start)
        self.moved_at: Floats = np.full((len(PHASES), runs), np.inf)
        """Units assigned when each phase was reached; inf where it was not."""
        self.assigned: Floats = np.zeros(runs)
        self._since: Floats = np.zeros(runs)
        self._matured: Floats = np.zeros((2, runs))
        margins = (config.margin_small, config.margin_half, 0.0)
        self.small, self.half, self.slice = (ManyContrasts(runs, bets.ContrastSpec("promote", m)) for m in margins)
        self.harm = ManyContrasts(runs, bets.ContrastSpec("rollback"))
        self.ratio = ManyDraws.sample_ratios(runs)
        self._more, self._less = (ManyDraws.owners(runs, FEEDBACK) for _ in range(2))
        self.guards = {path: ManyDraws.owners(runs, HYPOTHESES[path]) for path in guards}
        self._silent = sum(guard.weight for path, guard in GUARDS.items() if path not in guards)
        self._guard_es = {path: np.full(runs, GUARDS[path].weight) for path in guards}
        zeros: Floats = np.zeros(runs)
        self._ratio_e, self._feedback_e, self._small_e, self._half_e, self._slice_e = (zeros.copy() for _ in range(5))
        self._reward_e: Floats = np.ones(runs)

    def shares(self) -> Floats:
        """The canary share that each run's phase wants."""
        return self._shares[self.phase]

    @property
    def units_in_phase(self) -> Floats:
        """Units assigned since each run's phase began."""
        return self.assigned - self._since

    @property
    def live(self) -> Bools:
        """Runs without an end."""
        return self.phase < _LIVE

    def unit(
        self,
        canary: Bools,
        propensity: Floats,
        reward: Floats,
        inside: Bools | None = None,
        events: dict[Path, Bools] | None = None,
    ) -> None:
        """One unit in each live run: assigned, its guardrail events, its reward at once on both paths."""
        live = self.live
        self.ratio.update(canary, propensity, live)
        self._ratio_e = self.ratio.log_e()
        self.assigned += live
        self._look()
        for path, happened in (events or {}).items():
            rows = happened & self.live
            if rows.any():
                self.guards[path].update(canary, propensity, rows)
                self._guard_es[path] = GUARDS[path].weight * np.exp(np.minimum(self.guards[path].log_e(), 700.0))
                self._look()
        live = self.live
        self.harm.update(canary, propensity, reward, live)
        self._reward_e = np.exp(np.minimum(self.harm.log_e(), 700.0))
        self._more.update(canary, propensity, live)
        self._less.update(~canary, 1.0 - propensity, live)
        self._feedback_e = np.logaddexp(self._more.log_e(), self._less.log_e()) - math.log(2.0)
        self._look()
        live = self.live
        self._matured += np.stack([live & ~canary, live & canary])
        self.small.update(canary, propensity, reward, live)
        self.half.update(canary, propensity, reward, live)
        self.slice.update(canary, propensity, reward, live if inside is None else live & inside)
        self._small_e, self._half_e, self._slice_e = self.small.log_e(), self.half.log_e(), self.slice.log_e()
        self._look()

    def harm_e(self) -> Floats:
        """Weighted harm evidence of each run."""
        return sum(self._guard_es.values(), REWARD_WEIGHT * self._reward_e + self._silent)

    def _look(self) -> None:
        live, config = self.live, self._config
        harmed = live & (self.harm_e() >= config.harm_threshold)
        void = live & ~harmed & (np.maximum(self._ratio_e, self._feedback_e) >= self._void_bound)
        going = live & ~harmed & ~void
        enough = self._matured.min(axis=0) >= config.min_units_per_arm
        passed = going & (self.phase == _SMALL) & enough & (self._small_e >= self._promote_bound)
        better = (self._slice_e >= self._promote_bound) & (self._half_e >= self._promote_bound)
        proved = going & (self.phase == _HALF) & enough & better
        ended = going & (self.phase == _PROBATION) & (self.units_in_phase >= config.probation_units)
        moves = (
            (harmed, _ROLLED_BACK),
            (void, _INCONCLUSIVE),
            (passed, _HALF),
            (proved, _PROBATION),
            (ended, _PROMOTED),
        )
        for rows, to in moves:
            if rows.any():
                self.phase[rows] = to
                self.moved_at[to, rows] = self.assigned[rows]
                self._since[rows] = self.assigned[rows]

"""What the rollouts of a year may promote wrongly, all together. Pure.

Each rollout may promote wrongly with probability alpha, so the alphas of the last 365 days sum to the expected number
of wrong promotions, were every candidate worthless. What never reached a canary step could promote nothing and has
spent nothing. The next rollout gets its preset's alpha, but never more than a tenth of what is left of the budget: the
first ten of a year pay nothing for the rule, a deployment that never rests asks for ever more evidence, and none is
refused. Only promotions are rationed; the way back keeps its alpha.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from deploy.rollout import FINAL, LIVE, MAY_PROMOTE, TABLE, Phase
from deploy.rollout_config import RolloutConfig

YEAR_S: Final = 365 * 86400.0
SHARE: Final = 0.1
"""Largest share of what is left that one rollout may spend."""
LEAST: Final = 1e-6
"""Alpha of a rollout when nothing is left (an e-value of a million)."""
_FREE: Final = frozenset(Phase) - FINAL - (MAY_PROMOTE & frozenset(LIVE))
"""Phases that cost nothing: before traffic, and where nothing is promoted from."""


@dataclass(frozen=True, slots=True)
class Spent:
    """A rollout that met traffic: when it began (seconds) and its chance of a wrong promotion."""

    at: float
    alpha: float


def alpha_for_next(spent: Iterable[Spent], now: float, config: RolloutConfig) -> float:
    """Chance of a wrong promotion that the next rollout may take.

    >>> config = RolloutConfig()
    >>> alpha_for_next([], 0.0, config)
    0.05
    >>> round(alpha_for_next([Spent(0.0, 0.05)] * 15, 1.0, config), 4)
    0.025
    """
    used = sum(s.alpha for s in spent if now - YEAR_S < s.at)
    left = max(config.wrong_promotions_a_year - used, 0.0)
    return max(min(config.alpha, SHARE * left), LEAST)


def config_for_next(spent: Iterable[Spent], now: float, config: RolloutConfig) -> RolloutConfig:
    """What the next rollout would be judged by: ``config`` with the alpha of promotion that is left for it."""
    alpha = min(alpha_for_next(spent, now, config), config.promotion_alpha)
    return config.model_copy(update={"alpha_promote": alpha})


def rationed_as(frozen: RolloutConfig, config: RolloutConfig) -> RolloutConfig:
    """``config`` for a rollout of the past: where its alpha of promotion was lowered when it began, it stays so."""
    if frozen.promotion_alpha >= frozen.alpha:
        return config
    return config.model_copy(update={"alpha_promote": min(frozen.promotion_alpha, config.promotion_alpha)})


def spends(phase: Phase, left: Phase | None) -> bool:
    """Whether a rollout has spent its alpha: it reached a canary step, or may have, or may yet.

    ``left`` is the phase that it ended from, where ``phase`` is final; None where nobody knows.

    >>> spends(Phase.ABORTED, Phase.PROVING), spends(Phase.ABORTED, Phase.CANARY_SMALL), spends(Phase.ABORTED, None)
    (False, True, True)
    """
    if phase not in FINAL:
        return phase in MAY_PROMOTE
    sources = {before for (before, _), after in TABLE.items() if after is phase}
    return bool(sources - _FREE) and left not in _FREE

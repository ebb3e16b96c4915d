"""Which policy a rollout that began now would be judged by: the configured one and what is left of the yearly budget.

The forecast that lets a rollout start, ``homeostat power``, ``homeostat why`` and the start itself all ask here, so
that they speak of one alpha.
"""

from __future__ import annotations

from typing import Final

from daemon.store import Read, rollouts
from daemon.store import ledger as entries
from deploy.alpha_budget import YEAR_S, Spent, config_for_next, spends
from deploy.rollout import FINAL, Phase, RolloutConfig

MOST_A_YEAR: Final = 9000
"""Rollouts that the yearly budget looks back on: one an hour. Where there were more, nothing counts as left."""
_MAY_NOT_HAVE_MET: Final = frozenset(p for p in FINAL if spends(p, None) and not spends(p, Phase.STARTING))
"""Ends that say by themselves nothing of whether the candidate met users."""


def next_config(read: Read, deployment: str, config: RolloutConfig, now: float) -> RolloutConfig:
    """``config`` as it would be frozen into a rollout of this deployment that began at ``now``."""
    return config_for_next(_spent(read, deployment, config, now), now, config)


def _spent(read: Read, deployment: str, config: RolloutConfig, now: float) -> list[Spent]:
    rows = [r for r in rollouts.newest(read, deployment, MOST_A_YEAR) if now - YEAR_S < r.started_at]
    found = [
        Spent(row.started_at, RolloutConfig.model_validate(row.data["config"]).promotion_alpha)
        for row in rows
        if spends(Phase(row.phase), _left(read, row))
    ]
    if len(rows) == MOST_A_YEAR:
        found.append(Spent(now, config.wrong_promotions_a_year))
    return found


def _left(read: Read, row: rollouts.Rollout) -> Phase | None:
    """The phase that it ended from, by the ledger; None where that cannot matter or is not known."""
    if Phase(row.phase) not in _MAY_NOT_HAVE_MET:
        return None
    for entry in reversed(entries.about(read, row.id)):
        if entry.kind == "rollout" and entry.data.get("to_phase") == row.phase:
            before = entry.data.get("from_phase")
            return Phase(before) if before in {p.value for p in Phase} else None
    return None

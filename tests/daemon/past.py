"""Rollouts that ended, as the budget of promotions finds them."""

from __future__ import annotations

import uuid

from daemon import ledger
from daemon.store import Tx, rollouts
from deploy.rollout import Phase, RolloutConfig


def past(tx: Tx, count: int, phase: Phase, left: Phase | None = None, at: float = 9000.0) -> None:
    """``count`` rollouts at the default alpha that ended in ``phase``; with ``left``, the ledger says from where."""
    for _ in range(count):
        name = f"past-{uuid.uuid4().hex[:8]}"
        data = {"config": RolloutConfig().model_dump(mode="json")}
        row = rollouts.Rollout(
            name, "support", "support-dddddddddddd", None, "a0", phase.value, False, "test", data, at, at, at, at
        )
        rollouts.create(tx, row)
        if left is not None:
            entry = {"from_phase": left.value, "to_phase": phase.value}
            ledger.append(tx, "support", "rollout", name, "test", actor="daemon", at=at, data=entry)

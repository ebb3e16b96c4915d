"""From a version that passed the gate to a rollout row, with everything its verdict will depend on frozen into it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Final

from daemon import ledger
from daemon.config import Config
from daemon.faults import Refused
from daemon.standing import standing
from daemon.store import Tx, buffers, cycles, denials, exchanges, rollouts, suspended, versions
from deploy.rollout import Phase
from deploy.routes import Route

LEAST_FOR_TAU: Final = 2000
"""Requests from which the control's 95th percentile of latency is taken."""
NO_TAU_S: Final = 3600.0
"""With fewer requests nothing counts as slow: an exceedance of a guess would be noise."""


class RolloutStart:
    """Opens rollouts."""

    def __init__(
        self, config: Config, identity: str | None, route: Callable[[], Route | None], clock: Callable[[], float]
    ) -> None:
        self._config, self._identity, self._route, self._clock = config, identity, route, clock

    def start(self, tx: Tx, cycle: cycles.Cycle, version: str) -> str:
        """The id of the new rollout. Raises Refused for a denied version, or one that learned from suspended
        examples.
        """
        now, name = self._clock(), self._config.deployment.name
        row = versions.get(tx, version)
        if row is None or denials.is_denied(tx, version):
            raise Refused("denied_version", f"{version} is on the deny list: it is never routed without an approval")
        if row.buffer is not None:
            learned = {item.exchange_id for item in buffers.items(tx, row.buffer, "new")}
            if learned & suspended.all_ids(tx):
                raise Refused("suspended_examples", f"{version} learned from examples that a rollback suspended")
        # By the route, and within the transaction: a rollback whose rows are still to come has left the champion.
        control = standing(tx, name, self._identity, self._route()).champion or self._identity
        rollout = f"rollout-{uuid.uuid4().hex[:10]}"
        data = {
            "config": self._config.rollout.model_dump(mode="json"),
            "latency_tau_s": self._tau(tx, now),
            "slice": cycle.data.get("slice"),
            "cycle": cycle.id,
            "units_at_phase": 0,
        }
        rollouts.create(
            tx,
            rollouts.Rollout(
                id=rollout,
                deployment=name,
                candidate=version,
                control=control,
                cause=cycle.cause,
                phase=Phase.STARTING.value,
                active=True,
                reason="gate_passed",
                data=data,
                started_at=now,
                changed_at=now,
                deadline=now + self._config.rollout.deadline_s,
            ),
        )
        entry = {"to_phase": Phase.STARTING.value, "candidate": version, "control": control, "cycle": cycle.id}
        ledger.append(tx, name, "rollout", rollout, "gate_passed", actor="daemon", at=now, data=entry)
        return rollout

    def _tau(self, tx: Tx, now: float) -> float:
        """Latency that counts as an exceedance: the operator's, else the control's 95th percentile before."""
        if self._config.rollout.latency_slo_s is not None:
            return self._config.rollout.latency_slo_s
        recent = exchanges.since(tx, self._config.deployment.name, 0.0, now, LEAST_FOR_TAU)
        return quantile([x.latency_s for x in recent if x.status < 400], 0.95)


def quantile(values: Sequence[float], q: float) -> float:
    """Empirical quantile, or ``NO_TAU_S`` for fewer than ``LEAST_FOR_TAU`` values."""
    if len(values) < LEAST_FOR_TAU:
        return NO_TAU_S
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]

"""A cycle's row and its line in the ledger: how it opens and how it moves, both in one transaction of the caller's."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from daemon import cycle as table
from daemon import ledger
from daemon.cycle_standing import demonstrates
from daemon.drift_policy import Action, demonstrated
from daemon.store import Tx, alarms, cycles
from monitors.metrics import Metrics


class CycleRows:
    """Writes the cycles of one deployment."""

    def __init__(self, deployment: str, clock: Callable[[], float], metrics: Metrics) -> None:
        self._name, self._clock, self._metrics = deployment, clock, metrics

    def open(
        self,
        tx: Tx,
        cause: str,
        reason: str,
        actor: str,
        data: Mapping[str, Any],
        note: str,
        action: Action = Action.ADAPT,
        name: str = "",
    ) -> str:
        """A new cycle in the phase with which ``action`` begins; its id, ``name`` if one was given."""
        now, name = self._clock(), name or new_cycle_id()
        phase = table.BEGINS[action].value
        cycles.create(tx, cycle=name, deployment=self._name, cause=cause, phase=phase, reason=reason, data=data, at=now)
        entry = {"cause": cause, "to_phase": phase, "overrides": sorted(str(k) for k in data["overrides"])}
        entry |= {k: data[k] for k in ("action", "passed_over", "demonstrated") if k in data}
        ledger.append(tx, self._name, "cycle", name, reason, actor=actor, at=now, data=entry, note=note)
        return name

    def move(
        self,
        tx: Tx,
        active: cycles.Cycle,
        signal: table.Signal,
        reason: str,
        data: Mapping[str, Any],
        *,
        actor: str = "daemon",
        note: str = "",
    ) -> None:
        """One step along ``daemon.cycle.TABLE``; ``data`` is added to the row's. Raises IllegalMove."""
        now = self._clock()
        phase = table.move(table.Phase(active.phase), signal)
        merged = {**active.data, **data}
        still = phase in table.OPEN
        cycles.update_phase(tx, active.id, phase=phase.value, reason=reason, data=merged, at=now, active=still)
        shown = {k: v for k, v in data.items() if k != "slice"}  # weights by the thousand; the alarm has its words
        entry = {"from_phase": active.phase, "to_phase": phase.value, "signal": signal.value, **shown}
        ledger.append(tx, self._name, "cycle", active.id, reason, actor=actor, at=now, data=entry, note=note)
        if not still:
            if demonstrates(active) and demonstrated(reason) is not None:
                alarms.answer(tx, active.cause, None)
            self._metrics.cycles.labels(outcome=reason).inc()


def new_cycle_id() -> str:
    """For a cycle whose id must be known before it opens."""
    return f"cycle-{uuid.uuid4().hex[:10]}"

"""The verdict that a policy would have given on a recorded rollout: its units made again from its exchanges. Pure.

The shares are those of the day. The processes allow for that (each unit carries its own propensity); a policy that
would have gone up sooner has less evidence here than it would have had.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from daemon.store.rollouts import Rollout
from deploy.evidence import Observed
from deploy.rollout import LIVE, SECONDS, Phase, RolloutConfig, Signal, move
from deploy.verdict import judge, numbers


@dataclass(frozen=True, slots=True)
class Step:
    """One move, and the numbers it rests on."""

    phase: str
    reason: str
    at: float
    units: int
    numbers: dict[str, float]


@dataclass(slots=True)
class WouldBe:
    """A rollout under another policy, from its first canary step on; before it nothing hangs on traffic."""

    row: Rollout
    config: RolloutConfig
    phase: Phase = Phase.CANARY_SMALL
    changed_at: float = 0.0
    steps: list[Step] = field(default_factory=list[Step])
    last: dict[str, float] = field(default_factory=dict[str, float])
    _units_at_phase: int = 0

    def __post_init__(self) -> None:
        self.changed_at = self.row.started_at

    @property
    def decided(self) -> bool:
        """Whether it is over."""
        return self.phase not in LIVE

    def look(self, observed: Observed, now: float) -> None:
        """Judge what is known at ``now`` and move at most one step."""
        if self.decided:
            return
        processes = observed.processes
        self.last = numbers(processes)
        units = processes.assigned - self._units_at_phase
        found = judge(self.phase, processes, observed.kill, self.config, units, now - self.changed_at)
        signal, reason = found.signal, found.reason
        if signal is None and self._overdue(now):
            signal, reason = Signal.DEADLINE, "deadline"
        if signal is None:
            return
        self.phase, self.changed_at, self._units_at_phase = move(self.phase, signal), now, processes.assigned
        self.steps.append(Step(self.phase.value, reason, now, processes.assigned, dict(self.last)))

    def _overdue(self, now: float) -> bool:
        """Whether the deadline came while the rollout was recorded; a later one says nothing about its evidence."""
        second = self.row.data.get("opened_for") in SECONDS
        deadline = self.row.started_at + (self.config.second_deadline_s if second else self.config.deadline_s)
        return now >= deadline and (self.row.ended_at is None or deadline <= self.row.ended_at)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; ``phase`` is None while the recorded evidence did not suffice for a verdict."""
        end = self.steps[-1] if self.steps and self.decided else None
        return {
            "phase": self.phase.value if self.decided else None,
            "reason": end.reason if end else "evidence_ended",
            "reached": self.phase.value,
            "at": end.at if end else None,
            "units": int(self.last.get("units", 0)),
            "needs": self.config.threshold,
            "needs_promote": self.config.promote_threshold,
            "evidence": {k: v for k, v in self.last.items() if k.startswith("e_")},
            "steps": [{"phase": s.phase, "reason": s.reason, "at": s.at, "units": s.units} for s in self.steps],
        }

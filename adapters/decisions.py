"""The book of a selection: for every exchange its role, and the stage and reason that gave it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from adapters.examples import Example
from adapters.stages.stage import Context, Dropped, Reason, Stage

Role = Literal["new", "replay", "anchor", "holdout_old", "holdout_new", "out"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one exchange, and why."""

    exchange_id: str
    role: Role
    stage: str
    reason: Reason


class Book:
    """Collects one decision per exchange; the last word counts, so a claim refused for one role may get another."""

    def __init__(self) -> None:
        self._decisions: dict[str, Decision] = {}

    def put(self, exchange_id: str, role: Role, stage: str, reason: Reason) -> None:
        """Write one decision down."""
        self._decisions[exchange_id] = Decision(exchange_id, role, stage, reason)

    def through(self, stages: Sequence[Stage], claims: Sequence[Example], context: Context) -> list[Example]:
        """What is left of the claims after all stages; what fell out is written down."""
        left = list(claims)
        for stage in stages:
            kept: list[Example] = []
            for outcome in stage.apply(left, context):
                if isinstance(outcome, Dropped):
                    self.put(outcome.example.exchange_id, "out", stage.name, outcome.reason)
                else:
                    kept.append(outcome.example)
            left = kept
        return left

    def decisions(self) -> tuple[Decision, ...]:
        """All decisions, by exchange id."""
        return tuple(self._decisions[k] for k in sorted(self._decisions))

    def counts(self) -> dict[str, int]:
        """`role/stage/reason` to the number of exchanges; labels are bounded."""
        return dict(sorted(Counter(f"{d.role}/{d.stage}/{d.reason}" for d in self._decisions.values()).items()))

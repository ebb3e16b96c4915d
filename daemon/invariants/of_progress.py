"""L1 and L2: after faults everything moves on, and a way back is always open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from daemon.invariants.facts import Facts, split_of

CALM_S: Final = 60.0
"""Seconds without faults after which everything must have moved."""


def moves_on(facts: Facts) -> Iterator[str]:
    """L1."""
    if facts.calm_s is None or facts.calm_s < CALM_S:
        return
    if facts.lag:
        yield f"{facts.lag} records wait after {facts.calm_s:.0f} s without faults"
    for row in facts.rollouts:
        if row.active and facts.now > row.deadline + CALM_S:
            yield f"{row.id} is {row.phase} {facts.now - row.deadline:.0f} s after its deadline"
    split = split_of(facts.file, facts.alias)
    for replica in facts.replicas:
        if split is not None and replica.settled and not replica.lease_live:
            yield f"the share of {split.candidate} is dead on {replica.name}, and nobody renews it"
    active = {r.id for r in facts.rollouts if r.active}
    for row in facts.cycles:
        if not row.active or row.data.get("rollout") in active:
            continue
        moved = max((e.at for e in facts.ledger if e.subject == row.id and e.at <= facts.now), default=row.changed_at)
        still = min(facts.calm_s, facts.now - max(moved, row.changed_at))
        if still >= CALM_S:
            yield f"{row.id} has been {row.phase} for {still:.0f} s without faults"


REFUSALS: Final = frozenset({"nothing_to_roll_back", "no_rollback_target", "target_not_resident", "mode_observe"})
"""Reasons for which a rollback may be refused: there is nothing below, or the person named a wrong target."""


def rolls_back(facts: Facts) -> Iterator[str]:
    """L2."""
    for one in facts.asked:
        if not one.up:
            continue
        if one.outcome != "done":
            if not (one.refused and one.outcome in REFUSALS):
                yield f"a rollback failed: {one.outcome}"
            continue
        route = None if one.file is None else one.file.route(facts.alias)
        if route is None or route.split is not None or route.control != one.target:
            yield f"a rollback to {one.target} left the route {route}"
        settled = [replica for replica in one.up if replica.settled]
        ours = not (one.overtaken or one.blind) and one.target is not None
        if settled and ours and not any(one.target in replica.holds for replica in settled):
            yield f"a rollback went to {one.target}, which no replica holds"

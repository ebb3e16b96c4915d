"""What Prometheus sees of the controller: gauges set from one tick's facts, in one place.

The alert rules under deploy/prometheus read these; a gauge that nobody sets would make its alert silent.
"""

from __future__ import annotations

import math

from daemon.standing import Standing
from daemon.store import rollouts
from deploy.agent import Observation
from deploy.evidence import Observed
from deploy.rollout import Phase
from deploy.routes import Route
from deploy.shadow import Shadow
from deploy.verdict import numbers
from monitors import owner
from monitors.metrics import Metrics


def set_gauges(
    metrics: Metrics,
    row: rollouts.Rollout | None,
    evidence: Observed | None,
    seen: Observation,
    standing: Standing,
    route: Route | None,
    epoch: int,
    frozen: bool,
) -> None:
    """Set every gauge of rollout, route, replicas and freeze."""
    metrics.frozen.set(frozen)
    if row is None:
        set_shadow(metrics, Shadow())
    metrics.rollout_active.set(row is not None)
    metrics.rollout_deadline.set(row.deadline if row is not None else 0.0)
    for phase in Phase:
        metrics.rollout_phase.labels(phase=phase.value).set(row is not None and row.phase == phase.value)
    metrics.canary_share.set(route.split.share if route is not None and route.split is not None else 0.0)
    metrics.route_epoch.set(epoch)
    metrics.stand_in.set(route is not None and route.stands_in_for is not None)
    needed = standing.champion or standing.identity
    for replica in seen.replicas:
        metrics.replica_ready.labels(replica=replica.name).set(replica.alive)
        proved = needed is None or bool(replica.proved.get(needed))
        metrics.replica_verified.labels(replica=replica.name).set(replica.alive and proved)
    if evidence is not None:
        for name, value in numbers(evidence.processes).items():
            if name.startswith("e_"):
                metrics.log_e.labels(process=name[2:]).set(math.log(max(value, 1e-300)))


def set_shadow(metrics: Metrics, seen: Shadow) -> None:
    """What the shadow of the active rollout has found; the empty one where there is none."""
    metrics.shadow_log_e.set(owner.log_e(seen.harm))
    metrics.shadow_blocks.set(seen.blocks)

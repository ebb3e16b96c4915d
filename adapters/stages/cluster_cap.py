"""Cluster cap: one wish in one wording, from however many identities, takes only so much of the buffer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from adapters.examples import Example
from adapters.stages.similar_prompts import clusters
from adapters.stages.stage import Context, Outcome, Reason, keep_first, newest_first


class ClusterCap:
    """Keeps the newest claims of each cluster of near duplicates, up to the cap."""

    name = "cluster_cap"

    def apply(self, claims: Sequence[Example], context: Context) -> list[Outcome]:
        """See Stage."""
        policy = context.policy
        order = newest_first(claims)
        groups = clusters([c.prompt for c in claims], order, policy.duplicate_cosine)
        cap = max(policy.cluster_floor, math.ceil(policy.cluster_share * len(claims)))
        return keep_first(claims, order, groups, cap, Reason.CLUSTER_CAP)

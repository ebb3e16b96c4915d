"""Dedupe: what one identity says again in almost the same words is one claim, the newest.

Only within an identity: the same wish in the same words from two people is what agreement is made of.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapters.examples import Example
from adapters.stages.similar_prompts import clusters
from adapters.stages.stage import Context, Outcome, Reason, keep_first, newest_first


class Dedupe:
    """Keeps the newest of each identity's near duplicates."""

    name = "dedupe"

    def apply(self, claims: Sequence[Example], context: Context) -> list[Outcome]:
        """See Stage."""
        order = newest_first(claims)
        cluster = clusters([c.prompt for c in claims], order, context.policy.duplicate_cosine)
        groups = [(c.identity, k) for c, k in zip(claims, cluster, strict=True)]
        return keep_first(claims, order, groups, 1, Reason.NEAR_DUPLICATE)

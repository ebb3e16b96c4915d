"""Class balance: no answer may drown the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median_low

from adapters.examples import Example, normalise
from adapters.stages.stage import Context, Outcome, Reason, keep_first, lot


class ClassBalance:
    """Keeps of each target text at most a multiple of what the median example's target has, drawn by lot."""

    name = "class_balance"

    def apply(self, claims: Sequence[Example], context: Context) -> list[Outcome]:
        """See Stage."""
        if not claims:
            return []
        policy = context.policy
        targets = [normalise(c.target or "") for c in claims]
        sizes = Counter(targets)
        # The median over examples, not over targets: a tail of rare answers must not make every frequent one a flood.
        usual = median_low(sizes[t] for t in targets)
        cap = max(policy.class_floor, math.ceil(policy.class_ratio * usual))
        order = sorted(range(len(claims)), key=lambda i: lot(context.seed, self.name, claims[i].exchange_id))
        return keep_first(claims, order, targets, cap, Reason.CLASS_CAP)
